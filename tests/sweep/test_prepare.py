"""How many threads a trial gets: as few as let the longest ones run at once, where memory has room for them."""

import pytest

from ray_birds.config import TuneConfig
from ray_birds.core.cluster import Resources
from ray_birds.model.backbones import Description
from ray_birds.model.cut import POOLED, CutPoint
from ray_birds.sweep import prepare
from ray_birds.sweep.factors import Depth
from ray_birds.sweep.plan import by_fold, variants

POOL = CutPoint(POOLED, (1280,))
ACTIVATIONS: dict[Depth, int] = {0: 0, 10: 1_000_000, 100: 5_000_000, "all": 87_000_000}
ABOUT = Description("EfficientNetB0", 238, 4_000_000, 385_000_000, POOL, {}, {}, ACTIVATIONS)
GB = 1_000_000_000


@pytest.mark.parametrize(
    ("cpus", "depths", "rates", "folds", "threads"),
    [
        (2, (0, 10, 100), 2, 0, 1),
        (2, (0, 10, 100), 1, 0, 2),  # only one takes long: it gets both
        (2, (0, 10, "all"), 1, 5, 1),
        (16, (0, 100), 2, 0, 4),
        (16, (0, 100), 6, 0, 2),
        (16, (0,), 20, 0, 1),
        (1, (100,), 1, 0, 1),
    ],
)
def test_trials_share_the_cpus(cpus: int, depths: tuple[Depth, ...], rates: int, folds: int, threads: int) -> None:
    assert chosen(cpus, depths, rates, folds=folds, memory=400 * GB) == threads


@pytest.mark.parametrize(
    ("memory", "threads"),
    [
        (64 * GB, 1),  # of 24 trials of 2.4 GB 16 run at a time
        (37 * GB, 2),
        (12 * GB, 4),
        (GB, 4),  # no more than what one that runs alone has
        (0, 4),  # Ray was told nothing of memory
    ],
)
def test_as_far_as_memory_goes(memory: int, threads: int) -> None:
    assert chosen(16, (0, 100), 24, memory=memory) == threads


def chosen(cpus: int, depths: tuple[Depth, ...], rates: int, *, memory: int, folds: int = 0) -> int:
    config = TuneConfig(
        data="birds",
        augment=("off",),
        unfreeze=depths,
        head=("adam",),
        learning_rate=tuple(1e-3 * (number + 1) for number in range(rates)),
    )
    tried = by_fold(variants(config), folds)
    return prepare._threads(tried, {ABOUT.name: ABOUT}, Resources(1, cpus, 0, cpus, memory, True), min(cpus, 4))
