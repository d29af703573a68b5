"""Fills the feature store: one Ray Data job that runs the frozen layers once over every image and view.

Where CPUs run the layers, the process that holds them also decodes: there is nothing to hide. A GPU takes images
faster than a few threads decode them, so pools of their own feed it.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import ray
import ray.data

from ray_birds.core import cluster, storage, terminal
from ray_birds.core.prefetch import REQUESTS
from ray_birds.data.dataset import Split
from ray_birds.features import steps, store
from ray_birds.features.steps import Source, Unit
from ray_birds.features.store import Effort, Feature
from ray_birds.sweep.factors import Resize, View

_ACTOR_CPUS = 4  # TensorFlow gains little from more threads on batches of this size
_RETRIES = 20  # of an actor, and of a unit's computation: endless by themselves, also for want of memory
_DISK_SHARE = 0.95  # of the free space, the most that a store may fill

Map = Callable[[dict[str, Any]], dict[str, Any]]
FlatMap = Callable[[dict[str, Any]], list[dict[str, Any]]]


class Work(NamedTuple):
    """What workers are given. Each fetches a unit to compute it, and so holds the paths of its images alone."""

    uri: str
    source: Source
    units: list["ray.ObjectRef[Unit]"]


class Pass(NamedTuple):
    """A unit in some of its views, made: the seconds it took, and whether no function was compiled for it."""

    unit: Unit
    views: list[View | None]
    seconds: float
    warm: bool


def provide(
    uri: str,
    needed: dict[str, list[Feature]],
    images: Mapping[str, Split],
    source: Source,
    resources: cluster.Resources,
    *,
    verify: bool = False,
) -> frozenset[str]:
    """Fill the store at `uri` with what each trial needs of the `images`, by split, while the disk has room.

    The least demanding trials come first. `verify` compares all that is there with its digests, also what was
    found whole before. Returns the names of the trials that find all they need there. Raises as `materialise`
    does.
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
    materialise(uri, chosen, images, source, resources)
    return frozenset(stored)


def materialise(
    uri: str,
    missing: dict[Feature, list[int]],
    images: Mapping[str, Split],
    source: Source,
    resources: cluster.Resources,
) -> None:
    """Make the missing shards of each feature of the `images`, by split, in the store at `uri`.

    Raises OutputError when the disk is full, ModelError where weights cannot be had.
    """
    units = _units(missing, images)
    efforts = _efforts(_run(uri, units, source, resources)) if units else {}
    for feature in missing:
        store.finish(uri, feature, efforts.get(feature))


def _efforts(passes: list[Pass]) -> dict[Feature, Effort]:
    """What each feature takes: its share of a pass is that of a view.

    Shards that were there already are taken to have cost the same.
    """
    parts: dict[Feature, list[tuple[int, float, bool]]] = defaultdict(list)
    for unit, views, seconds, warm in passes:
        for feature in (feature for view in views for feature in unit.views[view]):
            parts[feature].append((len(unit.images), seconds / len(views), warm))
    return {feature: _effort(feature, some) for feature, some in parts.items()}


def _effort(feature: Feature, parts: list[tuple[int, float, bool]]) -> Effort:
    """From (rows, seconds, warm) of the shards made; the rate is that of warm ones, if there are any."""
    rows, spent = sum(part[0] for part in parts), sum(part[1] for part in parts)
    warm = [(count, took) for count, took, is_warm in parts if is_warm]
    rate = sum(count for count, _ in warm) / sum(took for _, took in warm) if warm else None
    return Effort(spent / rows * feature.rows, rate)


def _units(missing: dict[Feature, list[int]], images: Mapping[str, Split]) -> list[Unit]:
    """Missing shards grouped so that each image is decoded once and each view goes through once."""
    units: dict[tuple[str, str, Resize, int], Unit] = {}
    for feature, shards in missing.items():
        for shard in shards:
            key = feature.backbone, feature.split, feature.resize, shard
            if key not in units:
                part = images[feature.split].part(*feature.span(shard))
                units[key] = Unit(feature.backbone, feature.resize, shard, part, {})
            units[key].views.setdefault(feature.view, []).append(feature)
    return [units[key] for key in sorted(units)]


def _run(uri: str, units: list[Unit], source: Source, resources: cluster.Resources) -> list[Pass]:
    """Compute the units."""
    passes = []
    threads = min(_ACTOR_CPUS, resources.node_cpus)
    jobs = ray.data.from_items([{"unit": number} for number in range(len(units))], override_num_blocks=len(units))
    work = Work(uri, source, [ray.put(unit) for unit in units])
    run = _fed if resources.gpus else _fused
    done = run(jobs, work, units, resources, threads)
    needs = "a free GPU" if resources.gpus else f"a node with {threads} free CPU(s)"
    with (
        terminal.progress("Frozen layers", sum(unit.passes for unit in units), "images", needs=needs) as meter,
        cluster.user_errors(),
    ):
        for row in done.iter_rows():
            unit = units[row["unit"]]
            views = [list(unit.views)[number] for number in row["views"]]
            passes.append(Pass(unit, views, row["seconds"], row["warm"]))
            meter.advance(len(views) * len(unit.images))
    return passes


def _fused(
    jobs: ray.data.Dataset, work: Work, units: list[Unit], resources: cluster.Resources, threads: int
) -> ray.data.Dataset:
    """All steps of a unit in one process, whose threads decode for it."""
    actors = min(max(1, resources.cpus // threads), len(units))
    return jobs.map(
        cast(Map, FeatureWorker),
        fn_constructor_args=(work, threads),
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=threads,
        max_restarts=_RETRIES,
        max_task_retries=_RETRIES,
    )


def _fed(
    jobs: ray.data.Dataset, work: Work, units: list[Unit], resources: cluster.Resources, threads: int
) -> ray.data.Dataset:
    """Decoders on all CPUs make the views, one after the other, for the processes that hold a GPU each.

    Two calls at a time of each of these: one writes while the layers work for the other.
    """
    pools = resources.feeding(len(units), sum(len(unit.views) for unit in units), calls=2)
    retries: dict[str, Any] = {"max_restarts": _RETRIES, "max_task_retries": _RETRIES}
    done = jobs.flat_map(
        cast(FlatMap, ViewDecoder),
        fn_constructor_args=(work,),
        compute=pools.feeders,
        num_cpus=cluster.SIDE_CPUS,
        **retries,
    ).map(
        cast(Map, FedFeatureWorker),
        fn_constructor_args=(work, threads),
        compute=pools.fed,
        num_cpus=cluster.FED_CPUS,
        num_gpus=1,
        **retries,
    )
    done.context.target_max_block_size = 1  # a view is passed on once it is drawn
    return done


class FeatureWorker:
    """An actor of Ray Data's: decodes and computes the units whose numbers it is given.

    It says how many seconds each took, and whether it was `warm`: whether no function had to be compiled for it.
    """

    def __init__(self, work: Work, threads: int) -> None:
        self._work = work
        self._decode = steps.Decoder(work.source, threads)
        self._layers = steps.FrozenLayers(work.source, threads)

    def __call__(self, row: dict[str, int]) -> dict[str, Any]:
        _check_seen(self._work.uri)
        unit = ray.get(self._work.units[row["unit"]])
        start, compiled = time.monotonic(), self._layers.compiled
        steps.compute(self._work.uri, unit, self._decode, self._layers)
        warm = self._layers.compiled == compiled
        return row | {"views": list(range(len(unit.views))), "seconds": time.monotonic() - start, "warm": warm}


class ViewDecoder:
    """An actor of Ray Data's: the views of the units whose numbers it is given, a row for each."""

    def __init__(self, work: Work) -> None:
        self._work = work
        is_local = storage.is_local(work.source.root)
        self._decode = steps.Decoder(work.source, threads=1 if is_local else REQUESTS)

    def __call__(self, row: dict[str, int]) -> Iterator[dict[str, Any]]:
        for number, pixels in enumerate(self._decode(ray.get(self._work.units[row["unit"]]))):
            yield row | {"view": number, "pixels": pixels}


class FedFeatureWorker:
    """As FeatureWorker, of views that others made; the seconds are those of the layers alone."""

    def __init__(self, work: Work, threads: int) -> None:
        self._work = work
        self._layers = steps.FrozenLayers(work.source, threads)
        self._turn = threading.Lock()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        _check_seen(self._work.uri)
        unit, number = ray.get(self._work.units[row["unit"]]), row["view"]
        features = list(unit.views.values())[number]
        with self._turn:
            start, compiled = time.monotonic(), self._layers.compiled
            values = self._layers(unit.backbone, features, row["pixels"])
            seconds, warm = time.monotonic() - start, self._layers.compiled == compiled
        steps.write(self._work.uri, unit, values)
        return {"unit": row["unit"], "views": [number], "seconds": seconds, "warm": warm}


def _check_seen(uri: str) -> None:
    """Raises OutputError on a node that lacks the store's disk."""
    if storage.is_local(uri) and not storage.local(uri).is_dir():
        raise cluster.unseen(uri)
