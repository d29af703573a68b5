"""Training itself on drawn numbers: too little memory, several devices, lower precision. Each in a fresh process:
devices and precision are settings of TensorFlow's and Keras's for all that follows."""

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.slow]

# A trial of MobileNetV2-0.35 at 32 pixels on random features: head phase, then ten layers; prints its histories.
SETUP = """
import dataclasses, json, sys
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration() for _ in range(2)])
from ray_birds import backbone, stage, trial
from ray_birds.backbone import Tap
from ray_birds.config import Variant
from ray_birds.state import State

variant = Variant(backbone="MobileNetV2-0.35", image_size=32, unfreeze=10, batch_size=8, head_epochs=1,
                  fine_tune_epochs=1, learning_rate=0.01)
about = backbone.describe(variant.backbone, "none", 32, (0, 10))
random = np.random.default_rng(0)
labels = {"train": random.integers(0, 3, 21).astype(np.int32), "valid": random.integers(0, 3, 9).astype(np.int32)}

def inputs(tap, most=10**9):
    rows = {split: random.normal(size=(len(of), *tap.shape)).astype(np.float32) for split, of in labels.items()}
    def train(numbers, epoch):
        if len(numbers) > most:
            tf.zeros((1 << 50,))  # more than any device has
        return rows["train"][numbers]
    return trial.Inputs(tap, train, lambda split, numbers: rows[split][numbers])

def run(task):
    states = []
    trial.train(task, State(), lambda state, scores: states.append(state))
    return states[-1]

def told(state):
    names = ("epoch", "phase", "learning_rate", "loss", "accuracy", "valid_loss", "valid_accuracy", "batch_size")
    return [{name: getattr(epoch, name) for name in names} for epoch in state.history]

def task(most=10**9, **settings):
    global random
    random = np.random.default_rng(1)
    devices = settings.pop("devices", ())
    changed = dataclasses.replace(variant, **settings)
    return trial.Task(changed, "none", 3, labels, inputs(about.pooled), inputs(about.taps[10], most), devices)
"""


def run(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", SETUP + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_two_devices_give_the_losses_of_one() -> None:
    """Batches of 8, of 5 at the end: odd ones are filled up with rows that weigh nothing."""
    one, two = run("print(json.dumps([told(run(task())), told(run(task(devices=('CPU:0', 'CPU:1'))))]))")
    assert len(one) == 2 and one[1]["phase"] == "fine-tune"
    for ours, reference in zip(two, one, strict=True):
        assert ours == pytest.approx(reference, rel=1e-4)


def test_too_little_memory_halves_the_batch_once() -> None:
    code = """
halved = told(run(task(most=5)))
try:
    run(task(most=3))
except Exception as error:
    refused = f"{type(error).__name__}: {error}"
print(json.dumps([halved, told(run(task(batch_size=4))), refused]))
"""
    halved, small, refused = run(code)
    assert halved == small  # as if it had been asked for, at the same learning rate
    assert [epoch["batch_size"] for epoch in halved] == [4, 4] and halved[0]["learning_rate"] == pytest.approx(
        0.01
    )
    assert refused.startswith("OutOfMemoryError: batches of 4 do not fit") and "--batch-size" in refused


def test_lower_precision_trains_and_gives_a_float32_model() -> None:
    code = """
found = {}
for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
    state = run(task(precision=precision))
    kinds = {str(array.dtype) for array in state.weights.values()}
    chosen = dataclasses.replace(variant, precision=precision)
    model = stage.assemble(chosen, "none", 3, state)
    found[precision] = (told(state), sorted(kinds), sorted({layer.compute_dtype for layer in model.layers}))
print(json.dumps(found))
"""
    found = run(code)
    exact = found["float32"][0]
    for precision, (history, kinds, computed) in found.items():
        assert kinds == ["float32"] and computed == ["float32"], precision
        for epoch, reference in zip(history, exact, strict=True):
            assert epoch["loss"] == pytest.approx(reference["loss"], rel=0.1), precision
    assert found["mixed_bfloat16"][0] != exact and found["mixed_float16"][0] != exact
