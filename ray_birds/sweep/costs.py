"""What the trials of a sweep cost beside their own training: their share of the shared pass, and their model."""

from collections import defaultdict

from ray_birds.evaluation.cost import Cost
from ray_birds.features import store
from ray_birds.features.store import Effort, Feature
from ray_birds.sweep.plan import Plan

Efforts = dict[Feature, Effort]


def costs(plan: Plan) -> dict[str, Cost]:
    """By trial: the pass over frozen layers as if it alone read the features, parameters, multiply-adds, speed."""
    efforts = {
        feature: store.found_effort(plan.store, feature) for name in plan.stored for feature in plan.needed(name)
    }
    return {name: _cost(plan, name, efforts) for name in plan.variants}


def _cost(plan: Plan, name: str, efforts: Efforts) -> Cost:
    about = plan.backbones[plan.variants[name].backbone]
    kernel = about.pooled.shape[0] * len(plan.data.classes)  # of the head
    features = plan.needed(name) if name in plan.stored else []
    rates = [effort.images_per_second for feature, effort in efforts.items() if feature.backbone == about.name]
    return Cost(
        feature_seconds=_seconds({feature: efforts[feature] for feature in features}),
        parameters=about.parameters + kernel + len(plan.data.classes),
        multiply_adds=about.multiply_adds + kernel,
        images_per_second=max((rate for rate in rates if rate), default=None),
    )


def _seconds(efforts: Efforts) -> float | None:
    """Seconds of the passes that made these features; None where one is not known.

    One pass makes what is stored of a view at all cut points.
    """
    passes: dict[tuple[str, object], float] = defaultdict(float)
    for feature, effort in efforts.items():
        if effort.seconds is None:
            return None
        key = feature.split, feature.view
        passes[key] = max(passes[key], effort.seconds)
    return sum(passes.values(), 0.0)
