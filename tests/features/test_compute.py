"""Features as they are made on CPUs and as GPUs are fed: the same files, to the last bit."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DRAWN_WEIGHTS, REPOSITORY

# A Ray of its own, which takes a CPU for a GPU.
_BOTH = """
import dataclasses, sys
import ray
from ray_birds.core import cluster
from ray_birds.data import dataset
from ray_birds.features import compute
from ray_birds.features.steps import Source
from ray_birds.features.store import Feature
from ray_birds.sweep.factors import View
root, weights, *stores = sys.argv[1:]
ray.init(address="local", num_cpus=3, num_gpus=1, include_dashboard=False, log_to_driver=False)
with cluster.session(verbose=False) as resources:
    data = dataset.scan(root)
    missing = {
        Feature("MobileNetV2-0.35", split, name, view, "pad", shape, dtype, len(data.splits[split]), key): [0]
        for split, view, key in [("train", None, "0"), ("train", View("light", 1), "1"), ("valid", None, "2")]
        for name, shape, dtype in [("pixels", (64, 64, 3), "uint8"), ("pooled", (1280,), "float16")]
    }
    source = Source(data.root, weights, 64, 3, "float32")
    for uri, gpus in zip(stores, (0, 1), strict=True):
        compute.materialise(uri, missing, data.splits, source, dataclasses.replace(resources, gpus=gpus))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_gpu_that_is_fed_makes_the_same_files(birds: Path, tmp_path: Path) -> None:
    stores = [tmp_path / name for name in ("fused", "fed")]
    for store in stores:
        store.mkdir()
    command = [sys.executable, "-c", _BOTH, str(birds), DRAWN_WEIGHTS, *map(str, stores)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    fused, fed = ({str(file.relative_to(store)) for file in store.rglob("*.npy")} for store in stores)
    assert fused == fed and len(fed) == 6  # names carry the digests of what is in them
