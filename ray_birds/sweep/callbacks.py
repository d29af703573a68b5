"""What a sweep shows while it runs: a live table on the terminal, a live page, TensorBoard's logs, trackers."""

import dataclasses
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ray.tune import Callback, ProgressReporter
from ray.tune.experiment import Trial
from rich.live import Live
from rich.table import Table

from ray_birds.core import memory, terminal
from ray_birds.sweep import epochs
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.live import Line, LivePage, View
from ray_birds.sweep.outcome import Status
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.tensorboard import Logs
from ray_birds.sweep.trackers.tracking import Tracking

_COLUMNS = (
    *("trial", "state", "node", "epoch", "loss", "accuracy", "valid loss", "valid accuracy", "images/s"),
    *("waited", "failures"),
)


_WAIT = 30.0  # seconds between two lines on what is waited for
_EPOCH = [field.name for field in dataclasses.fields(Epoch)]
_HEADING = re.compile(r"^Failure # \d+ \(occurred at .*\)$", re.MULTILINE)  # of each failure in Tune's error file


class Failure(NamedTuple):
    """A trial's failure: the last line of what was said, and whether the trial `raised` it or died."""

    reason: str
    raised: bool


class Silence(ProgressReporter):
    """Keeps Tune's own tables off the terminal."""

    def setup(self, *args: Any, **kwargs: Any) -> None:
        pass

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Trial], done: bool, *sys_info: Any) -> None:
        pass


class Progress(Callback):
    """Follows the trials. `logs` is a local folder for TensorBoard; `tracking` hears of each epoch.

    A trial that was killed reports again the epochs that it has: only new ones count. A trial whose process or
    node dies is retried --max-failures times; one that raises an error only once before its next epoch,
    for the same error is likely to come again.
    """

    def __init__(self, plan: Plan, logs: str, tracking: Tracking) -> None:
        self._plan, self._variants, self._logs = plan, plan.variants, Logs(logs, plan.variants)
        self._tracking, self._page = tracking, LivePage(plan.directory)
        self.errors: dict[str, str] = {}  # why each failed trial did, by name
        self._failures: list[dict[str, Any]] = list(plan.directory.failures())
        self._told_of_gpu = False
        self._last: dict[str, dict[str, Any]] = {}
        self._histories: dict[str, list[Epoch]] = {}
        # A search begins with none and chooses one after the other.
        self._state = dict.fromkeys(plan.variants if plan.trials == len(plan.variants) else (), "waiting")
        self._start = self._worked = self._said = time.monotonic()
        self._live = Live(get_renderable=self._table, console=terminal.out, refresh_per_second=1, transient=True)

    @property
    def trials(self) -> list[str]:
        """Those that there are so far, by name."""
        return list(self._state)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune keeps its callbacks for a restore of its own, which is never made

    def __enter__(self) -> "Progress":
        self._page.offer(self._view)
        terminal.say(f"live page    {self._plan.directory.report}")
        if terminal.out.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if terminal.out.is_terminal:
            self._live.stop()
        self._logs.close()
        self._page.end(self._view(), interrupted=kind is not None)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Say what is waited for where no trial runs, as until an autoscaler has started a node."""
        for trial in trials:
            self._state.setdefault(str(trial), "waiting")
        self._page.offer(self._view)
        now, waiting = time.monotonic(), sum(state == "waiting" for state in self._state.values())
        if not waiting or "running" in self._state.values():
            self._worked = now
        elif now - self._worked >= _WAIT:
            self._worked = now
            plan = self._plan
            what = "a node" if plan.workers == 1 else f"{plan.workers} workers, each"
            terminal.say(
                f"{waiting} trial(s) wait for {what} with {plan.threads} CPU(s) and {plan.gpus:g} GPU(s) free"
            )

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._state[str(trial)] = "running" if self._plan.workers == 1 else "waiting"  # for its workers

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        name, epoch = str(trial), result["epoch"]
        self._state[name] = "running"
        if result["failed"]:
            self.errors[name] = result["failed"]
            self._note(name, result["failed"])
            return
        if epoch <= self._last.get(name, {}).get("epoch", 0):
            return
        self._last[name] = result
        self._logs.epoch(name, result)
        history = self._histories.setdefault(name, [])
        history.append(Epoch(**{field: result[field] for field in _EPOCH}))
        self._tracking.epochs(name, history)
        self._tell(name, result)
        trial.max_failures = self._plan.config.max_failures
        if self._plan.gpus and not result["gpu"] and not self._told_of_gpu:
            self._told_of_gpu = True
            terminal.say(
                f"note: {name} was given a GPU by Ray on node {result['node_ip']}, but TensorFlow sees none there "
                "and trains on the CPU; install ray-birds[gpu] and NVIDIA's driver on that node"
            )

    def _tell(self, name: str, result: dict[str, Any]) -> None:
        """A line on an epoch, now and then, where there is no table."""
        if terminal.out.is_terminal or time.monotonic() - self._said < terminal.PLAIN_INTERVAL:
            return
        self._said = time.monotonic()
        score = f"valid accuracy {result['valid_accuracy']:.4f}"
        terminal.say(f"{name}: epoch {result['epoch']}/{self._variants[name].epochs}, {score}; {self._title()}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        name = str(trial)
        if name in self.errors:
            self._end(name, "failed")
            return
        done = self._last.get(name, {}).get("ended", False)
        self._logs.success(name)
        self._end(name, "finished" if done else "stopped")

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if self._count(trial).raised:
            trial.max_failures = trial.num_failures
        self._state[str(trial)] = "waiting"

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.errors[str(trial)] = self._count(trial).reason
        self._end(str(trial), "failed")

    def _count(self, trial: Trial) -> Failure:
        """What a trial raised or died of, which is noted."""
        text = ""
        with suppress(OSError):  # a full disk
            if trial.error_file:
                text = Path(trial.error_file).read_text(encoding="utf-8")
        failure = last_failure(text)
        self._note(str(trial), failure.reason)
        return failure

    def _note(self, name: str, reason: str) -> None:
        """Note a failure in the results and on the terminal."""
        last = self._last.get(name, {})
        row = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "trial": name,
            "epoch": last.get("epoch", 0),
            "node": last.get("node_ip", ""),
            "reason": reason,
        }
        self._failures.append(row)
        with suppress(OSError):  # a full disk, which may be what failed; all rows are written again with the next
            self._plan.directory.write_failures(self._failures)
        terminal.say(f"{name}: failed after epoch {row['epoch']}: {reason}")

    def _end(self, name: str, state: Status) -> None:
        self._state[name] = state
        self._tracking.end(name, state)
        if not terminal.out.is_terminal:
            last = self._last.get(name)
            score = f", valid accuracy {last['kept_accuracy']:.4f} in epoch {last['kept_epoch']}" if last else ""
            terminal.say(f"{name}: {state}{score}; {self._title()}")

    def _title(self) -> str:
        """Trials done, rate and time to go; the epochs of all trials are the measure."""
        states = dict(self._state)  # the table is drawn in a thread of its own
        ended = [name for name, state in states.items() if state in ("finished", "stopped", "failed")]
        done = sum(result["epoch"] for result in self._last.values())
        left = sum(
            self._variants[name].epochs - self._last.get(name, {}).get("epoch", 0)
            for name in states
            if name not in ended
        )
        mean = sum(variant.epochs for variant in self._variants.values()) / len(self._variants)
        left += (self._plan.trials - len(states)) * mean  # of those that a search has not chosen yet
        seconds = time.monotonic() - self._start
        to_go = f", {terminal.duration(left * seconds / done)} to go" if done and left else ""
        rate = f", {done / seconds * 60:.1f} epochs/min" if done else ""
        failures = f", {len(self._failures)} failure(s)" if self._failures else ""
        return f"{len(ended)}/{self._plan.trials} trials{rate}{failures}{to_go}"

    def _view(self) -> View:
        """What the live page shows."""
        lines = [self._line(name) for name in self.trials]
        return View(self._plan.config.name, self._title(), tuple(lines))

    def _line(self, name: str) -> Line:
        variant, history = self._variants[name], tuple(self._histories.get(name, ()))
        kept = epochs.kept(history, variant) if history else None
        return Line(name, self._state[name], variant.epochs, history, kept, self._failed(name))

    def _failed(self, name: str) -> int:
        """How often a trial's process or node died, or it raised."""
        return sum(row["trial"] == name for row in self._failures)

    def _table(self) -> Table:
        rows = [self._row(name) for name in self.trials]
        workers = f" ({self._plan.workers} workers to a trial)" if self._plan.workers > 1 else ""
        return terminal.table(f"Sweep{workers}: {self._title()}", _COLUMNS, rows)

    def _row(self, name: str) -> list[str]:
        last, total, failures = self._last.get(name), self._variants[name].epochs, self._failed(name)
        if last is None:
            return [name, self._state[name], "", f"0/{total}", *[""] * 6, str(failures or "")]
        scores = [f"{last[key]:.4f}" for key in ("loss", "accuracy", "valid_loss", "valid_accuracy")]
        return [
            name,
            self._state[name],
            last["node_ip"],
            f"{last['epoch']}/{total}",
            *scores,
            f"{last['images_per_second']:,.0f}",
            "" if last["waited"] is None else f"{last['waited']:.0%}",
            str(failures or ""),
        ]


def last_failure(text: str) -> Failure:
    """The last of the failures in a trial's error file, which Tune writes; the traceback stays there."""
    text = _HEADING.split(text)[-1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return Failure("unknown; the disk may be full", False)
    if short := memory.shortage(text):
        return Failure(f"{short}; {memory.ADVICE}", False)
    # What a task raised begins with the task; of one that ended for an actor's death Ray's own error comes last.
    raised = "ray::" in lines[0] and not lines[-1].startswith("ray.exceptions.")
    return Failure(lines[-1], raised)
