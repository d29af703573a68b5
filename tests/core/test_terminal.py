"""The terminal: durations, progress with and without a terminal."""

import io
import re
import time

import pytest
from rich.console import Console

from ray_birds.core import terminal


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (0.4, "0:00"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599.4, "59:59"),
        (3600, "1:00:00"),
        (90_061, "25:01:01"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert terminal.duration(seconds) == text


def test_a_long_path_is_not_broken_and_brackets_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    line = f"results  /{'long folder/' * 30}[bold]x[/bold].parquet"
    terminal.say(line)
    assert capsys.readouterr().out == line + "\n"


def test_progress_without_a_terminal_is_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "PLAIN_INTERVAL", 0.0)
    with terminal.progress("Scoring", 2000, "images") as meter:
        meter.advance(500, "1 failures")
        meter.advance(1500, "3 failures")
    lines = capsys.readouterr().out.splitlines()
    number = r"[\d,]+\.\d images/s"
    assert len(lines) == 3
    assert re.fullmatch(rf"Scoring: 500/2,000, {number}, \d+:\d\d to go, 1 failures", lines[0])
    assert re.fullmatch(rf"Scoring: 2,000/2,000, {number}, 0:00 to go, 3 failures", lines[1])
    assert re.fullmatch(rf"Scoring: 2,000/2,000, {number} in 0:00, 3 failures", lines[2])


def test_progress_is_quiet_between_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress("Reading", 3, "files") as meter:
        for _ in range(3):
            meter.advance()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("Reading: 3/3, ") and "\x1b" not in said


def test_a_job_that_gets_nothing_done_says_so_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "IDLE_INTERVAL", 0.2)
    with terminal.progress("Checking", 3, "files", needs="a free CPU") as meter:
        time.sleep(0.5)
        meter.advance(3)
    idle, *_, last = capsys.readouterr().out.splitlines()
    assert idle == "Checking: no news for 0.2 s; at work, or waiting for a free CPU"
    assert last.startswith("Checking: 3/3, ")


@pytest.mark.parametrize("total", [0, 5])
def test_progress_of_nothing(total: int, capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress("Reading", total, "files"):
        pass
    assert f"Reading: 0/{total} files\n" in capsys.readouterr().out


def test_no_rate_of_what_was_done_before(capsys: pytest.CaptureFixture[str]) -> None:
    """A job of one unit: the clock starts with its end."""
    with terminal.progress("Scoring", 64, "images", done=64):
        pass
    assert capsys.readouterr().out == "Scoring: 64/64 images\n"


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "out", Console(file=screen, force_terminal=True, width=120))
    with terminal.progress("Scoring", 20, "images") as meter:
        meter.advance(10, "1 failures")
        meter.advance(10, "2 failures")
    shown = screen.getvalue()
    assert "Scoring" in shown and "20/20" in shown and "2 failures" in shown and "images/s" in shown


def test_table_shows_every_cell_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    error = "damaged: [bold] in [/tmp/a b]"
    rows = [("plain-unfreeze0", "0.98", ""), ("aug-unfreeze100", "1.5", error)]
    terminal.show(terminal.table("Trials of [x]", ("trial", "valid", "error"), rows))
    said = capsys.readouterr().out
    assert all(text in said for text in ("Trials of [x]", "trial", "valid", "plain-unfreeze0", "0.98", error))
    assert re.search(r"│ {3}1\.5 │", said)  # numbers are right-aligned


def test_table_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show(terminal.table("Trials", ("trial", "valid"), []))
    assert "trial" in capsys.readouterr().out


def test_control_characters_in_names_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b]0;title\x07OWL\x9b2J"
    terminal.say(f"class {name}")
    terminal.show(terminal.table(name, (name,), [(name,)]))
    terminal.bars([(name, 0.5)])
    said = capsys.readouterr().out
    assert said.count("\\x1b]0;title\\x07OWL\\x9b2J") == 5
    assert not {"\x1b", "\x07", "\x9b"} & set(said)
