"""Trials of two workers under Ray, on virtual nodes: killed, lost, waiting for room, ended by ASHA or a limit."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest

from ray_birds.demo.birds import draw_dataset
from tests.conftest import DRAWN_WEIGHTS, REPOSITORY
from tests.sweep.test_gang_training import NUMBERS

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

# In a process of its own, for this one may have joined another Ray; a line has another node join.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
for _ in range(4):
    made.add_node(num_cpus=1)
print(made.address, flush=True)
for _ in sys.stdin:
    made.add_node(num_cpus=1)
made.shutdown()
"""


@dataclass(frozen=True)
class Nodes:
    """Four nodes of one CPU each, which the jobs join that are started meanwhile."""

    process: "subprocess.Popen[str]"

    def workers(self) -> list[psutil.Process]:
        """Those that train a trial with others; Ray names processes after what they run."""
        return [one for one in _below(self.process.pid) if "RayTrainWorker" in _title(one)]

    def lose(self, one: psutil.Process) -> None:
        """The node of a process, as when a machine vanishes; another joins."""
        raylet = next(each for each in one.parents() if each.name() == "raylet")
        for each in (*_below(raylet.pid), raylet):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        assert self.process.stdin
        self.process.stdin.write("join\n")
        self.process.stdin.flush()


def _below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return " ".join(process.cmdline())
    return ""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        pipe = subprocess.PIPE
        made = subprocess.Popen([sys.executable, "-c", CLUSTER], stdin=pipe, stdout=pipe, text=True)
        try:
            assert made.stdout
            patch.setenv("RAY_ADDRESS", made.stdout.readline().strip())
            yield Nodes(made)
        finally:
            made.communicate()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("drawn") / "birds", train=4, valid=2, test=2)


@dataclass(frozen=True)
class Job:
    """A sweep. What it prints goes into a file: a pipe that nobody reads holds it up when it is full."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait(self, seconds: float = 300.0, meanwhile: Callable[[], object] = lambda: None) -> int:
        """Its exit code. One that takes longer is ended, and the test with it."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            meanwhile()
            if time.monotonic() > deadline:
                self.process.kill()
                pytest.fail(f"no end after {seconds} s:\n{self.output}")
            time.sleep(0.2)
        return self.process.returncode


def tune(data: Path, results: Path, name: str, *options: str, **environment: str) -> Job:
    """By the default recipe, from a solved head; and from the images, for epochs that last."""
    words = [sys.executable, "jobs/tune.py", "--data", str(data), "--results", str(results), "--name", name]
    words += ["--backbone", "MobileNetV2-0.35", "--weights", DRAWN_WEIGHTS, "--image-size", "96"]
    words += ["--augment", "on", "--unfreeze", "10", "--batch-size", "6", "--head-epochs", "1"]
    words += ["--features", "none", "--cpus-per-trial", "1", *options]
    env, log = os.environ | environment, results / f"{name}.log"
    with log.open("w") as file:
        process = subprocess.Popen(words, cwd=REPOSITORY, env=env, stdout=file, stderr=subprocess.STDOUT)
    return Job(process, log)


ONE = ("--learning-rate", "0.005", "--fine-tune-epochs", "4")
TWO_WORKERS = ("--workers-per-trial", "2")


def epochs(results: Path, name: str) -> pd.DataFrame:
    """The history of the one trial; empty before its first epoch."""
    file = next((results / name / "trials").glob("*/history.json"), None)
    return pd.DataFrame() if file is None else pd.DataFrame(json.loads(file.read_text()))


def trials(results: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(results / name / "trials.csv", index_col="trial")


def without_gangs(folder: Path) -> str:
    """A copy of the package that lacks the one module which imports Ray Train."""
    lacking = shutil.ignore_patterns("gang.py", "__pycache__")
    shutil.copytree(REPOSITORY / "ray_birds", folder / "copy" / "ray_birds", ignore=lacking)
    env = os.environ | {"PYTHONPATH": str(folder / "copy")}
    looked = [sys.executable, "-c", "import ray_birds.sweep.member, ray_birds.sweep.gang"]
    done = subprocess.run(looked, env=env, cwd=folder, capture_output=True, text=True)
    assert "No module named 'ray_birds.sweep.gang'" in done.stderr
    return env["PYTHONPATH"]


def watch(nodes: Nodes, job: Job) -> tuple[int, set[psutil.Process], float]:
    """A job's exit code, the workers that there were, and the seconds at its end in which there was none."""
    seen: set[psutil.Process] = set()
    last = time.monotonic()

    def look() -> None:
        nonlocal last
        if now := nodes.workers():
            seen.update(now)
            last = time.monotonic()

    code = job.wait(meanwhile=look)
    return code, seen, time.monotonic() - last


def test_gangs_wait_for_room_and_asha_ends_the_worst(nodes: Nodes, data: Path, tmp_path: Path) -> None:
    """Two of four have room. The last to get to a rung are worse than those, for their rates are too high.

    Both are ended: what they had reserved is there for the winner's bundle.
    """
    options = ("--learning-rate", "0.005", "0.004", "2.0", "3.0", "--fine-tune-epochs", "2", "--select-by", "loss")
    job = tune(data, tmp_path, "asha", *options, *TWO_WORKERS, "--scheduler", "asha")
    code, seen, idle = watch(nodes, job)
    assert code == 0 and "2 at a time" in job.output, job.output
    found = trials(tmp_path, "asha")
    assert len(found) == 4 and not found["failures"].any()
    assert (found.loc[["aug-unfreeze10-lr2", "aug-unfreeze10-lr3"], "status"] == "stopped").all()
    winner = json.loads((tmp_path / "asha" / "run.json").read_text())["winner"]
    assert found.loc[winner, "status"] == "finished"
    assert len(seen) == 8 and idle > 1  # while the winner's bundle was made
    assert not any(each.is_running() for each in seen)


def test_a_limit_ends_a_gang_that_hangs(nodes: Nodes, data: Path, tmp_path: Path) -> None:
    """One that would go on for hours; what it has by then stays, as a trial that has not ended."""
    options = ("--learning-rate", "0.005", "--fine-tune-epochs", "9999", "--time-limit", "90s")
    began = time.monotonic()
    job = tune(data, tmp_path, "limit", *options, *TWO_WORKERS)
    hanging: list[psutil.Process] = []

    def hang() -> None:
        if not hanging and len(epochs(tmp_path, "limit")) > 1:
            hanging.extend(nodes.workers())
            hanging[-1].suspend()

    code = job.wait(meanwhile=hang)
    assert code == 1 and "no variant ended within --time-limit 90s" in job.output.splitlines()[-1], job.output
    assert 90 < time.monotonic() - began < 240
    assert trials(tmp_path, "limit")["status"].tolist() == ["stopped"]
    assert len(hanging) == 2 and not any(each.is_running() for each in hanging)


def test_more_workers_than_there_is_room_for_are_refused(nodes: Nodes, data: Path, tmp_path: Path) -> None:
    refused = tune(data, tmp_path, "refused", *ONE, "--workers-per-trial", "5")
    assert refused.wait() == 2 and "room for 4; give fewer workers" in refused.output.splitlines()[-1]


def test_workers_killed_and_a_node_lost_in_mid_epoch_change_no_number(
    nodes: Nodes, data: Path, tmp_path: Path
) -> None:
    """Two workers one after the other, then a node; and one worker takes no way through Ray Train."""
    alone = tune(data, tmp_path, "alone", *ONE, PYTHONPATH=without_gangs(tmp_path), RAY_ADDRESS="local")
    assert alone.wait() == 0, alone.output
    together = tune(data, tmp_path, "together", *ONE, *TWO_WORKERS)
    done = 0
    for strike in (psutil.Process.kill, psutil.Process.kill, nodes.lose):
        deadline = time.monotonic() + 200
        while len(epochs(tmp_path, "together")) <= done and together.process.poll() is None:
            assert time.monotonic() < deadline, together.output
            time.sleep(0.05)
        time.sleep(0.3)
        workers = nodes.workers()
        assert len(workers) == 2
        strike(workers[-1])
        done = len(epochs(tmp_path, "together"))
    assert together.wait() == 0, together.output
    # The node may have been that of the trial's own process.
    assert together.output.count("died, or its node") >= 2
    ours, reference = (epochs(tmp_path, name)[[*NUMBERS]] for name in ("together", "alone"))
    assert len(ours) == 5
    pd.testing.assert_frame_equal(ours, reference, rtol=1e-4, atol=1e-6)
    (row,) = trials(tmp_path, "together").to_dict("records")
    assert (row["workers"], row["failures"]) == (2, 3)
    assert json.loads((tmp_path / "together" / "run.json").read_text())["workers_per_trial"] == 2
    assert "trained by 2 workers together" in (tmp_path / "together" / "report.html").read_text()
