"""Two at once: a lock, held by a real process, on a disk and on an object store."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ray_birds.config import PredictConfig
from ray_birds.core import lock, storage
from ray_birds.core.errors import OutputError
from ray_birds.prediction.run import predict
from tests.conftest import REPOSITORY, own_s3

_HOLD = """
import sys
from ray_birds.core import lock
with lock.held(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that holds a lock until it is killed, or is given a line."""
    started: list[subprocess.Popen[str]] = []

    def hold(uri: str) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", _HOLD, uri]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=REPOSITORY))
        assert started[-1].stdout is not None and started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def refused(uri: str, holder: "subprocess.Popen[str]") -> None:
    told = rf"x: another job is at work on it \(process {holder.pid} on .+, since 20\d\d-.*\); wait for that"
    with pytest.raises(OutputError, match=told), lock.held(uri):
        pass


@pytest.mark.integration
def test_a_second_job_is_refused_and_told_who_runs_the_first(tmp_path: Path, start: Start) -> None:
    uri = str(tmp_path / "results" / "x")
    holder = start(uri)
    refused(uri, holder)
    with lock.held(uri + "2"):  # another name
        pass
    holder.communicate("go\n")
    assert holder.returncode == 0 and not (tmp_path / "results").exists()


@pytest.mark.integration
def test_a_killed_job_holds_nothing(tmp_path: Path, start: Start) -> None:
    uri = str(tmp_path / "x")
    holder = start(uri)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.held(uri):
        pass


def test_a_place_that_cannot_be_written_is_one_line() -> None:
    with pytest.raises(OutputError, match="/proc/results/x: cannot be written"), lock.held("/proc/results/x"):
        pass


def test_a_second_prediction_is_refused_before_it_looks_at_anything(
    bundles: Path, birds: Path, tmp_path: Path, start: Start
) -> None:
    output = str(tmp_path / "predictions")
    start(output)
    with pytest.raises(OutputError, match="another job is at work on it"):
        predict(PredictConfig(str(bundles / "bundle"), (str(birds / "test"),), output, resume=True))
    assert not Path(output).exists()


@pytest.mark.integration
def test_the_same_on_an_object_store(start: Start) -> None:
    with own_s3() as bucket:
        uri = f"{bucket}/results/x"
        holder = start(uri)
        refused(uri, holder)
        owner = f"{bucket}/results/.x.owner.json"
        seen = storage.read_json(owner)["seen"]
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        refused(uri, holder)  # it may be alive
        storage.write_json(owner, storage.read_json(owner) | {"seen": seen - 2 * lock._GONE})
        with lock.held(uri):
            assert storage.read_json(owner)["process"] != holder.pid
        assert not storage.exists(owner)
