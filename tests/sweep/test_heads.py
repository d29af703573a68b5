"""A solved head is shared by the trials of a sweep that begin with the same one, and by no others."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_birds.model.probe import Head
from ray_birds.sweep import heads
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.heads import SharedHead, Solved

pytestmark = pytest.mark.keras

SOLVED = Solved(Head(np.ones((4, 3), np.float32), np.arange(3, dtype=np.float32)), 1e-5, 0.25, 0.875, 3.5)


def refuse() -> Solved:
    raise AssertionError("solved again")


def same(found: Solved) -> bool:
    numbers = (found.penalty, found.loss, found.accuracy, found.seconds) == (1e-5, 0.25, 0.875, 3.5)
    return numbers and (found.head.kernel == 1).all() and found.head.bias.tolist() == [0, 1, 2]


def test_the_first_solves_and_the_others_read(tmp_path: Path) -> None:
    shared = SharedHead(SweepDirectory(str(tmp_path)), "one")
    assert shared.get(lambda: SOLVED) is SOLVED
    assert same(SharedHead(SweepDirectory(str(tmp_path)), "one").get(refuse))


@pytest.mark.parametrize("keep", [0, 10, -40])
def test_a_damaged_one_is_solved_again(tmp_path: Path, keep: int) -> None:
    shared = SharedHead(SweepDirectory(str(tmp_path)), "one")
    shared.get(lambda: SOLVED)
    (file,) = (tmp_path / "heads").iterdir()
    file.write_bytes(file.read_bytes()[:keep])
    assert shared.get(lambda: SOLVED) is SOLVED
    assert same(shared.get(refuse))


def test_depths_share_a_head_and_other_features_have_their_own() -> None:
    variant = Variant(augment="on", unfreeze=0, head_epochs=3)
    same_head: list[dict[str, Any]] = [{"unfreeze": 10}, {"learning_rate": 0.1}, {"seed": 4}, {"augment": "light"}]
    known = heads.key(variant, stored=True)
    assert {heads.key(dataclasses.replace(variant, **change), stored=True) for change in same_head} == {known}
    others: list[dict[str, Any]] = [
        {"backbone": "EfficientNetB1"},
        {"augment": "off"},
        {"augment": "article"},
        {"head_epochs": 4},
        {"augment_views": 2},
        {"augment_seed": 1},
        {"image_size": 96},
        {"resize": "pad"},
        {"class_weights": "balanced"},
        {"precision": "mixed_float16"},
    ]
    keys = {heads.key(dataclasses.replace(variant, **change), stored=True) for change in others}
    assert len(keys | {known, heads.key(variant, stored=False)}) == len(others) + 2
