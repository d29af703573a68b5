"""Which trials are stopped before fine-tuning: recipes, each with all its seeds."""

from dataclasses import dataclass
from typing import Any

import pytest

from ray_birds.config import TuneConfig
from ray_birds.data.dataset import Dataset
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.plan import Plan, variants
from ray_birds.sweep.trials import _Halving, _scheduler

RECIPES = {"best": "best", "worse-seed0": "worse", "worse-seed1": "worse", "resumed": "resumed", "diverged": "bad"}


@dataclass(frozen=True)
class Trial:
    """All that is asked of one of Tune's trials."""

    trial_id: str

    def __str__(self) -> str:
        return self.trial_id


@pytest.fixture
def halving() -> _Halving:
    made = _Halving(2, RECIPES)
    made.set_search_properties("valid_accuracy", "max")
    controller: Any = None  # is asked for nothing
    for name in RECIPES:
        trial: Any = Trial(name)
        made.on_trial_add(controller, trial)
    return made


def decision(halving: _Halving, trial: str, epoch: int, accuracy: float, *, resumed: bool = False) -> str:
    result = {"epoch": epoch, "valid_accuracy": accuracy, "resumed": resumed, "failed": ""}
    return halving.on_trial_result(None, Trial(trial), result)


def test_it_is_decided_once_and_not_by_an_epoch_that_a_trial_has_resumed_from(halving: _Halving) -> None:
    assert decision(halving, "best", 2, 0.9) == decision(halving, "best", 4, 0.1) == halving.CONTINUE
    assert decision(halving, "worse-seed0", 1, 0.1) == halving.CONTINUE
    assert decision(halving, "resumed", 2, 0.2, resumed=True) == halving.CONTINUE
    assert decision(halving, "resumed", 3, 0.1) == halving.CONTINUE
    assert decision(halving, "worse-seed0", 2, 0.1) == halving.STOP


@pytest.mark.parametrize(("score", "verdict"), [(0.1, _Halving.STOP), (0.95, _Halving.CONTINUE)])
def test_the_seeds_of_a_recipe_live_and_die_together(halving: _Halving, score: float, verdict: str) -> None:
    """Whatever the second one scores."""
    decision(halving, "best", 2, 0.9)
    assert decision(halving, "worse-seed0", 2, score) == verdict
    assert {decision(halving, "worse-seed1", 2, other) for other in (0.0, 0.5, 1.0)} == {verdict}


def test_a_trial_without_numbers_decides_nothing(halving: _Halving) -> None:
    bad = {"epoch": 2, "valid_accuracy": float("nan"), "resumed": False, "failed": "not finite"}
    assert halving.on_trial_result(None, Trial("diverged"), bad) == halving.CONTINUE
    halving.on_trial_complete(None, Trial("diverged"), bad)
    assert decision(halving, "best", 2, 0.5) == halving.CONTINUE


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
    data, directory = Dataset("d", ("a", "b"), {}), SweepDirectory("d")
    plan = Plan(config, directory, "", data, {}, {}, variants(config), frozenset(), threads=1, gpus=0.0)
    made = _scheduler(plan)
    recipes = [f"plain-unfreeze0-lr{rate}" for rate in (0.01, 0.02)]
    assert isinstance(made, _Halving)
    assert made._recipes == {f"{recipe}-seed{seed}": recipe for recipe in recipes for seed in (0, 1)}
