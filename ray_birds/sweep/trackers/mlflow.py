"""MLflow as a tracker: a run for the sweep and one below it for each trial, and the winner in its model registry.

Runs nest as MLflow's own tools nest them, by the tag `mlflow.parentRunId`. Ray Tune's MLflowLoggerCallback is not
used: it sends each number in a request of its own, from the loop that also starts trials, and an error in it ends
the sweep.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ray_birds.core import storage
from ray_birds.model import card
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.outcome import Status
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Results
from ray_birds.sweep.trackers import tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PARENT = "mlflow.parentRunId"
_NOTE = "mlflow.note.content"  # what MLflow shows on top of a run
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_LONGEST = 6000  # letters of a parameter, by MLflow's limit
_ENVIRONMENT = {  # unless it says otherwise; by themselves requests to a dead server are repeated for four minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class MLflow:
    """Logs to the server at `uri`, by default that of MLFLOW_TRACKING_URI, as a tracker.Tracker.

    Credentials are MLflow's own, from the environment or ~/.mlflow/credentials of this process.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._name = ""  # of experiment and registered model
        self._experiment = self._parent = ""
        self._variants: dict[str, Variant] = {}
        self._runs: dict[str, str] = {}  # of the trials, by name
        self._sent: dict[str, int] = {}  # the last epoch of each that was sent
        self._ended: set[str] = set()

    @property
    def _client(self) -> "MlflowClient":
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        return MlflowClient(self._uri or None)

    def begin(self, plan: Plan) -> None:
        if self._parent:
            return
        self._variants = plan.variants
        client, data = self._client, card.folder_name(plan.data.root)
        self._name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or data
        found = client.get_experiment_by_name(self._name)
        self._experiment = found.experiment_id if found else client.create_experiment(self._name)
        if kept := plan.directory.tracked().get("mlflow"):
            self._find(client, kept)
            return
        run = client.create_run(self._experiment, run_name=plan.config.name)
        plan.directory.write_tracked("mlflow", run.info.run_id)
        self._parent = run.info.run_id
        self._log_params(client, self._parent, tracker.settings(plan.config))

    def _find(self, client: "MlflowClient", run: str) -> None:
        """The runs of a sweep that is resumed, and how far each of them has got."""
        client.update_run(run, status="RUNNING")
        for one in client.search_runs([self._experiment], f"tags.`{_PARENT}` = '{run}'", max_results=10_000):
            name = str(one.info.run_name)
            self._runs[name] = one.info.run_id
            steps = (metric.step for metric in client.get_metric_history(one.info.run_id, "loss"))
            self._sent[name] = max(steps, default=0)
        self._parent = run

    def _run(self, client: "MlflowClient", trial: str) -> str:
        if trial not in self._runs:
            made = client.create_run(self._experiment, run_name=trial, tags={_PARENT: self._parent})
            self._runs[trial] = made.info.run_id
            self._log_params(client, made.info.run_id, self._variants[trial].values)
        return self._runs[trial]

    @staticmethod
    def _log_params(client: "MlflowClient", run: str, values: dict[str, Any]) -> None:
        from mlflow.entities import Param

        client.log_batch(run, params=[Param(name, str(value)[:_LONGEST]) for name, value in values.items()])

    def epochs(self, trial: str, history: Sequence[Epoch]) -> None:
        client = self._client
        for count in range(self._sent.get(trial, 0) + 1, len(history) + 1):
            shown = tracker.numbers(history[:count], self._variants[trial])
            self._log_metrics(client, self._run(client, trial), shown, count)
            self._sent[trial] = count

    @staticmethod
    def _log_metrics(client: "MlflowClient", run: str, values: dict[str, float], step: int = 0) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        client.log_batch(run, [Metric(name, value, now, step) for name, value in values.items()])

    def end(self, trial: str, status: Status) -> None:
        if trial not in self._ended:
            client = self._client
            client.set_terminated(self._run(client, trial), _STATUS[status])
            self._ended.add(trial)

    def interrupt(self) -> None:
        client = self._client
        for run in (self._parent, *(self._runs[name] for name in self._runs.keys() - self._ended)):
            client.set_terminated(run, "KILLED")

    def finish(self, sweep: Results) -> str:
        client = self._client
        for trial in sweep.trials:
            self.epochs(trial.name, trial.history)
            self.end(trial.name, trial.status)
        if sweep.winner:
            self._log_metrics(client, self._parent, tracker.scores(sweep.winner))
            client.set_tag(self._parent, "winner", sweep.winner.name)
            client.set_tag(self._parent, _NOTE, sweep.significance.text if sweep.significance else "")
        self._log_files(client, sweep)
        client.set_terminated(self._parent, "FINISHED")
        uri = tracker.without_user(client.tracking_uri)
        return f"{uri}/#/experiments/{self._experiment}/runs/{self._parent}" if uri.startswith("http") else uri

    def _log_files(self, client: "MlflowClient", sweep: Results) -> None:
        """Report, table and the winner's bundle; and the winner to the registry."""
        directory = sweep.directory
        files = [uri for uri in (directory.report, directory.path("trials.csv")) if storage.exists(uri)]
        with TemporaryDirectory() as folder:
            for uri in files:
                storage.copy(uri, str(Path(folder, Path(storage.path(uri)).name)))
            bundle = str(Path(folder, "best"))
            if sweep.winner:
                storage.copy(directory.best, bundle)
            client.log_artifacts(self._parent, folder)
            if sweep.winner:
                self._register(client, bundle)

    def _register(self, client: "MlflowClient", bundle: str) -> None:
        """In a process of its own, since MLflow's Keras flavour needs Keras, which the driver does without."""
        name = re.sub(r"[/:]+", "-", self._name).strip("-")
        program = [sys.executable, "-m", "ray_birds.sweep.trackers.registry", bundle, self._parent, name]
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MLFLOW_TRACKING_URI": client.tracking_uri}
        done = subprocess.run(program, capture_output=True, text=True, env=os.environ | paths)
        if done.returncode:
            raise RuntimeError(_last_line(done.stderr.splitlines()))


def _last_line(lines: Iterable[str]) -> str:
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "no model could be registered"
