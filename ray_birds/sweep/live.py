"""The page of a sweep that runs: report.html, written anew as trials go on, until the report takes its place."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ray_birds.core import storage
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.epochs import Epoch

_SHARE = 0.01  # of the time at most goes into writing
_LEAST = 2.0  # seconds between two pages on a disk
_LEAST_REMOTE = 30.0  # on an object store


@dataclass(frozen=True)
class Line:
    """A trial on the page: `epochs` in all, of which `history` are done, and the one to be `kept` so far."""

    name: str
    state: str  # waiting, running, finished, stopped or failed
    epochs: int
    history: tuple[Epoch, ...]
    kept: Epoch | None
    failures: int


@dataclass(frozen=True)
class View:
    """What the page shows: trials done, rate and time to go as a `title`, and a line for each trial."""

    name: str
    title: str
    lines: tuple[Line, ...]

    @property
    def best(self) -> Line | None:
        """Of those with an epoch, the one with the best valid accuracy so far."""
        scored = [line for line in self.lines if line.kept and line.state != "failed"]
        return max(scored, key=lambda line: line.kept.valid_accuracy if line.kept else 0.0, default=None)


class LivePage:
    """Writes the page where something has changed, in a hundredth of the time; a page that fails ends no sweep."""

    def __init__(self, directory: SweepDirectory) -> None:
        self._uri = directory.report
        self._least = _LEAST if storage.is_local(self._uri) else _LEAST_REMOTE
        self._next = 0.0
        self._shown: Sequence[Line] = ()

    def offer(self, view: Callable[[], View]) -> None:
        """Show this, if it is time and anything is new."""
        if time.monotonic() >= self._next and (now := view()).lines != self._shown:
            self._write(now, "", refresh=True)

    def end(self, view: View, interrupted: bool) -> None:
        """Say that no trial runs any more."""
        if interrupted:
            self._write(
                view, "The sweep was cut short; the same command with --resume continues it.", refresh=False
            )
        else:
            self._write(view, "All trials have ended: the best model and the report are being made.", refresh=True)

    def _write(self, view: View, state: str, refresh: bool) -> None:
        from ray_birds.report.live import write_live_page

        start = time.monotonic()
        with suppress(Exception):  # a full disk, a store that is away: the sweep says so itself where it matters
            write_live_page(self._uri, view, state, round(2 * self._least) if refresh else 0)
        self._shown = view.lines
        took = time.monotonic() - start
        self._next = time.monotonic() + max(self._least, took / _SHARE)
