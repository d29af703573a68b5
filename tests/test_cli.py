"""The command line: exit codes of a job in a process of its own, commands by name, which options were given."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ray_birds.cli import COMMANDS, given
from ray_birds.config import TuneConfig

pytestmark = pytest.mark.integration

JOB = '''
import os, signal, sys, time
from dataclasses import dataclass
from ray_birds.core import errors
from ray_birds.cli import Terminated, run_job
from ray_birds.core.settings import Settings, check
from ray_birds.core.terminal import say

@dataclass(frozen=True)
class Config(Settings):
    """Raise what is asked for."""
    ending: str
    """What."""
    count: int = 1
    """How many."""
    def __post_init__(self) -> None:
        check(self.count > 0, f"--count {self.count}: expected above 0")

def main(config: Config, given: frozenset[str]) -> str | None:
    if config.ending == "interrupt":
        with errors.resumable("--name x --resume continues"):
            raise KeyboardInterrupt
    if config.ending == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    if config.ending == "failed trials":
        return "1 of 2 trials failed: what to do"
    if config.ending == "full":
        raise OSError(28, "No space left on device", "results/x")
    if config.ending == "bug":
        raise RuntimeError("a bug")
    if config.ending != "well":
        raise getattr(errors, config.ending)("birds/x: what was wrong; what to do")
    say("done")
    return None

if __name__ == "__main__":
    run_job(Config, main, sys.argv[1:], "job")
'''


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    uri = tmp_path_factory.mktemp("job") / "job.py"
    uri.write_text(JOB)
    return uri


def run(job: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(job), *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("DataError", 2),
        ("OutputError", 2),
        ("RayBirdsError", 2),
        ("failed trials", 1),
        ("interrupt", 130),
        ("terminated", 143),
    ],
)
def test_an_error_of_the_user_is_one_line_and_a_code(job: Path, ending: str, code: int) -> None:
    done = run(job, "--ending", ending)
    assert done.returncode == code and done.stdout == ""
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr), done.stderr
    told = {"interrupt": "interrupted; --name x --resume continues", "terminated": "terminated"}
    assert told.get(ending, "what to do") in done.stderr


def test_a_full_disk_is_one_line(job: Path) -> None:
    done = run(job, "--ending", "full")
    assert done.returncode == 2
    assert done.stderr == "error: results/x: No space left on device; free some space, then --resume continues\n"


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


def test_given_options_are_known_by_field() -> None:
    words = ["--data", "--x", "y", "--head-epochs=5", "--learning-rate", "0.1", "0.2", "--resume"]
    assert given(TuneConfig, words) == {"data", "head_epochs", "learning_rate", "resume"}


def ray_birds(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ray_birds.cli", *words], capture_output=True, text=True)


def test_the_command_lists_its_commands_and_its_version() -> None:
    listed = ray_birds("--help")
    assert listed.returncode == 0 and all(f"  {name} " in listed.stdout for name in COMMANDS)
    assert re.fullmatch(r"ray-birds \d+\.\d+\.\d+\n", ray_birds("--version").stdout)


def test_an_unknown_command_is_refused_with_the_nearest() -> None:
    done = ray_birds("tnue")
    assert done.returncode == 2 and done.stderr.startswith("error: tnue: no such command; the nearest is tune")
