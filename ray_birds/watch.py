"""What a sweep shows while it runs: one live table on the terminal; and its logs for TensorBoard."""

import time
from typing import Any

from ray.tune import Callback, ProgressReporter
from ray.tune.experiment import Trial
from rich.live import Live
from rich.table import Table

from ray_birds import console
from ray_birds.config import Variant
from ray_birds.logs import Logs

_COLUMNS = ("trial", "state", "epoch", "loss", "accuracy", "valid loss", "valid accuracy", "images/s")


class Silence(ProgressReporter):
    """Keeps Tune's own tables off the terminal."""

    def setup(self, *args: Any, **kwargs: Any) -> None:
        pass

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Trial], done: bool, *sys_info: Any) -> None:
        pass


class Watch(Callback):
    """Follows the trials. `logs` is a local folder for TensorBoard.

    A trial that was killed reports again the epochs that it has: only new ones count.
    """

    def __init__(self, variants: dict[str, Variant], logs: str) -> None:
        self._variants, self._logs = variants, Logs(logs, variants)
        self._last: dict[str, dict[str, Any]] = {}
        self._state = dict.fromkeys(variants, "waiting")
        self._start = time.monotonic()
        self._live = Live(get_renderable=self._table, console=console.out, refresh_per_second=1, transient=True)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune keeps its callbacks for a restore of its own, which is never made

    def __enter__(self) -> "Watch":
        if console.out.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if console.out.is_terminal:
            self._live.stop()
        self._logs.close()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._state[str(trial)] = "running"

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        name, epoch = str(trial), result["epoch"]
        if epoch <= self._last.get(name, {}).get("epoch", 0):
            return
        self._last[name] = result
        self._logs.epoch(name, result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        name = str(trial)
        done = self._last.get(name, {}).get("epoch", 0) == self._variants[name].epochs
        self._logs.success(name)
        self._end(name, "finished" if done else "stopped")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(str(trial), "failed")

    def _end(self, name: str, state: str) -> None:
        self._state[name] = state
        if not console.out.is_terminal:
            last = self._last.get(name)
            score = f", valid accuracy {last['valid_accuracy']:.4f}" if last else ""
            console.say(f"{name}: {state}{score}; {self._title()}")

    def _title(self) -> str:
        """Trials done, rate and time to go; the epochs of all trials are the measure."""
        ended = [name for name, state in self._state.items() if state in ("finished", "stopped", "failed")]
        epochs = sum(result["epoch"] for result in self._last.values())
        left = sum(
            variant.epochs - self._last.get(name, {}).get("epoch", 0)
            for name, variant in self._variants.items()
            if name not in ended
        )
        seconds = time.monotonic() - self._start
        to_go = f", {console.duration(left * seconds / epochs)} to go" if epochs and left else ""
        rate = f", {epochs / seconds * 60:.1f} epochs/min" if epochs else ""
        return f"{len(ended)}/{len(self._variants)} trials{rate}{to_go}"

    def _table(self) -> Table:
        rows = [self._row(name) for name in self._variants]
        return console.table(f"Sweep: {self._title()}", _COLUMNS, rows)

    def _row(self, name: str) -> list[str]:
        last, total = self._last.get(name), self._variants[name].epochs
        if last is None:
            return [name, self._state[name], f"0/{total}", "", "", "", "", ""]
        scores = [f"{last[key]:.4f}" for key in ("loss", "accuracy", "valid_loss", "valid_accuracy")]
        return [
            name,
            self._state[name],
            f"{last['epoch']}/{total}",
            *scores,
            f"{last['images_per_second']:,.0f}",
        ]
