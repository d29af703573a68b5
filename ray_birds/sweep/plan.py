"""What a sweep will do: the variants that its settings ask for, and all that its trials are told."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ray_birds.config import ARTICLE, TuneConfig
from ray_birds.core.errors import SettingsError
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import Folds
from ray_birds.features.store import Feature, FeatureSpec
from ray_birds.model.backbones import Description
from ray_birds.sweep import factors
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.factors import FOLD, Variant

Point = dict[str, Any]  # a value of each factor, by name
_SHARED = (  # settings that all variants of a sweep have alike, unless a preset says otherwise
    *("image_size", "batch_size", "head_epochs", "fine_tune_factor", "warmup_epochs"),
    *("keep", "select_by", "patience", "augment_views", "precision"),
)
_DRAWS = 1000  # for each sample, before no other one is expected


@dataclass(frozen=True)
class Plan:
    """All that the trials of a sweep are told, resolved on the driver; URIs and paths are absolute."""

    config: TuneConfig
    directory: SweepDirectory
    store: str
    data: Dataset
    backbones: dict[str, Description]
    feature_specs: dict[str, FeatureSpec]  # both by backbone; of stretched images
    variants: dict[str, Variant]  # by trial name
    stored: frozenset[str]  # names of the trials that read the store; the others read images
    threads: int
    alone: int  # threads of what runs by itself, once the trials have ended
    gpus: float
    workers: int = 1  # of a trial; threads and GPUs are those of each
    gangs: int | None = None  # trials of several workers that run at a time; None: as many as there is room for
    folds: Folds | None = None

    @property
    def trials(self) -> int:
        """How many of the variants are tried: all of them, unless a search chooses among them."""
        return self.config.samples if self.config.search == "optuna" else len(self.variants)

    def name(self, point: Point) -> str:
        """The trial at this point."""
        return self._names[tuple(sorted(point.items()))]

    @cached_property
    def points(self) -> dict[str, Point]:
        """By trial what tells it from the others: the values of its factors, and the fold that it holds out."""
        by_fold = any(variant.fold is not None for variant in self.variants.values())
        return {
            name: variant.values | ({"fold": variant.fold} if by_fold else {})
            for name, variant in self.variants.items()
        }

    @cached_property
    def _names(self) -> dict[tuple[tuple[str, Any], ...], str]:
        return {tuple(sorted(point.items())): name for name, point in self.points.items()}

    @property
    def scored(self) -> list[str]:
        """Splits that every trial scores images of: with folds those that it holds out of train."""
        if self.folds:
            return ["train"]
        return ["valid", "test"] if self.config.score_all and "test" in self.data.splits else ["valid"]

    @property
    def told(self) -> "Plan":
        """What trials are told: where all read stored features, no paths but those of images that they score."""
        if self.stored != self.variants.keys():
            return self
        named = set(self.scored) - {"train"}
        splits = {
            name: split if name in named else replace(split, paths=(), numbers=split.numbers[:0])
            for name, split in self.data.splits.items()
        }
        return replace(self, data=replace(self.data, splits=splits))

    def feature_spec(self, variant: Variant) -> FeatureSpec:
        """The features that can be made for a variant."""
        return replace(self.feature_specs[variant.backbone], resize=variant.resize)

    def needed(self, name: str) -> list[Feature]:
        """The stored features that a trial reads."""
        variant = self.variants[name]
        about = self.backbones[variant.backbone]
        return self.feature_spec(variant).needed(
            variant, about.pooled, about.cut_points[variant.unfreeze], self.scored
        )


def variants(config: TuneConfig) -> dict[str, Variant]:
    """The variants that the settings ask for, by trial name; those that share a compiled step side by side.

    Of these --search optuna tries some. Raises SettingsError where two have the same name, or fewer are left than
    --samples.
    """
    points = _side_by_side(config, _samples(config) if config.search == "random" else _points(config))
    if config.search == "optuna" and len(points) < config.samples:
        raise SettingsError(
            f"--samples {config.samples}: only {len(points)} different variants; give fewer samples"
        )
    seed = config.grid["seed"][0]
    shared = {name: getattr(config, name) for name in _SHARED}
    shared |= {"augment_seed": seed, "fine_tune_epochs": config.tuning_epochs}
    made = [config.variant(**shared | point) for point in points]
    varied = factors.varied(made)
    named = {variant.name(varied): variant for variant in made}
    if len(named) < len(made):
        twice = next(name for name, count in Counter(one.name(varied) for one in made).items() if count > 1)
        raise SettingsError(f"two variants of this sweep are called {twice}; give values that differ more")
    return named


def by_fold(named: dict[str, Variant], folds: int) -> dict[str, Variant]:
    """The trials of these variants: each with every fold held out in turn, or as they are where there are none."""
    return {
        f"{name}-{FOLD}{fold}": replace(variant, fold=fold)
        for name, variant in named.items()
        for fold in range(folds)
    } or named


def _points(config: TuneConfig) -> list[Point]:
    """Every combination of the factors' values that differs in one that counts; of the article's only its four."""
    fixed = ARTICLE if config.preset == "article" else ({},)
    points = [
        settled(config, dict(zip(free, values, strict=True)) | pair)
        for pair in fixed
        for free in [[name for name in config.grid if name not in pair]]
        for values in itertools.product(*(config.grid[name] for name in free))
    ]
    return list({tuple(point.values()): point for point in points}.values())


def settled(config: TuneConfig, point: Point) -> Point:
    """The point with the first value of each factor that changes nothing there: no trial is run twice."""
    idle = (name for name in config.variant(**point).idle if len(config.grid[name]) > 1)
    return point | {name: config.grid[name][0] for name in idle}


def _samples(config: TuneConfig) -> list[Point]:
    """--samples different points of the grid's ranges, each with every seed.

    Raises SettingsError where there are not as many.
    """
    grid, known = config.grid, factors.factors(config.variant)
    seeds = grid.pop("seed")
    draw = random.Random(seeds[0])
    # A value that is given alone takes no draw: the samples of a seed stay when another factor is declared.
    varied = {name: (known[name].drawn, values) for name, values in grid.items() if len(values) > 1}
    alone = {name: values[0] for name, values in grid.items()}
    tried: set[tuple[Any, ...]] = set()
    drawn: dict[tuple[Any, ...], Point] = {}
    for _ in range(_DRAWS * config.samples):
        chosen = tuple(_draw(draw, how, values) for how, values in varied.values())
        if chosen in tried:
            continue
        tried.add(chosen)
        point = settled(config, alone | dict(zip(varied, chosen, strict=True)))
        drawn.setdefault(tuple(point.values()), point)
        if len(drawn) == config.samples:
            return [point | {"seed": seed} for point in drawn.values() for seed in seeds]
    raise SettingsError(
        f"--samples {config.samples}: only {len(drawn)} different variants can be drawn from these values; "
        "give fewer samples, or two learning rates to draw between"
    )


def _draw(draw: random.Random, how: str, values: Sequence[Any]) -> Any:
    """A value of a factor: one of those given or, of a range, a number of three digits."""
    if how == "choice":
        return draw.choice(values)
    low, high = math.log(min(values)), math.log(max(values))
    return float(f"{math.exp(draw.uniform(low, high)):.3g}")


def _side_by_side(config: TuneConfig, points: list[Point]) -> list[Point]:
    """In an order in which a process that trains one after another compiles a step as seldom as can be."""
    known = factors.factors(config.variant).items()
    shaping = [name for name, about in known if about.phase in ("head", "fine-tune")]

    def step(point: Point) -> tuple[Any, ...]:
        return tuple(point[name] for name in shaping)

    number = {one: count for count, one in enumerate(dict.fromkeys(map(step, points)))}
    backbones = config.grid["backbone"]
    return sorted(
        points,
        key=lambda point: (
            backbones.index(point["backbone"]),
            factors.layers(point["unfreeze"]),
            number[step(point)],
        ),
    )
