"""Weights & Biases as a tracker: a group for the sweep, with a run for each trial and one for the sweep itself.

Ray Tune's WandbLoggerCallback is not used: it starts two processes on the driver's node for each trial, and an
error in it ends the sweep.
"""

import os
import re
import secrets
from collections.abc import Sequence
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
    from wandb import Run

_OFFLINE = ("offline", "disabled", "dryrun")


def has_credentials() -> bool:
    """Whether wandb needs none, or finds some: it would ask for them on the terminal."""
    import wandb
    from requests.utils import get_netrc_auth

    about = wandb.setup().settings
    given = os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or about.api_key
    return about.mode in _OFFLINE or bool(given or get_netrc_auth(about.base_url))


class Wandb:
    """Logs by wandb's own settings (WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE, ...), as a tracker.Tracker."""

    def __init__(self) -> None:
        self._about: dict[str, Any] = {}  # what all runs have alike
        self._variants: dict[str, Variant] = {}
        self._id = ""  # what the ids of the runs begin with
        self._runs: dict[str, Run] = {}  # of trials, by name
        self._sent: dict[str, int] = {}  # the last epoch of each that was sent
        self._ended: set[str] = set()
        self._sweep: Run | None = None

    def begin(self, plan: Plan) -> None:
        if self._sweep:
            return
        directory, self._variants = plan.directory, plan.variants
        known = directory.tracked().get("wandb")
        self._id = known or secrets.token_hex(4)
        directory.write_tracked("wandb", self._id)
        project = os.environ.get("WANDB_PROJECT") or _named(card.folder_name(plan.data.root))
        self._about = {"project": project, "group": plan.config.name, "resume": "allow" if known else None}
        if storage.is_local(directory.uri) and "WANDB_DIR" not in os.environ:
            self._about["dir"] = storage.to_os(directory.uri)
        self._sweep = self._start("", plan.config.name, "sweep", tracker.settings(plan.config))

    def _start(self, trial: str, name: str, kind: str, config: dict[str, Any]) -> "Run":
        import wandb

        quiet = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,  # of the driver's machine, where nothing is trained
            x_disable_meta=True,
            x_save_requirements=False,
        )
        about: dict[str, Any] = {
            "id": _named(f"{self._id}-{trial or 'sweep'}"),
            "name": name,
            "job_type": kind,
            "config": config,
        }
        return wandb.init(**self._about, **about, reinit="create_new", settings=quiet)

    def _run(self, trial: str) -> "Run":
        if trial not in self._runs:
            run = self._start(trial, trial, "trial", self._variants[trial].values)
            self._runs[trial], self._sent[trial] = run, max(run.step - 1, 0)
        return self._runs[trial]

    def epochs(self, trial: str, history: Sequence[Epoch]) -> None:
        if trial in self._ended:
            return
        run = self._run(trial)
        for count in range(self._sent[trial] + 1, len(history) + 1):
            run.log(tracker.numbers(history[:count], self._variants[trial]), step=count)
            self._sent[trial] = count

    def end(self, trial: str, status: Status) -> None:
        if trial not in self._ended:
            self._run(trial).finish(exit_code=int(status == "failed"))
            self._ended.add(trial)

    def interrupt(self) -> None:
        unended = [self._runs[name] for name in self._runs.keys() - self._ended]
        for run in (*unended, self._sweep):
            if run:
                run.finish(exit_code=1)

    def finish(self, sweep: Results) -> str:
        import pandas as pd
        import wandb

        assert self._sweep, "`begin` comes first"
        for trial in sweep.trials:
            self.epochs(trial.name, trial.history)
            self.end(trial.name, trial.status)
        run, directory = self._sweep, sweep.directory
        rows = pd.DataFrame([trial.row() for trial in sweep.trials])
        shown: dict[str, Any] = {"trials": wandb.Table(dataframe=rows.astype({"unfreeze": str}))}
        if storage.exists(directory.report):
            shown["report"] = wandb.Html(storage.read(directory.report).decode(), inject=False)
        run.log(shown)
        if sweep.winner:
            run.summary.update(tracker.scores(sweep.winner) | {"winner": sweep.winner.name})
            with TemporaryDirectory() as folder:
                bundle = Path(folder, "best")
                storage.copy(directory.best, str(bundle))
                model = wandb.Artifact(_named(sweep.config.name), "model", metadata={"trial": sweep.winner.name})
                for file in bundle.iterdir():
                    model.add_file(str(file))  # `add_dir` would talk
                run.log_artifact(model)
        run.finish()
        return f"wandb sync {Path(run.dir).parent.parent}/offline-run-*" if run.offline else str(run.url)


def _named(name: str) -> str:
    """As W&B takes names of artifacts and projects, and ids."""
    return re.sub(r"[^\w.-]+", "-", name)
