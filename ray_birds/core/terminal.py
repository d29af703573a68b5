"""The terminal: lines, tables, bars and progress."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ray_birds.core.text import printable

IDLE_INTERVAL = 30.0  # seconds without any progress, after which this is said
PLAIN_INTERVAL = 10.0  # seconds between lines of progress where there is no terminal, as in the log of a Ray job

out = Console(soft_wrap=True, highlight=False)


def say(message: str = "") -> None:
    """A line for the user; paths in it are never broken, control characters in names are shown as escapes."""
    out.print(printable(message, out.encoding, keep="\n\t"), markup=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table of text; numbers are right-aligned by their column's first row."""
    grid = Table(title=_text(title), title_justify="left", title_style="bold", header_style="bold")
    for number, column in enumerate(columns):
        numeric = bool(rows) and str(rows[0][number]).replace(".", "").replace(",", "").strip("%-").isdigit()
        grid.add_column(_text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(_text(str(cell)) for cell in row))
    return grid


def _text(text: str) -> Text:
    return Text(printable(text, out.encoding))


def show(grid: Table) -> None:
    Console(highlight=False, width=None if out.is_terminal else 140).print(grid)


def bars(shares: Sequence[tuple[str, float]]) -> None:
    """Names, each with a bar for its share from 0 to 1."""
    grid = Table.grid(padding=(0, 2))
    for name, share in shares:
        grid.add_row(_text(name), ProgressBar(total=1.0, completed=share, width=30), Text(f"{share:6.1%}"))
    show(grid)


@contextmanager
def quiet(verbose: bool) -> Iterator[None]:
    """Drop what the C++ cores of TensorFlow and Ray print on stderr; errors are raised."""
    if verbose:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def duration(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Meter:
    """What has been done of a known amount of work; made by `progress`."""

    def __init__(self, advance: Callable[[int, str], None]) -> None:
        self._advance = advance
        self.calls = 0

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more are done; `note` is shown behind the rate, such as "3 failures"."""
        self.calls += 1
        self._advance(count, note)


@contextmanager
def progress(title: str, total: int, unit: str, done: int = 0, needs: str = "") -> Iterator[Meter]:
    """Show done/total, rate and time to go: a bar on a terminal, else a line now and then.

    What is `done` already counts towards the total, not in the rate. `needs` is what the work may wait for.
    """
    hint = f"; at work, or waiting for {needs}" if needs else ""
    if out.is_terminal:
        columns = (
            TextColumn(f"{title}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(unit),
            TimeRemainingColumn(),
        )
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=out) as bar:
            task = bar.add_task(title, total=total, completed=done, note="")
            with _watched(
                title, Meter(lambda count, note: bar.update(task, advance=count, note=note)), hint
            ) as meter:
                yield meter
        return
    lines = _Lines(title, total, unit, done)
    with _watched(title, Meter(lines.advance), hint) as meter:
        yield meter
    lines.close()


@contextmanager
def _watched(title: str, meter: Meter, hint: str) -> Iterator[Meter]:
    """Say so, now and then, where work that may wait for a node gets nothing done; `hint` says for what."""
    over = threading.Event()

    def watch() -> None:
        before = meter.calls
        while not over.wait(IDLE_INTERVAL):
            if meter.calls == before:
                say(f"{title}: no news for {IDLE_INTERVAL:g} s{hint}")
            before = meter.calls

    if hint:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield meter
    finally:
        over.set()


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {self._unit}/s" if speed else "", style="progress.data.speed")


class _Lines:
    """Progress as lines of plain text."""

    def __init__(self, title: str, total: int, unit: str, done: int) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._before, self._done, self._note = done, done, ""
        self._start = self._last = time.monotonic()

    def advance(self, count: int, note: str) -> None:
        self._done, self._note = self._done + count, note
        if time.monotonic() - self._last >= PLAIN_INTERVAL:
            self._print(", %s to go")

    def close(self) -> None:
        self._print("")

    def _print(self, to_go: str) -> None:
        self._last = time.monotonic()
        seconds = self._last - self._start
        rate = (self._done - self._before) / max(seconds, 1e-9)
        left = (
            to_go % duration((self._total - self._done) / max(rate, 1e-9)) if to_go else f" in {duration(seconds)}"
        )
        pace = f", {rate:,.1f} {self._unit}/s{left}" if rate else f" {self._unit}"  # all was done before
        note = f", {self._note}" if self._note else ""
        say(f"{self._title}: {self._done:,}/{self._total:,}{pace}{note}")
