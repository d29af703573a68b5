"""The Ray Data job of a prediction: read and decode -> predict -> write, streaming, unit by unit.

A unit is some hundred files. It becomes one part file, whole or not at all, whoever computes it and however
often: that makes a killed worker or a resumed job unable to lose or double a row.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data

from ray_birds.config import PredictConfig
from ray_birds.core import cluster, storage
from ray_birds.core.errors import RayBirdsError
from ray_birds.core.prefetch import REQUESTS, prefetch
from ray_birds.data import exif
from ray_birds.data.walk import Stamp
from ray_birds.model import classifier
from ray_birds.model.bundle import Bundle
from ray_birds.model.device import use_threads
from ray_birds.prediction import answer, image, inputs
from ray_birds.prediction.answer import Answer
from ray_birds.prediction.output import Output, schema, scored

_ACTOR_CPUS = 4  # TensorFlow gains little from more threads on batches of 32
# Decoding is a few percent of a forward pass on a CPU, and writing less: they count for little, so that they run
# beside the model, and are held back by what they may put into the object store.
_SIDE_CPUS = 0.1

Map = Callable[[dict[str, Any]], dict[str, Any]]
Shared = list["ray.ObjectRef[Any]"]  # of the Job; in a list: fetched by the workers themselves


@dataclass(frozen=True)
class Job:
    """What the workers are told. `roots` is where the paths of each input begin."""

    config: PredictConfig
    model: Bundle
    output: Output
    roots: dict[str, str]
    answer: Answer = field(default_factory=Answer)

    @property
    def schema(self) -> pa.Schema:
        everything = len(self.model.classes) if self.config.probabilities else 0
        return schema(
            everything,
            embeddings=self.config.embeddings,
            metadata=self.config.metadata,
            sequences=self.config.sequence_seconds > 0,
            answer=answer.fields(self.config),
        )

    @property
    def pixels(self) -> int:
        """Bytes of a decoded image."""
        return self.model.variant.image_size**2 * 3


@dataclass(frozen=True)
class Unit:
    """Files that become one part: pairs of (input, path), and their stamps."""

    number: int
    files: tuple[tuple[str, str], ...]
    stamps: tuple[Stamp, ...]

    def row(self) -> dict[str, Any]:
        given, paths = map(list, zip(*self.files, strict=True))
        size, modified = map(list, zip(*self.stamps, strict=True))
        return {"unit": self.number, "input": given, "path": paths, "size": size, "modified": modified}


def score(job: Job, units: list[Unit], resources: cluster.Resources) -> Iterator[dict[str, int]]:
    """Write the part of each unit; yields {"rows", "failed"} of one after another, in no fixed order.

    All three steps are actors: Ray ends an idle worker of tasks after a second, and starting another one costs
    as much as scoring a hundred images.
    """
    threads = min(_ACTOR_CPUS, resources.node_cpus)
    actors = min(resources.gpus or max(1, resources.cpus // threads), len(units))
    decoders = job.config.decoders or min(resources.cpus, len(units))
    names: list[str] = []

    def pool(size: int, cpus: float, gpus: int = 0) -> dict[str, Any]:
        return {
            "compute": ray.data.ActorPoolStrategy(size=size),
            "num_cpus": cpus,
            "num_gpus": gpus,
            "ray_remote_args_fn": lambda: {"name": _new_name(names)},
        }

    shared: Shared = [ray.put(job)]
    rows = (
        ray.data.from_items([unit.row() for unit in units], override_num_blocks=len(units))
        .map(cast(Map, Decoder), fn_constructor_args=(shared,), **pool(decoders, _SIDE_CPUS))
        .map(
            cast(Map, Scorer),
            fn_constructor_args=(shared, threads),
            **(pool(actors, 1, gpus=1) if resources.gpus else pool(actors, threads / 2)),
        )
        .map(cast(Map, Writer), fn_constructor_args=(shared,), **pool(actors, _SIDE_CPUS))
    )
    waiting = 2 * (decoders + 2 * actors)  # units in the object store: being made, waiting, being scored
    rows.context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
        object_store_memory=waiting * len(units[0].files) * job.pixels
    )
    try:
        yield from rows.iter_rows()
    finally:
        _end(names)


def _new_name(names: list[str]) -> str:
    names.append(f"predict-{uuid.uuid4()}")
    return names[-1]


def _end(actors: list[str]) -> None:
    """End the actors of a failed job, which Ray Data leaves to the garbage collector, CPUs and all."""
    for name in actors:
        with suppress(ValueError):  # gone already
            ray.kill(ray.get_actor(name))


class Decoder:
    """A unit's images: `pixels` (m, size, size, 3) uint8 of those that can be decoded, in order."""

    def __init__(self, shared: Shared) -> None:
        self._job: Job = ray.get(shared[0])

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        roots, model, config = self._job.roots, self._job.model, self._job.config
        uris = [storage.join(roots[given], path) for given, path in zip(row["input"], row["path"], strict=True)]
        threads = 1 if all(map(storage.is_local, uris)) else REQUESTS
        most = config.max_pixels, config.max_bytes
        load = partial(image.load, metadata=config.metadata)
        images = list(prefetch(lambda uri: load(uri, model, *most), uris, threads))
        good = [one.pixels for one in images if one.pixels is not None]
        size = model.variant.image_size
        for name in ("size", "modified"):  # without bytes that were read they say nothing of the row
            row[name] = [value if one.read else None for value, one in zip(row[name], images, strict=True)]
        return row | {
            "pixels": np.stack(good) if good else np.zeros((0, size, size, 3), np.uint8),
            "width": [one.width for one in images],
            "height": [one.height for one in images],
            "error": [one.error for one in images],
            "seen": [one.seen for one in images],
            **(_columns([one.facts for one in images]) if config.metadata else {}),
        }


def _columns(facts: list[exif.Facts]) -> dict[str, list[Any]]:
    return {name: [getattr(one, name) for one in facts] for name in exif.Facts._fields}


class Scorer:
    """Holds the model: a unit's `pixels` -> `scores` (m, classes) and `features` (m, d), both float32."""

    _error: RayBirdsError | None = None

    def __init__(self, shared: Shared, threads: int) -> None:
        job: Job = ray.get(shared[0])
        self._features = job.config.embeddings or job.answer.by_distance
        use_threads(threads)
        try:
            self._classifier = classifier.load(job.model, job.config.batch_size, job.config.tta)
            self._classifier.warm_up()
        except RayBirdsError as error:
            self._error = error  # raised with the first unit: from here Ray would pass on its text alone

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._error:
            raise self._error
        pixels = row.pop("pixels")
        scores, features = self._classifier.embed(pixels) if len(pixels) else (np.zeros((0, 1)), np.zeros((0, 1)))
        return row | {"scores": scores} | ({"features": features} if self._features else {})


class Writer:
    """Writes a unit's part."""

    def __init__(self, shared: Shared) -> None:
        self._job: Job = ray.get(shared[0])

    def __call__(self, unit: dict[str, Any]) -> dict[str, int]:
        job = self._job
        known = frozenset(job.model.classes)
        scores = job.answer.among(unit["scores"])
        features = unit.get("features", scores)
        scored = iter(zip(scores, features, job.answer.columns(scores, features), strict=True))
        rows = []
        columns = [name for name in job.schema.names if name in unit]
        for values in zip(*(unit[name] for name in columns), strict=True):
            row: dict[str, Any] = dict(zip(columns, values, strict=True)) | {"model": job.model.digest}
            row["label"] = inputs.label(job.roots[row["input"]], row["path"], known)
            rows.append(
                row | (job.answer.failed if row["error"] else _prediction(job, row["label"], *next(scored)))
            )
        job.output.write_part(unit["unit"], rows, job.schema)
        return {"rows": len(rows), "failed": sum(bool(row["error"]) for row in rows)}


def _prediction(
    job: Job, label: str | None, scores: np.ndarray, features: np.ndarray, answered: dict[str, Any]
) -> dict[str, Any]:
    """The columns that a scored row has; those that the schema does not name are left out of the part."""
    found = scored(scores, job.model.classes, label, job.answer.most(job.config.top_k))
    return (found | answered) | {
        "probabilities": scores if job.config.probabilities else None,
        "embeddings": features if job.config.embeddings else None,
    }
