"""Two at once: the lock of a sweep, held by a real process, on a disk and on an object store."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.sweep import lock
from ray_birds.sweep.directory import SweepDirectory
from tests.conftest import REPOSITORY, own_s3

_HOLD = """
import sys
from ray_birds.sweep import lock
from ray_birds.sweep.directory import SweepDirectory
with lock.held(SweepDirectory(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that holds a sweep's lock until it is killed, or is given a line."""
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
    told = rf"x: a sweep of this name is running \(process {holder.pid} on .+, since 20\d\d-.*\); wait"
    with pytest.raises(OutputError, match=told), lock.held(SweepDirectory(uri)):
        pass


def test_a_second_sweep_of_a_name_is_refused_and_told_who_runs_the_first(tmp_path: Path, start: Start) -> None:
    uri = str(tmp_path / "results" / "x")
    holder = start(uri)
    refused(uri, holder)
    with lock.held(SweepDirectory(uri + "2")):  # another name
        pass
    holder.communicate("go\n")
    assert holder.returncode == 0 and not (tmp_path / "results").exists()


def test_a_killed_sweep_holds_nothing(tmp_path: Path, start: Start) -> None:
    uri = str(tmp_path / "x")
    holder = start(uri)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.held(SweepDirectory(uri)):
        pass


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
        with lock.held(SweepDirectory(uri)):
            assert storage.read_json(owner)["process"] != holder.pid
        assert not storage.exists(owner)
