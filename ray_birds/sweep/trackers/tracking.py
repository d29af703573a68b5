"""The trackers of a sweep, each told from a thread of its own: one that is slow or dead holds up nothing."""

import importlib.util
import os
import queue
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ray_birds.config import TuneConfig
from ray_birds.core import terminal
from ray_birds.core.errors import SettingsError, first_line
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.outcome import Status
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Results
from ray_birds.sweep.trackers.mlflow import MLflow
from ray_birds.sweep.trackers.tracker import Tracker, without_user
from ray_birds.sweep.trackers.wandb import Wandb, has_credentials

_PATIENCE = 10.0  # seconds that an interrupted sweep waits for a tracker


def require(config: TuneConfig) -> None:
    """Raises SettingsError where a tracker is not installed, or cannot be told where to log."""
    for name, uri in map(_parts, config.track):
        if importlib.util.find_spec(name) is None:
            raise SettingsError(
                f"--track {name} needs {name}, which is not installed: pip install 'ray-birds[{name}]'"
            )
        if name == "mlflow" and not (uri or os.environ.get("MLFLOW_TRACKING_URI")):
            raise SettingsError(
                "--track mlflow: which server? give --track mlflow:http://HOST:5000 or set MLFLOW_TRACKING_URI"
            )
        if name == "wandb" and not has_credentials():
            raise SettingsError(
                "--track wandb: no key; run `wandb login`, set WANDB_API_KEY, or WANDB_MODE=offline for files"
            )


def _parts(given: str) -> tuple[str, str]:
    """mlflow:http://host -> mlflow, http://host"""
    name, _, uri = given.partition(":")
    return name, uri


def _made(given: str) -> Tracker:
    name, uri = _parts(given)
    return MLflow(uri) if name == "mlflow" else Wandb()


class Tracking:
    """What a sweep tells all of its trackers."""

    def __init__(self, config: TuneConfig) -> None:
        self._feeds = [_Feed(_parts(given)[0], _made(given)) for given in config.track]
        self._finished = False

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            for feed in self._feeds:
                feed.interrupt()

    def begin(self, plan: Plan) -> None:
        for feed in self._feeds:
            feed.tell("begin", plan)

    def epochs(self, trial: str, history: Sequence[Epoch]) -> None:
        """A trial's epochs so far."""
        for feed in self._feeds:
            feed.tell("epochs", trial, tuple(history))

    def end(self, trial: str, status: Status) -> None:
        for feed in self._feeds:
            feed.tell("end", trial, status)

    def finish(self, sweep: Results) -> None:
        """Wait until all is sent, or a tracker has failed; say where it is seen."""
        self._finished = True
        for feed in self._feeds:
            feed.finish(sweep)


class _Feed:
    """One tracker and the thread that tells it. After its first failure it is told nothing until the end."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self._name, self._tracker = name, tracker
        self._plan: Plan | None = None
        self._failed = False
        self._calls: queue.SimpleQueue[tuple[str, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"track-{name}", daemon=True)
        self._thread.start()

    def tell(self, method: str, *values: Any) -> None:
        if method == "begin":
            (self._plan,) = values
        self._calls.put((method, values))

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            method, values = call
            if not self._failed:
                try:
                    getattr(self._tracker, method)(*values)
                except Exception as error:
                    self._warn(error, "the sweep goes on, and what is missing is sent once more at its end")

    def finish(self, sweep: Results) -> None:
        self._calls.put(None)
        self._thread.join()
        try:
            if self._failed and self._plan:
                self._tracker.begin(self._plan)
            terminal.say(f"{self._name:12} {self._tracker.finish(sweep)}")
        except Exception as error:
            self._warn(error, "the results are complete without it")

    def interrupt(self) -> None:
        if not self._failed and self._plan:
            self.tell("interrupt")
        self._calls.put(None)
        self._thread.join(_PATIENCE)

    def _warn(self, error: Exception, what: str) -> None:
        """One line, the first time."""
        if not self._failed:
            self._failed = True
            reason = without_user(first_line(error))
            terminal.say(f"warning: --track {self._name}: {reason}; {what}")
