"""The steps of a prediction as a Ray Data job: actors of three pools, which stream unit by unit."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import ray
import ray.data

from ray_birds.core import cluster
from ray_birds.prediction import steps
from ray_birds.prediction.steps import Job

_ACTOR_CPUS = 4  # TensorFlow gains little from more threads on batches of 32

Map = Callable[[dict[str, Any]], dict[str, Any]]
Shared = list["ray.ObjectRef[Job]"]  # in a list, so that a step's process fetches it once and not with each unit


class Decoder(steps.Decoder):
    def __init__(self, shared: Shared) -> None:
        super().__init__(ray.get(shared[0]))


class Scorer(steps.Scorer):
    def __init__(self, shared: Shared, threads: int) -> None:
        super().__init__(ray.get(shared[0]), threads)


class Writer(steps.Writer):
    def __init__(self, shared: Shared) -> None:
        super().__init__(ray.get(shared[0]))


def score(job: Job, units: Sequence[int], resources: cluster.Resources) -> Iterator[dict[str, int]]:
    """Write the part of each unit, by number; yields {"rows", "failed"} of one after another, in no fixed order.

    All three steps are actors: Ray ends an idle worker of tasks after a second, and starting another one costs
    as much as scoring a hundred images.
    """
    threads = min(_ACTOR_CPUS, resources.node_cpus)
    pools = _pools(job, len(units), resources, threads)
    names: list[str] = []

    def pool(strategy: ray.data.ActorPoolStrategy, cpus: float, gpus: int = 0) -> dict[str, Any]:
        return {
            "compute": strategy,
            "num_cpus": cpus,
            "num_gpus": gpus,
            "ray_remote_args_fn": lambda: {"name": _new_name(names)},
        }

    fed = pool(pools.fed, cluster.FED_CPUS, gpus=1) if resources.gpus else pool(pools.fed, threads / 2)
    shared: Shared = [ray.put(job)]
    rows = (
        ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units))
        .map(cast(Map, Decoder), fn_constructor_args=(shared,), **pool(pools.feeders, cluster.SIDE_CPUS))
        .map(cast(Map, Scorer), fn_constructor_args=(shared, threads), **fed)
        .map(cast(Map, Writer), fn_constructor_args=(shared,), **pool(pools.fed, cluster.SIDE_CPUS))
    )
    # Units in the object store: being made, waiting, being scored.
    waiting = 2 * (pools.feeders.max_size + 2 * pools.fed.max_size)
    rows.context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
        object_store_memory=waiting * job.files.size(units[0]) * job.pixels
    )
    try:
        yield from rows.iter_rows()
    finally:
        _end(names)


def _pools(job: Job, units: int, resources: cluster.Resources, threads: int) -> cluster.Pools:
    if resources.gpus:
        return resources.feeding(units, units, job.config.decoders)
    decoders, scorers = job.config.decoders or resources.cpus, max(1, resources.cpus // threads)
    return cluster.Pools(cluster.pool(decoders, decoders, units), cluster.pool(scorers, scorers, units))


def _new_name(names: list[str]) -> str:
    names.append(f"predict-{uuid.uuid4()}")
    return names[-1]


def _end(actors: list[str]) -> None:
    """End the actors of a failed job, which Ray Data leaves to the garbage collector, CPUs and all."""
    for name in actors:
        with suppress(ValueError):  # gone already
            ray.kill(ray.get_actor(name))
