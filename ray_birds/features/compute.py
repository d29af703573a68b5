"""Fills the feature store: one Ray Data job that runs the frozen layers once over every image and view."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import ray

from ray_birds.core import cluster, storage, terminal
from ray_birds.core.errors import NotFiniteError
from ray_birds.core.prefetch import prefetch
from ray_birds.data import augment, decode
from ray_birds.data.dataset import Dataset
from ray_birds.features import store
from ray_birds.features.store import Effort, Feature
from ray_birds.model import backbones, cut, device
from ray_birds.model.cut import PIXELS, CutPoint
from ray_birds.sweep.factors import Resize, View

if TYPE_CHECKING:
    import tensorflow as tf

BATCH = 32  # images per forward pass
_ACTOR_CPUS = 4  # TensorFlow gains little from more threads on batches of this size
_RETRIES = 20  # of an actor, and of a unit's computation: endless by themselves, also for want of memory
_DISK_SHARE = 0.95  # of the free space, the most that a store may fill


@dataclass(frozen=True)
class Unit:
    """One shard of one split with one backbone: rows `start` to `end`, and the features missing, by view."""

    backbone: str
    split: str
    resize: Resize
    shard: int
    start: int
    end: int
    views: dict[View | None, list[Feature]]

    @property
    def passes(self) -> int:
        """Images times views that go through the backbone."""
        return (self.end - self.start) * len(self.views)


@dataclass(frozen=True)
class Source:
    """Where features come from: the images, the weights and the size they are made with."""

    dataset: Dataset
    weights: str
    image_size: int
    augment_seed: int
    precision: str


def provide(
    uri: str,
    needed: dict[str, list[Feature]],
    source: Source,
    resources: cluster.Resources,
    *,
    verify: bool = False,
) -> frozenset[str]:
    """Fill the store at `uri` with what each trial needs, the least demanding first while the disk has room.

    `verify` compares all that is there with its digests, also what was found whole before. Returns the names of
    the trials that find all they need there. Raises as `materialise` does.
    """
    free = _DISK_SHARE * store.free_bytes(uri)
    chosen: dict[Feature, list[int]] = {}  # and the numbers of the shards that it misses
    stored, total = [], 0
    for name in sorted(needed, key=lambda name: sum(feature.size for feature in needed[name])):
        new = {
            feature: store.missing(uri, feature, verify=verify)
            for feature in needed[name]
            if feature not in chosen
        }
        wanted = sum(feature.bytes_of(shards) for feature, shards in new.items())
        if total + wanted > free:
            terminal.say(
                f"{name}: its features need {wanted / 1e9:.3g} GB, the disk has {(free - total) / 1e9:.3g} GB; "
                "runs from images"
            )
            continue
        total += wanted
        stored.append(name)
        chosen.update(new)
    size = sum(feature.size for feature in chosen)
    terminal.say(f"Feature store {uri}: {size / 1e9:.3f} GB, of which {total / 1e9:.3f} GB are to be computed")
    materialise(uri, chosen, source, resources)
    return frozenset(stored)


def materialise(uri: str, missing: dict[Feature, list[int]], source: Source, resources: cluster.Resources) -> None:
    """Make the missing shards of each feature in the store at `uri`.

    Raises OutputError when the disk is full, ModelError where weights cannot be had.
    """
    units = _units(missing)
    efforts = _efforts(units, _run(uri, units, source, resources)) if units else {}
    for feature in missing:
        store.finish(uri, feature, efforts.get(feature))


def _efforts(units: list[Unit], seconds: dict[int, tuple[float, bool]]) -> dict[Feature, Effort]:
    """What each feature takes, from the `seconds` of units and whether their worker had done such a one before.

    Its share of a unit is that of a view; shards that were there already are taken to have cost the same.
    """
    parts: dict[Feature, list[tuple[int, float, bool]]] = defaultdict(list)
    for number, (took, warm) in seconds.items():
        unit = units[number]
        for features in unit.views.values():
            for feature in features:
                parts[feature].append((unit.end - unit.start, took / len(unit.views), warm))
    return {feature: _effort(feature, some) for feature, some in parts.items()}


def _effort(feature: Feature, parts: list[tuple[int, float, bool]]) -> Effort:
    """From (rows, seconds, warm) of the shards made; the rate is that of warm ones, if there are any."""
    rows, spent = sum(part[0] for part in parts), sum(part[1] for part in parts)
    warm = [(count, took) for count, took, is_warm in parts if is_warm]
    rate = sum(count for count, _ in warm) / sum(took for _, took in warm) if warm else None
    return Effort(spent / rows * feature.rows, rate)


def _units(missing: dict[Feature, list[int]]) -> list[Unit]:
    """Missing shards grouped so that each image is decoded once and each view goes through once."""
    groups: dict[tuple[str, str, Resize, int], dict[View | None, list[Feature]]]
    groups = defaultdict(lambda: defaultdict(list))
    spans: dict[tuple[str, str, Resize, int], tuple[int, int]] = {}
    for feature, shards in missing.items():
        for shard in shards:
            key = (feature.backbone, feature.split, feature.resize, shard)
            groups[key][feature.view].append(feature)
            spans[key] = feature.span(shard)
    return [Unit(*key, *spans[key], dict(groups[key])) for key in sorted(groups)]


def _run(
    uri: str, units: list[Unit], source: Source, resources: cluster.Resources
) -> dict[int, tuple[float, bool]]:
    """Compute the units; returns, by their numbers, what FeatureWorker says of each."""
    seconds = {}
    threads = min(_ACTOR_CPUS, resources.node_cpus)
    actors = resources.gpus or max(1, resources.cpus // threads)
    jobs = ray.data.from_items([{"unit": number} for number in range(len(units))], override_num_blocks=len(units))
    done = jobs.map(
        cast(Callable[[dict[str, Any]], dict[str, Any]], FeatureWorker),
        fn_constructor_args=(
            uri,
            [ray.put((units, source))],
            threads,
        ),  # in a list: fetched by the actor itself
        compute=ray.data.ActorPoolStrategy(size=min(actors, len(units))),
        num_cpus=threads if not resources.gpus else 1,
        num_gpus=1 if resources.gpus else 0,
        max_restarts=_RETRIES,
        max_task_retries=_RETRIES,
    )
    needs = "a free GPU" if resources.gpus else f"a node with {threads} free CPU(s)"
    with (
        terminal.progress("Frozen layers", sum(unit.passes for unit in units), "images", needs=needs) as meter,
        cluster.user_errors(),
    ):
        for row in done.iter_rows():
            seconds[row["unit"]] = row["seconds"], row["warm"]
            meter.advance(units[row["unit"]].passes)
    return seconds


class FeatureWorker:
    """An actor of Ray Data's: computes the units whose numbers it is given.

    It says how many seconds each took, and whether it was `warm`: whether no function had to be compiled for it.
    """

    def __init__(self, uri: str, work: list["ray.ObjectRef[Any]"], threads: int) -> None:
        self._units, source = ray.get(work[0])
        self._materialiser = Materialiser(uri, source, threads)

    def __call__(self, row: dict[str, int]) -> dict[str, Any]:
        start, compiled = time.monotonic(), self._materialiser.compiled
        self._materialiser.compute(self._units[row["unit"]])
        warm = self._materialiser.compiled == compiled
        return row | {"seconds": time.monotonic() - start, "warm": warm}


class Materialiser:
    """Computes units; the last backbone stays loaded, and one function per set of cut points compiled."""

    def __init__(self, uri: str, source: Source, threads: int) -> None:
        self._uri = uri
        self._source = source
        self._threads = threads
        self._loaded = ""
        self.compiled = 0  # functions so far
        self._functions: dict[tuple[CutPoint, ...], Callable[[np.ndarray], dict[str, tf.Tensor]]] = {}

    def compute(self, unit: Unit) -> None:
        """Write a unit's shards. Raises DataError where an image has gone, OutputError where the disk is full."""
        if storage.is_local(self._uri) and not storage.local(self._uri).is_dir():
            raise cluster.unseen(self._uri)
        pixels = self._decode(unit)
        # The next view is drawn while this one goes through the backbone.
        views = prefetch(lambda view: self._draw(unit, pixels, view), unit.views, threads=1, window=2)
        for features, view in zip(unit.views.values(), views, strict=True):
            self._store(unit, features, view)

    def _decode(self, unit: Unit) -> np.ndarray:
        """(n, size, size, 3) uint8 of the unit's rows."""
        dataset, size = self._source.dataset, self._source.image_size
        paths = dataset.splits[unit.split].paths[unit.start : unit.end]
        images = prefetch(
            lambda path: decode.load_known(dataset.uri(path), size, unit.resize), paths, self._threads
        )
        return np.fromiter(images, np.dtype((np.uint8, (size, size, 3))), len(paths))

    def _draw(self, unit: Unit, pixels: np.ndarray, view: View | None) -> np.ndarray:
        if view is None:
            return pixels
        numbers = self._source.dataset.splits[unit.split].numbers[unit.start : unit.end]
        seed = self._source.augment_seed
        policy = augment.POLICIES[view.policy]
        pairs = zip(pixels, numbers, strict=True)
        return np.stack([augment.view(image, seed, int(n), view.number, policy) for image, n in pairs])

    def _store(self, unit: Unit, features: list[Feature], pixels: np.ndarray) -> None:
        computed = [feature for feature in features if feature.cut_point != PIXELS]
        values = {PIXELS: pixels} | self._forward(unit.backbone, computed, pixels)
        for feature in features:
            store.write_shard(self._uri, feature, unit.shard, values[feature.cut_point])

    def _forward(self, name: str, features: list[Feature], pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Cut point -> (n, *shape) in the dtype that it is stored in; raises NotFiniteError."""
        if not features:
            return {}
        function = self._function(name, features)
        batches = [function(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        return {
            feature.cut_point: _stored(feature, [batch[feature.cut_point] for batch in batches])
            for feature in features
        }

    def _function(self, name: str, features: list[Feature]) -> Callable[[np.ndarray], "dict[str, tf.Tensor]"]:
        import tensorflow as tf

        device.use_threads(self._threads)
        if self._loaded != name:
            device.use_precision(self._source.precision)
            self._model = backbones.build(name, self._source.weights, self._source.image_size)
            self._loaded, self._functions = name, {}
        cut_points = tuple(CutPoint(feature.cut_point, feature.shape) for feature in features)
        if cut_points not in self._functions:
            self.compiled += 1
            model = cut.prefix(self._model, list(cut_points))
            signature = [tf.TensorSpec((None, *self._model.input.shape[1:]), tf.uint8)]
            self._functions[cut_points] = tf.function(
                lambda pixels: {
                    cut_point: tf.cast(value, tf.float32)
                    for cut_point, value in model(tf.cast(pixels, tf.float32), training=False).items()
                },
                input_signature=signature,
            )
        return self._functions[cut_points]


def _stored(feature: Feature, batches: "list[tf.Tensor]") -> np.ndarray:
    """(n, *shape) in the dtype it is stored in; raises NotFiniteError."""
    with np.errstate(over="ignore"):
        values = np.concatenate([batch.numpy() for batch in batches]).astype(feature.dtype)
    if not np.isfinite(values).all():
        raise NotFiniteError(
            f"features of {feature.backbone} at {feature.cut_point} are not finite in {feature.dtype}; give "
            "--feature-dtype float32, and --precision float32"
        )
    return values
