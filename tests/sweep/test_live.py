"""The page of a sweep while it runs: when it is written, what it says, and that it ends no sweep."""

import dataclasses
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ray_birds.sweep import epochs, live
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.live import Line, LivePage, View
from tests.report.test_pages import Page


def line(name: str, state: str, *accuracies: float, failures: int = 0) -> Line:
    history = tuple(
        Epoch(number, "head", 0.001, 0.5, 0.9, 0.6, accuracy, 2.0, 1234.0, 32, accuracy)
        for number, accuracy in enumerate(accuracies, 1)
    )
    kept = epochs.kept(history, Variant()) if history else None
    return Line(name, state, 4, history, kept, failures)


def view(*lines: Line) -> View:
    return View("first", "1/3 trials, 2:10 to go", lines)


@pytest.fixture
def page(tmp_path: Path) -> LivePage:
    return LivePage(SweepDirectory(str(tmp_path)))


@pytest.fixture
def read(tmp_path: Path) -> Callable[[], Page]:
    return lambda: Page(str(tmp_path / "report.html"))


RUNNING = view(
    line("<waits>", "waiting"), line("ended", "finished", 0.5, 0.75, 0.7, 0.6), line("runs", "running", 0.7)
)


def test_it_says_what_has_ended_and_what_runs(page: LivePage, read: Callable[[], Page]) -> None:
    page.offer(lambda: RUNNING)
    shown = read()
    rows = [(attributes["data-trial"], attributes["data-state"]) for attributes, _ in shown.tables["trials"][1:]]
    assert rows == [("runs", "running"), ("ended", "finished"), ("<waits>", "waiting")]
    texts = [[text for _, text in cells] for _, cells in shown.tables["trials"][1:]]
    assert texts[0][2:6] == ["1 of 4", "90.00 %", "70.00 %", "70.00 %"] and texts[1][5] == "75.00 %"
    assert "Trials are running. 1/3 trials, 2:10 to go." in shown.by_id["state"]
    assert shown.by_id["best"].startswith("Best on valid so far: ended with 75.00 % in epoch 2.")
    assert "This page is live: it loads itself again every 4 seconds" in shown.by_id["live"]
    assert shown.source.count("<polyline") == 2 and not shown.links  # nothing is loaded from elsewhere


def refreshes(page: Page) -> bool:
    return 'http-equiv="refresh"' in page.source


def test_it_refreshes_itself_until_the_report_takes_its_place(page: LivePage, read: Callable[[], Page]) -> None:
    page.offer(lambda: RUNNING)
    assert refreshes(read())
    page.end(RUNNING, interrupted=False)
    assert refreshes(read()) and "the best model and the report are being made" in read().by_id["state"]
    page.end(RUNNING, interrupted=True)
    assert not refreshes(read()) and "--resume continues it" in read().by_id["state"]


def test_it_is_written_where_something_has_changed_and_not_too_often(
    page: LivePage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    written = tmp_path / "report.html"
    page.offer(lambda: RUNNING)
    ended = dataclasses.replace(RUNNING.lines[2], state="finished")
    later = view(*RUNNING.lines[:2], ended)
    first = written.read_text()
    page.offer(lambda: later)  # too early
    assert written.read_text() == first
    now[0] += live._LEAST
    page.offer(lambda: RUNNING)  # nothing is new
    assert written.read_text() == first
    page.offer(lambda: later)
    assert re.findall(r'data-state="(\w+)"', written.read_text()) == ["finished", "finished", "waiting"]


def test_a_page_that_takes_long_is_written_seldom(page: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of the time at most: after one second, not for a hundred."""
    now, views = [1000.0], []

    def clock() -> float:
        now[0] += 0.5  # twice for each page that is written
        return now[0]

    monkeypatch.setattr(time, "monotonic", clock)
    lines = (line(str(number), "running") for number in range(400))
    for _ in range(400):
        page.offer(lambda: views.append(1) or view(next(lines)))  # type: ignore[func-returns-value]
    assert len(views) == 1 + (400 * 0.5 - 1) // (0.5 / live._SHARE)


def test_a_page_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    page = LivePage(SweepDirectory(str(tmp_path / "file")))
    page.offer(lambda: RUNNING)
    page.end(RUNNING, interrupted=True)


def test_on_an_object_store_it_is_written_seldom() -> None:
    remote = LivePage(SweepDirectory("s3://bucket/first?region=eu-west-1"))
    assert remote._least == live._LEAST_REMOTE
