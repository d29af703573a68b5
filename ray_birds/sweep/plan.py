"""What a sweep will do: the variants that its settings ask for, and all that its trials are told."""

import itertools
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

from ray_birds.config import ARTICLE, Depth, TuneConfig, Variant
from ray_birds.data.dataset import Dataset
from ray_birds.features.store import Feature, FeatureSpec
from ray_birds.model.backbones import Description
from ray_birds.sweep.results import Results


@dataclass(frozen=True)
class Plan:
    """All that the trials of a sweep are told, resolved on the driver; places are absolute."""

    config: TuneConfig
    results: Results
    store: str
    data: Dataset
    backbones: dict[str, Description]
    feature_specs: dict[str, FeatureSpec]  # both by backbone
    variants: dict[str, Variant]  # by trial name
    stored: frozenset[str]  # names of the trials that read the store; the others read images
    threads: int
    gpus: float

    @property
    def scored(self) -> list[str]:
        """Splits that every trial scores."""
        return ["valid", "test"] if self.config.score_all and "test" in self.data.splits else ["valid"]

    def needed(self, name: str) -> list[Feature]:
        """The stored features that a trial reads."""
        variant = self.variants[name]
        about = self.backbones[variant.backbone]
        feature_spec = self.feature_specs[variant.backbone]
        return feature_spec.needed(variant, about.pooled, about.cut_points[variant.unfreeze], self.scored)


def variants(config: TuneConfig) -> dict[str, Variant]:
    """The variants that the settings ask for, by trial name; those that share a compiled step side by side."""
    pairs: Iterable[tuple[str, Depth]] = (
        ARTICLE if config.preset == "article" else itertools.product(config.augment, config.unfreeze)
    )
    if config.samples:
        points = _samples(config)
    else:
        points = [
            (name, depth, augment, rate)
            for name, (augment, depth), rate in itertools.product(config.backbone, pairs, config.learning_rate)
        ]
    points.sort(key=lambda point: (config.backbone.index(point[0]), math.inf if point[1] == "all" else point[1]))
    made = [
        Variant(
            backbone=name,
            augment=augment == "on",
            unfreeze=depth,
            learning_rate=rate,
            seed=seed,
            image_size=config.image_size,
            batch_size=config.batch_size,
            head_epochs=config.head_epochs,
            fine_tune_epochs=config.fine_tune_epochs,
            fine_tune_factor=config.fine_tune_factor,
            augment_seed=config.seed[0],
            augment_views=config.augment_views,
            precision=config.precision,
        )
        for name, depth, augment, rate in points
        for seed in config.seed
    ]
    several = {"with_backbone": len(config.backbone) > 1, "with_seed": len(config.seed) > 1}
    return {variant.name(**several): variant for variant in made}


def _samples(config: TuneConfig) -> list[tuple[str, Depth, str, float]]:
    """--samples points of the grid's ranges; learning rates log-uniform between the smallest and the largest."""
    draw = random.Random(config.seed[0])
    low, high = math.log(min(config.learning_rate)), math.log(max(config.learning_rate))
    return [
        (
            draw.choice(config.backbone),
            draw.choice(config.unfreeze),
            draw.choice(config.augment),
            float(f"{math.exp(draw.uniform(low, high)):.3g}"),
        )
        for _ in range(config.samples)
    ]
