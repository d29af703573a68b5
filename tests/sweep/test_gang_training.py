"""Two workers give the numbers of one: the training alone, without Ray."""

import dataclasses
import json
import os
import pickle
import socket
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import REPOSITORY
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
import numpy as np
from ray_birds.model import device, train_step
device.use_threads(1, operations=2)
train_step._PACK = 1 << 18  # several, of this small network too
train_step.across_workers()
from ray_birds.sweep.member import Member
from tests.sweep.test_gang_training import TASKS, VARIANTS
from tests.sweep.test_training import train
from ray_birds.sweep import training
workplace, member, found = pickle.loads(Path(sys.argv[2]).read_bytes()), Member(int(sys.argv[1]), 2), {}
for kind, make in TASKS.items():
    for name, variant in VARIANTS.items():
        run = train(dataclasses.replace(make(workplace, variant), member=member))
        found[f"{kind} {name}"] = [dataclasses.asdict(epoch) for epoch in run.states[-1].history]
        found[f"{kind} {name} test"] = run.test.tolist()

def needed(op):
    seen, todo = {op}, [op]
    while todo:
        one = todo.pop()
        new = {each.op for each in one.inputs} | set(one.control_inputs)
        todo += new - seen
        seen |= new
    return seen

stage = training._STAGES._stages[False]
rows = [np.zeros((2, *shape), kind) for shape, kind in (
    (stage._both.input.shape[1:], np.float32), ((), np.int32), ((), np.float32))]
graph = stage._across.get_concrete_function(*(stage._own([each]) for each in rows)).graph
sums = [op for op in graph.get_operations() if op.type.startswith("CollectiveReduce")]
found["backward"] = [sum("gradient_tape" in op.name for op in needed(one)) for one in sums]
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


def test_gradients_are_added_up_while_others_are_still_to_be_found(pair: list[dict[str, Any]]) -> None:
    """Of the operations of the backward pass the first pack does not wait for all."""
    for found in pair:
        assert found["backward"][0] < max(found["backward"])
