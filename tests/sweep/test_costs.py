"""What a trial costs beside its training: its passes over frozen layers, each once, and its model."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ray_birds.config import TuneConfig
from ray_birds.data.dataset import Dataset, Split
from ray_birds.evaluation.cost import Cost
from ray_birds.features import compute, store
from ray_birds.features.compute import Pass
from ray_birds.features.steps import Unit
from ray_birds.features.store import Effort, FeatureSpec
from ray_birds.model.backbones import Description
from ray_birds.model.cut import POOLED, CutPoint
from ray_birds.sweep.costs import costs
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.factors import Variant, View
from ray_birds.sweep.plan import Plan

VIEW = View("light", 0)
POOL, DEEP = CutPoint(POOLED, (5,)), CutPoint("block6d_add", (2, 2, 3))
SPEC = FeatureSpec(
    "EfficientNetB0", "w", 224, "float16", 0, {"train": "t", "valid": "v"}, {"train": 70, "valid": 5}
)
ABOUT = Description("EfficientNetB0", 238, 4_000_000, 385_000_000, POOL, {0: POOL, 10: DEEP}, {}, {})
HEAD = Variant(augment="off", unfreeze=0)
VARIANTS = {
    "head": HEAD,
    "deep": dataclasses.replace(HEAD, unfreeze=10),
    "views": dataclasses.replace(HEAD, augment="on", augment_views=2),
    "images": HEAD,
}
SECONDS: dict[tuple[str, str, View | None], float] = {
    ("train", POOLED, None): 30.0,
    ("train", DEEP.name, None): 24.0,
    ("train", POOLED, VIEW): 33.0,
}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    stored = frozenset(VARIANTS) - {"images"}
    data = Dataset("birds", ("a", "b"), {})
    made = Plan(
        *(TuneConfig(), SweepDirectory("results"), str(tmp_path), data, {ABOUT.name: ABOUT}, {ABOUT.name: SPEC}),
        *(VARIANTS, stored, 1, 1, 0.0),
    )
    for feature in {one: None for name in stored for one in made.needed(name)}:
        for shard in range(feature.shards):
            start, end = feature.span(shard)
            store.write_shard(str(tmp_path), feature, shard, np.zeros((end - start, *feature.shape)))
        seconds = SECONDS.get((feature.split, feature.cut_point, feature.view), 2.0)
        store.finish(str(tmp_path), feature, Effort(seconds, 40.0 if feature.split == "train" else None))
        store.finish(str(tmp_path), feature)  # of a later sweep, which finds it whole: what it took stays
    return made


def test_a_pass_makes_all_cut_points_of_a_view_and_counts_once(plan: Plan) -> None:
    found = costs(plan)
    seconds = {name: cost.feature_seconds for name, cost in found.items()}
    assert seconds == {"head": 30.0 + 2.0, "deep": 30.0 + 2.0, "views": 30.0 + 33.0 + 2.0 + 2.0, "images": 0.0}
    model = {dataclasses.replace(cost, feature_seconds=0) for cost in found.values()}
    assert model == {Cost(0, 0, 4_000_000 + 5 * 2 + 2, 385_000_000 + 5 * 2, 40.0)}


def test_a_pass_whose_time_nobody_took_is_not_known(plan: Plan) -> None:
    feature = next(one for one in plan.needed("deep") if one.cut_point == DEEP.name)
    store.finish(plan.store, feature, Effort())
    assert costs(plan)["deep"].feature_seconds is None and costs(plan)["views"].feature_seconds is not None


def test_seconds_are_shared_by_views_and_stand_for_the_shards_that_were_there() -> None:
    plain, view = (SPEC.feature("train", POOL, view) for view in (None, VIEW))
    images = Split("train", ("a.jpg",) * 70, np.zeros(70, np.int32), np.arange(70))
    units = [
        Unit(ABOUT.name, "stretch", 0, images.part(0, 64), {None: [plain], VIEW: [view]}),
        Unit(ABOUT.name, "stretch", 1, images.part(64, 70), {None: [plain]}),
    ]
    found = compute._efforts([Pass(units[0], [None, VIEW], 40.0, False), Pass(units[1], [None], 0.5, True)])
    assert found[plain] == Effort(20.5, 12.0)  # 6 rows in half a second, once all was compiled
    assert found[view] == Effort(20.0 / 64 * 70, None)
