"""Training on several devices, in lower precision, and short of memory in the second phase; on drawn numbers.

All of it in one process of its own, for devices and precision are settings for all that follows in a process.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.slow]

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

# Trials of MobileNetV2-0.35 at 32 pixels on random features: head phase, then the top three layers.
CODE = """
import dataclasses, json
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration() for _ in range(2)])
from ray_birds.model import backbones, train_step
from ray_birds.sweep import tasks, training
from ray_birds.config import ARTICLE_RECIPE
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.checkpoint import Checkpoint

variant = Variant(backbone="MobileNetV2-0.35", image_size=32, unfreeze=3, batch_size=8, head_epochs=1,
                  fine_tune_epochs=1, learning_rate=0.01, **ARTICLE_RECIPE)
about = backbones.describe(variant.backbone, "none", 32, (0, 3))

def run(most=10**9, devices=(), **settings):
    random = np.random.default_rng(1)
    sizes = {"train": 21, "valid": 9}
    labels = {split: random.integers(0, 3, size).astype(np.int32) for split, size in sizes.items()}

    def inputs(cut_point, most):
        def draw(size):
            return random.normal(size=(size, *cut_point.shape)).astype(np.float32)
        rows = {split: draw(size) for split, size in sizes.items()}
        def train(numbers, view):
            if len(numbers) > most:
                tf.zeros((1 << 50,))  # more than any device has
            return rows["train"][numbers]
        return tasks.Inputs(cut_point, train, lambda split, numbers: rows[split][numbers])

    chosen = dataclasses.replace(variant, **settings)
    phases = inputs(about.pooled, 10**9), inputs(about.cut_points[3], most)
    states = []
    task = tasks.Task(chosen, "none", 3, labels, *phases, devices)
    training.train(task, Checkpoint(), lambda state, scores: states.append(state))
    return states[-1]

def told(state):
    names = ("epoch", "phase", "learning_rate", "loss", "accuracy", "valid_loss", "valid_accuracy", "batch_size")
    return [{name: getattr(epoch, name) for name in names} for epoch in state.history]

found = {"fresh": told(run())}
run(learning_rate=0.3, seed=5)
found |= {"used again": told(run()), "two": told(run(devices=("CPU:0", "CPU:1")))}
steady = {"ema": 0.7, "clip_norm": 0.1}
found |= {"steady": told(run(**steady)), "steady two": told(run(devices=("CPU:0", "CPU:1"), **steady))}
found |= {"dropped two": [told(run(devices=("CPU:0", "CPU:1"), dropout=0.5, **steady)) for _ in range(2)]}
found |= {"halved": told(run(most=5)), "small": told(run(batch_size=4))}
try:
    run(most=3)
except Exception as error:
    found["refused"] = f"{type(error).__name__}: {error}"
for precision in ("mixed_bfloat16", "mixed_float16", "float32"):
    state = run(precision=precision)
    model = train_step.assemble(variant, "none", 3, state.weights)
    kinds = {str(array.dtype) for array in state.weights.values()}
    kinds |= {layer.compute_dtype for layer in model.layers}
    found[precision] = told(state)
    found["kinds " + precision] = sorted(kinds)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Histories of the trials, epoch by epoch."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_stage_used_again_trains_as_in_a_fresh_process(found: dict[str, Any]) -> None:
    """The first trial of the process, and the same one after another had the compiled steps: equal to the bit."""
    assert found["used again"] == found["fresh"]


def test_two_devices_give_the_losses_of_one(found: dict[str, Any]) -> None:
    """Batches of 8, and of 5 at the end: odd ones are filled up with rows that weigh nothing."""
    assert [epoch["phase"] for epoch in found["two"]] == ["head", "fine-tune"]
    for ours, reference in zip(found["two"], found["float32"], strict=True):
        for name in ("learning_rate", "loss", "accuracy", "valid_loss", "valid_accuracy"):
            assert ours[name] == pytest.approx(reference[name], rel=1e-4)


def test_two_devices_average_clip_and_drop_as_one(found: dict[str, Any]) -> None:
    """A gradient's norm is that of the whole batch; what is dropped is drawn anew on each, and again the same."""
    for ours, reference in zip(found["steady two"], found["steady"], strict=True):
        for name in ("loss", "valid_loss"):
            assert ours[name] == pytest.approx(reference[name], rel=1e-4)
    assert found["steady"][1]["valid_loss"] != pytest.approx(found["float32"][1]["valid_loss"], rel=1e-3)
    one, again = found["dropped two"]
    assert one == again and one[1]["loss"] != pytest.approx(found["steady"][1]["loss"], rel=1e-3)


def test_too_little_memory_halves_the_batch_once(found: dict[str, Any]) -> None:
    assert found["halved"] == found["small"]  # as if it had been asked for, at the same learning rate
    assert [epoch["batch_size"] for epoch in found["halved"]] == [4, 4]
    assert found["halved"][0]["learning_rate"] == found["float32"][0]["learning_rate"]
    assert found["refused"].startswith("OutOfMemoryError: batches of 4 do not fit")
    assert "--batch-size" in found["refused"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_lower_precision_trains_and_gives_a_float32_model(found: dict[str, Any], precision: str) -> None:
    assert found[f"kinds {precision}"] == ["float32"]
    for epoch, reference in zip(found[precision], found["float32"], strict=True):
        assert epoch["loss"] == pytest.approx(reference["loss"], rel=0.1)
    assert (found[precision] == found["float32"]) == (precision == "float32")
