"""Which trials ASHA stops in fine-tuning: recipes, each with all its seeds; and what trials are told."""

import dataclasses
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from ray_birds.config import TuneConfig
from ray_birds.data.dataset import Dataset, Split
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.plan import Plan, variants
from ray_birds.sweep.trials import _Halving, _rungs, _scheduler

RECIPES = {"best": "best", "worse-seed0": "worse", "worse-seed1": "worse", "resumed": "resumed", "diverged": "bad"}


@dataclass(frozen=True)
class Trial:
    """All that is asked of one of Tune's trials."""

    trial_id: str

    def __str__(self) -> str:
        return self.trial_id


def planned(config: TuneConfig, images: int = 0) -> Plan:
    names = {
        name: tuple(f"{name}/{number:08d}.jpg" for number in range(images)) for name in ("train", "valid", "test")
    }
    numbers = np.arange(images)
    splits = {name: Split(name, paths, numbers.astype(np.int32), numbers) for name, paths in names.items()}
    data, directory = Dataset("d", ("a", "b"), splits), SweepDirectory("d")
    return Plan(config, directory, "", data, {}, {}, variants(config), frozenset(), threads=1, alone=1, gpus=0.0)


@pytest.fixture
def halving() -> _Halving:
    made = _Halving((2, 4), RECIPES)
    made.set_search_properties("valid_accuracy", "max")
    controller: Any = None  # is asked for nothing
    for name in RECIPES:
        trial: Any = Trial(name)
        made.on_trial_add(controller, trial)
    return made


def decision(halving: _Halving, trial: str, fine_tuned: int, accuracy: float, *, resumed: bool = False) -> str:
    result = {"fine_tuned": fine_tuned, "valid_accuracy": accuracy, "resumed": resumed, "failed": ""}
    return halving.on_trial_result(None, Trial(trial), result)


def test_it_is_decided_at_each_rung_and_in_no_other_epoch(halving: _Halving) -> None:
    for epoch in range(9):
        assert decision(halving, "best", epoch, 0.9) == halving.CONTINUE  # the first to get anywhere
    assert decision(halving, "worse-seed0", 0, 0.1) == decision(halving, "worse-seed0", 1, 0.1) == halving.CONTINUE
    assert decision(halving, "worse-seed0", 2, 0.95) == halving.CONTINUE
    assert decision(halving, "worse-seed0", 3, 0.1) == halving.CONTINUE
    assert decision(halving, "worse-seed0", 4, 0.1) == halving.STOP


def test_no_trial_is_stopped_by_an_epoch_that_it_has_resumed_from(halving: _Halving) -> None:
    decision(halving, "best", 2, 0.9)
    decision(halving, "best", 4, 0.9)
    assert decision(halving, "resumed", 2, 0.2, resumed=True) == halving.CONTINUE
    assert decision(halving, "resumed", 3, 0.1) == halving.CONTINUE
    assert decision(halving, "resumed", 4, 0.1) == halving.STOP


def test_trials_that_do_not_fine_tune_are_neither_stopped_nor_compared(halving: _Halving) -> None:
    for epoch in range(1, 6):  # of the head
        assert decision(halving, "best", 0, 0.99, resumed=epoch < 3) == halving.CONTINUE
    assert decision(halving, "worse-seed0", 2, 0.1) == halving.CONTINUE  # the first to get to a rung
    assert decision(halving, "resumed", 2, 0.0) == halving.STOP


@pytest.mark.parametrize(("score", "verdict"), [(0.1, _Halving.STOP), (0.95, _Halving.CONTINUE)])
def test_the_seeds_of_a_recipe_live_and_die_together(halving: _Halving, score: float, verdict: str) -> None:
    """Whatever the second one scores."""
    decision(halving, "best", 2, 0.9)
    assert decision(halving, "worse-seed0", 2, score) == verdict
    assert {decision(halving, "worse-seed1", 2, other) for other in (0.0, 0.5, 1.0)} == {verdict}


def test_a_seed_of_a_recipe_that_was_stopped_ends_with_its_first_epoch_of_fine_tuning(halving: _Halving) -> None:
    decision(halving, "best", 2, 0.9)
    decision(halving, "worse-seed0", 2, 0.1)
    assert decision(halving, "worse-seed1", 0, 0.1) == halving.CONTINUE
    assert decision(halving, "worse-seed1", 1, 0.1) == halving.STOP


def test_a_trial_without_numbers_decides_nothing(halving: _Halving) -> None:
    bad = {"fine_tuned": 2, "valid_accuracy": float("nan"), "resumed": False, "failed": "not finite"}
    assert halving.on_trial_result(None, Trial("diverged"), bad) == halving.CONTINUE
    halving.on_trial_complete(None, Trial("diverged"), bad)
    halving.on_trial_remove(None, Trial("resumed"))
    assert decision(halving, "best", 2, 0.5) == halving.CONTINUE


@pytest.mark.parametrize(
    ("epochs", "warmup", "rungs"),
    [(1, 0.5, ()), (2, 0.5, (1,)), (5, 0.5, (1, 2, 4)), (8, 0.5, (2, 4)), (8, 2.5, (3, 6)), (40, 0.5, (10, 20))],
)
def test_rungs_are_epochs_of_fine_tuning(epochs: int, warmup: float, rungs: tuple[int, ...]) -> None:
    config = TuneConfig(scheduler="asha", fine_tune_epochs=epochs, warmup_epochs=warmup)
    assert _rungs(config) == rungs
    made = _scheduler(planned(config))
    assert isinstance(made, _Halving) == bool(rungs)


def test_a_recipe_is_a_variant_without_its_seed() -> None:
    config = TuneConfig(
        data="d",
        scheduler="asha",
        head=("adam",),
        augment=("off",),
        unfreeze=(0,),
        learning_rate=(0.01, 0.02),
        seed=(0, 1),
    )
    made = _scheduler(planned(config))
    recipes = [f"plain-unfreeze0-lr{rate}" for rate in (0.01, 0.02)]
    assert isinstance(made, _Halving)
    assert made._recipes == {f"{recipe}-seed{seed}": recipe for recipe in recipes for seed in (0, 1)}


@pytest.mark.parametrize(("score_all", "scored"), [(False, {"valid"}), (True, {"valid", "test"})])
def test_trials_are_told_of_the_paths_that_they_write_alone(score_all: bool, scored: set[str]) -> None:
    plan = planned(TuneConfig(score_all=score_all), images=1000)
    assert plan.told is plan  # its trials read images
    plan = dataclasses.replace(plan, stored=frozenset(plan.variants))
    for name, split in plan.told.data.splits.items():
        given = plan.data.splits[name]
        assert split.paths == (given.paths if name in scored else ()) and len(split) == len(given)
        np.testing.assert_array_equal(split.labels, given.labels)
    assert len(pickle.dumps(plan.told.data.splits["train"], protocol=5)) < 4.5 * 1000
