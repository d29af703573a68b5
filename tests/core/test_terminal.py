"""The terminal: exit codes of a job in a process of its own, durations, progress with and without a terminal."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from ray_birds.core import terminal

JOB = '''
from dataclasses import dataclass
from ray_birds.core import errors
from ray_birds.config import Settings, _check
from ray_birds.core.terminal import run_job, say

@dataclass(frozen=True)
class Config(Settings):
    """Raise what is asked for."""
    ending: str
    """What."""
    count: int = 1
    """How many."""
    def __post_init__(self) -> None:
        _check(self.count > 0, f"--count {self.count}: expected above 0")

def main(config: Config) -> None:
    if config.ending == "interrupt":
        raise KeyboardInterrupt
    if config.ending == "full":
        raise OSError(28, "No space left on device", "results/x")
    if config.ending == "bug":
        raise RuntimeError("a bug")
    if config.ending != "well":
        raise getattr(errors, config.ending)("birds/x: what was wrong; what to do")
    say("done")

if __name__ == "__main__":
    run_job(Config, main)
'''


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    uri = tmp_path_factory.mktemp("job") / "job.py"
    uri.write_text(JOB)
    return uri


def run(job: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(job), *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("extension", "code"),
    [
        ("DataError", 2),
        ("OutputError", 2),
        ("RayBirdsError", 2),
        ("TrialsFailed", 1),
        ("interrupt", 130),
    ],
)
def test_an_error_of_the_user_is_one_line_and_a_code(job: Path, extension: str, code: int) -> None:
    done = run(job, "--ending", extension)
    assert done.returncode == code and done.stdout == ""
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr), done.stderr
    assert "interrupted" in done.stderr if extension == "interrupt" else "what to do" in done.stderr


def test_a_full_disk_is_one_line(job: Path) -> None:
    done = run(job, "--ending", "full")
    assert done.returncode == 2
    assert done.stderr == "error: results/x: No space left on device; free some space, --resume then continues\n"


def test_a_job_that_ends_well(job: Path) -> None:
    done = run(job, "--ending", "well")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_bug_keeps_its_traceback(job: Path) -> None:
    done = run(job, "--ending", "bug")
    assert done.returncode == 1 and "Traceback" in done.stderr and "RuntimeError: a bug" in done.stderr


def test_mistakes_on_the_command_line(job: Path) -> None:
    refused = run(job, "--ending", "well", "--count", "0")
    assert refused.returncode == 2 and refused.stderr == "error: --count 0: expected above 0\n"
    misspelled = run(job, "--ending", "well", "--cuont", "2")
    assert misspelled.returncode == 2 and "--count" in misspelled.stdout + misspelled.stderr


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


@pytest.mark.parametrize("total", [0, 5])
def test_progress_of_nothing(total: int, capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress("Reading", total, "files"):
        pass
    assert f"Reading: 0/{total}, " in capsys.readouterr().out


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
