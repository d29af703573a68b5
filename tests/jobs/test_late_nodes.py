"""A node that joins while a job runs takes part in it: its processes decode for predictions, and make features."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
import pyarrow.dataset as ds
import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

# In a process of its own, for this one may have joined another Ray; a line has another node join.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
made.add_node(num_cpus=1)
print(made.address, flush=True)
for _ in sys.stdin:
    made.add_node(num_cpus=1)
made.shutdown()
"""
FEATURES = """
import sys
from ray_birds.core import cluster
from ray_birds.data import dataset
from ray_birds.features import compute
from ray_birds.features.steps import Source
from ray_birds.features.store import Feature
root, store = sys.argv[1:]
with cluster.session(verbose=False) as resources:
    data = dataset.scan(root)
    rows = len(data.splits["train"])
    feature = Feature("MobileNetV2-0.35", "train", "pixels", None, "stretch", (64, 64, 3), "uint8", rows, "0")
    source = Source(data, "none", 64, 0, "float32")
    compute.materialise(store, {feature: list(range(feature.shards))}, source, resources)
"""
IMAGES = 700


@pytest.fixture
def nodes() -> Iterator["subprocess.Popen[str]"]:
    """A node of one CPU, which the jobs join that are started meanwhile."""
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
            yield made
        finally:
            made.communicate()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to one image that takes some 50 ms to decode, for training and validation."""
    folder = tmp_path_factory.mktemp("large")
    small = np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)
    cv2.imwrite(str(folder / "large.png"), cv2.resize(small, (1500, 1500)))
    for name, count in (("train", IMAGES), ("valid", 2), ("test", 2)):
        for number in range(count):
            within = folder / "data" / name / f"CLASS {number % 2}"
            within.mkdir(parents=True, exist_ok=True)
            (within / f"{number:04}.png").symlink_to(folder / "large.png")
    return folder / "data"


def late_work(nodes: "subprocess.Popen[str]", command: list[str], begun: Path, pattern: str) -> set[str]:
    """Run a job; another node joins once there is a file below `begun`. What that node's processes were at."""
    pipe = subprocess.PIPE
    job = subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=pipe, stderr=subprocess.STDOUT)
    before: set[psutil.Process] = set()
    seen: set[str] = set()
    while job.poll() is None:
        if not before and any(begun.glob(pattern)):
            before = set(raylets(nodes))
            assert nodes.stdin
            nodes.stdin.write("join\n")
            nodes.stdin.flush()
        for raylet in set(raylets(nodes)) - before if before else ():
            seen |= {title(one) for one in raylet.children(recursive=True)}
        time.sleep(0.05)
    assert job.stdout
    output = job.stdout.read()
    assert job.returncode == 0, output
    return {one for one in seen if "submit" in one}  # as Ray names a process of Ray Data's while it has work


def raylets(nodes: "subprocess.Popen[str]") -> list[psutil.Process]:
    return [one for one in psutil.Process(nodes.pid).children() if one.name() == "raylet"]


def title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return " ".join(process.cmdline())
    return ""


def test_a_late_node_takes_part_in_a_prediction(
    nodes: "subprocess.Popen[str]", images: Path, bundles: Path, tmp_path: Path
) -> None:
    given = ["--model", str(bundles / "bundle"), "--input", str(images), "--output", str(tmp_path / "out")]
    command = [sys.executable, "jobs/predict.py", *given]
    work = late_work(nodes, command, tmp_path / "out.partial", "part-*.parquet")
    assert any("Decoder" in one for one in work), work
    rows = ds.dataset(tmp_path / "out", format="parquet").to_table(["path", "error"])
    assert len(rows) == len(set(rows["path"].to_pylist())) == IMAGES + 4 and not any(rows["error"].to_pylist())


def test_a_late_node_takes_part_in_the_pass_over_frozen_layers(
    nodes: "subprocess.Popen[str]", images: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", FEATURES, str(images), str(tmp_path)]
    work = late_work(nodes, command, tmp_path, "*train*/*.npy")
    assert any("FeatureWorker" in one for one in work), work
    (manifest,) = tmp_path.rglob("manifest.json")
    assert len(list(manifest.parent.glob("*.npy"))) == -(-IMAGES // 64)
