"""The folds of a variant joined: at one epoch, each image by the model that held it out; failed ones named."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ray_birds.config import TuneConfig
from ray_birds.data.dataset import Dataset, Split
from ray_birds.data.inspection import Folds, Inspection
from ray_birds.sweep import cross_validation, results, search
from ray_birds.sweep.directory import FAILURES, SweepDirectory
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.outcome import Trial
from ray_birds.sweep.plan import Plan, by_fold, variants

NAME = "plain-unfreeze10-lr0.001"
HELD_OUT = np.array([1, 0, -1, 1, 0, 0])  # one is always trained on
LABELS = np.array([0, 1, 0, 0, 1, 1], np.int32)


def epoch(number: int, accuracy: float) -> Epoch:
    return Epoch(number, "fine-tune", 0.1, 1.0, 0.5, 1 - accuracy, accuracy, 2.0, 10.0, 32, accuracy)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    config = TuneConfig(data="d", augment=("off",), unfreeze=(10,), fine_tune_epochs=2, folds=2)
    train = Split("train", tuple(f"train/{n}" for n in range(6)), LABELS, np.arange(6))
    data, folds = Dataset("d", ("a", "b"), {"train": train}), Folds(HELD_OUT, np.array([0, 1, 2, 0, 3, 4]))
    directory = SweepDirectory(str(tmp_path))
    directory.begin(config, Inspection(data, (), {}, (), (), folds=folds), "w")
    trials = by_fold(variants(config), 2)
    return Plan(
        config, directory, "", data, {}, {}, trials, frozenset(trials), threads=1, alone=1, gpus=0.0, folds=folds
    )


def leave(plan: Plan, fold: int, accuracies: list[float], right: list[list[int]]) -> None:
    """What a fold's trial leaves behind: its history and, after each epoch, which of its images it has right."""
    name, labels = f"{NAME}-fold{fold}", LABELS[np.equal(HELD_OUT, fold)]
    epochs = [epoch(number, accuracy) for number, accuracy in enumerate(accuracies, 1)]
    plan.directory.write_history(name, [dataclasses.asdict(one) for one in epochs])
    for number, hits in enumerate(right, 1):
        scores = np.full((len(labels), 2), 0.25, np.float32)
        scores[np.arange(len(labels)), np.where(hits, labels, 1 - labels)] = 0.75
        plan.directory.write_scores(name, number, scores)


def joined(plan: Plan, errors: dict[str, str]) -> Trial:
    whole, failed = cross_validation.joined(plan, errors)
    assert [*whole.variants] == [NAME] and whole.variants[NAME].fold is None and whole.stored == {NAME}
    (trial,) = results.trials(plan.directory, whole.variants, failed, 0.0)
    return trial


def test_each_trial_is_a_variant_and_a_fold(plan: Plan) -> None:
    assert [*plan.variants] == [f"{NAME}-fold0", f"{NAME}-fold1"]
    assert all(plan.name(point) == name for name, point in plan.points.items())
    assert set(search.space(plan)) == {*plan.variants[f"{NAME}-fold0"].values, "fold"}
    one, other = plan.variants.values()
    assert one.head_facts != other.head_facts  # their heads learn from other images


def test_all_folds_are_taken_at_the_epoch_that_is_best_in_their_mean(plan: Plan) -> None:
    """Fold 0 by itself, of three images, would take its second epoch, which is the worse one for both together."""
    leave(plan, 0, [0.3, 2 / 3, 1.0], [[1, 0, 0], [1, 0, 1], [1, 1, 1]])
    leave(plan, 1, [0.3, 1.0, 0.0], [[0, 0], [1, 1], [0, 0]])
    trial = joined(plan, {})
    assert trial.status == "finished" and trial.kept is not None and trial.kept.epoch == 2
    assert trial.valid_accuracy == pytest.approx(4 / 5) and trial.seconds == 12 and trial.row()["folds"] == 2
    valid = trial.valid
    assert valid is not None and valid.path.tolist() == [f"train/{n}" for n in (0, 1, 3, 4, 5)]
    assert valid.correct.tolist() == [True, True, True, False, True] and valid.accuracy == pytest.approx(4 / 5)
    assert valid.by_fold == pytest.approx((2 / 3, 1.0))
    assert valid.group is not None and valid.group.tolist() == [0, 1, 0, 3, 4]


def test_a_variant_with_a_fold_that_failed_has_failed(plan: Plan) -> None:
    leave(plan, 0, [0.3, 0.6, 1.0], [[1, 1, 1]] * 3)
    plan.directory.write_failures([dict.fromkeys(FAILURES, "") | {"trial": f"{NAME}-fold1"}])
    trial = joined(plan, {f"{NAME}-fold1": "killed"})
    assert trial.status == "failed" and trial.error == "fold1: killed" and trial.valid is None
    assert trial.failures == 1 and trial.history == ()


def test_a_variant_whose_folds_have_not_all_ended_is_not_compared(plan: Plan) -> None:
    leave(plan, 0, [0.3, 0.6, 1.0], [[1, 1, 1]] * 3)
    leave(plan, 1, [0.3, 0.6], [[1, 1]] * 2)
    trial = joined(plan, {})
    assert trial.status == "stopped" and trial.epochs == 2 and trial.valid is None
