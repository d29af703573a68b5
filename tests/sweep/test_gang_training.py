"""Two workers give the numbers of one: without Ray, and on two virtual nodes where a worker is killed, twice."""

import dataclasses
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from ray_birds.demo.birds import draw_dataset
from tests.conftest import DRAWN_WEIGHTS, REPOSITORY
from tests.sweep import test_training
from tests.sweep.test_training import AUGMENTED, OURS, VARIANT, Workplace, direct, stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

workplace = test_training.workplace  # pytest's fixture

VARIANTS = {
    "plain": VARIANT,
    "augmented": AUGMENTED,
    "ours": dataclasses.replace(OURS, ema=0.7, clip_norm=0.5, class_weights="balanced"),
}
TASKS = {"stored": stored, "direct": direct}
NUMBERS = ("loss", "accuracy", "valid_loss", "valid_accuracy", "valid_macro_f1", "learning_rate")

# One of two processes that know each other by TF_CONFIG, as Ray Train tells them.
MEMBER = """
import dataclasses, json, pickle, sys
from pathlib import Path
from ray_birds.model import device, train_step
device.use_threads(1)
train_step.across_workers()
from ray_birds.sweep.member import Member
from tests.sweep.test_gang_training import TASKS, VARIANTS
from tests.sweep.test_training import train
workplace, member, found = pickle.loads(Path(sys.argv[2]).read_bytes()), Member(int(sys.argv[1]), 2), {}
for kind, make in TASKS.items():
    for name, variant in VARIANTS.items():
        run = train(dataclasses.replace(make(workplace, variant), member=member))
        found[f"{kind} {name}"] = [dataclasses.asdict(epoch) for epoch in run.states[-1].history]
        found[f"{kind} {name} test"] = run.test.tolist()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def pair(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two workers found, epochs and test scores by kind of input and variant."""
    file = tmp_path_factory.mktemp("pair") / "workplace"
    file.write_bytes(pickle.dumps(workplace))
    with socket.socket() as one, socket.socket() as other:
        one.bind(("", 0))
        other.bind(("", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    started = []
    for rank in range(2):
        about = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        command = [sys.executable, "-c", MEMBER, str(rank), str(file)]
        env = os.environ | {"TF_CONFIG": json.dumps(about)}
        started.append(subprocess.Popen(command, env=env, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True))
    told = [each.communicate()[0] for each in started]
    assert [each.returncode for each in started] == [0, 0]
    return [json.loads(text.splitlines()[-1]) for text in told]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("kind", TASKS)
def test_two_workers_give_the_numbers_of_one(
    workplace: Workplace, pair: list[dict[str, Any]], kind: str, name: str
) -> None:
    """Batches of 5, and of 2 at the end; scores of valid and test of which each finds half."""
    alone = test_training.train(TASKS[kind](workplace, VARIANTS[name]))
    for found in pair:
        for ours, reference in zip(found[f"{kind} {name}"], alone.states[-1].history, strict=True):
            for number in NUMBERS:
                assert ours[number] == pytest.approx(getattr(reference, number), rel=1e-4, abs=1e-6)
        assert found[f"{kind} {name} test"] == pytest.approx(alone.test, abs=1e-4)


_CLUSTER = """
import sys
from ray.cluster_utils import Cluster
made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
for _ in range(2):
    made.add_node(num_cpus=1)
print(made.address, flush=True)
sys.stdin.readline()
made.shutdown()
"""


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """Two virtual nodes of one CPU each, which the jobs that the test starts join; the process they are under."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        pipe = subprocess.PIPE
        made = subprocess.Popen([sys.executable, "-c", _CLUSTER], stdin=pipe, stdout=pipe, text=True)
        try:
            assert made.stdout is not None
            monkeypatch.setenv("RAY_ADDRESS", made.stdout.readline().strip())
            yield psutil.Process(made.pid)
        finally:
            made.communicate("end\n")


def tune(data: Path, results: Path, name: str, *options: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "jobs/tune.py", "--data", str(data), "--results", str(results), "--name", name]
    words += ["--backbone", "MobileNetV2-0.35", "--weights", DRAWN_WEIGHTS, "--image-size", "96"]
    words += ["--augment", "on", "--unfreeze", "10", "--learning-rate", "0.005", "--batch-size", "6"]
    words += ["--head-epochs", "1", "--fine-tune-epochs", "4", "--features", "none"]
    words += ["--cpus-per-trial", "1", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=REPOSITORY, text=True, stdout=pipe, stderr=subprocess.STDOUT)


def epochs(results: Path, name: str) -> pd.DataFrame:
    """The history of the one trial; empty before its first epoch."""
    file = next((results / name / "trials").glob("*/history.json"), None)
    return pd.DataFrame() if file is None else pd.DataFrame(json.loads(file.read_text()))


def kill_worker(nodes: psutil.Process) -> None:
    """Of the two, while they train."""
    time.sleep(0.3)
    workers = [one for one in nodes.children(recursive=True) if "RayTrainWorker" in " ".join(one.cmdline())]
    assert len(workers) == 2
    workers[-1].send_signal(signal.SIGKILL)


@pytest.mark.ray
def test_a_worker_killed_twice_in_mid_epoch_changes_no_number(nodes: psutil.Process, tmp_path: Path) -> None:
    """By the default recipe, from a solved head; and from the images, for epochs that last."""
    data, results = draw_dataset(tmp_path / "birds", train=4, valid=2, test=2), tmp_path / "results"
    alone = tune(data, results, "alone")
    output, _ = alone.communicate()
    assert alone.returncode == 0, output
    together = tune(data, results, "together", "--workers-per-trial", "2")
    done = 0
    for _ in range(2):
        deadline = time.monotonic() + 200
        while len(epochs(results, "together")) <= done and together.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        kill_worker(nodes)
        done = len(epochs(results, "together"))
    output, _ = together.communicate()
    assert together.returncode == 0, output
    assert output.count("died, or its node") == 2
    ours, reference = (epochs(results, name)[[*NUMBERS]] for name in ("together", "alone"))
    assert len(ours) == 5
    pd.testing.assert_frame_equal(ours, reference, rtol=1e-4, atol=1e-6)
    (row,) = pd.read_csv(results / "together" / "trials.csv").to_dict("records")
    assert (row["workers"], row["failures"]) == (2, 2)
    assert json.loads((results / "together" / "run.json").read_text())["workers_per_trial"] == 2
    assert "trained by 2 workers together" in (results / "together" / "report.html").read_text()
    refused = tune(data, results, "refused", "--workers-per-trial", "3")
    output, _ = refused.communicate()
    assert refused.returncode == 2 and "room for 2; give fewer workers" in output.splitlines()[-1]
