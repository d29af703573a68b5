"""The steps of a prediction: read and decode -> predict -> write, for whoever calls them; no Ray.

A unit is some hundred files, known by its number alone until it is decoded. It becomes one part file, whole or
not at all, whoever computes it and however often: that makes a killed worker or a resumed job unable to lose or
double a row.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ray_birds.config import PredictConfig
from ray_birds.core import storage
from ray_birds.core.errors import RayBirdsError
from ray_birds.core.prefetch import REQUESTS, prefetch
from ray_birds.data import exif
from ray_birds.data.walk import Stamp
from ray_birds.model import classifier, device
from ray_birds.model.bundle import Bundle
from ray_birds.prediction import answer, image
from ray_birds.prediction.answer import Answer
from ray_birds.prediction.listing import Listing
from ray_birds.prediction.output import Output, schema, scored


@dataclass(frozen=True)
class Job:
    """What the steps are told. `roots` is where the paths of each input begin."""

    config: PredictConfig
    model: Bundle
    output: Output
    files: Listing
    roots: dict[str, str]
    answer: Answer = field(default_factory=Answer)

    @property
    def schema(self) -> pa.Schema:
        return columns(self.config)

    @property
    def pixels(self) -> int:
        """Bytes of a decoded image."""
        return self.model.variant.image_size**2 * 3


def columns(config: PredictConfig) -> pa.Schema:
    """Those of every part of a job."""
    return schema(
        probabilities=config.probabilities,
        embeddings=config.embeddings,
        metadata=config.metadata,
        sequences=config.sequence_seconds > 0,
        answer=answer.fields(config),
    )


class Decoder:
    """A unit's files and images: `pixels` (m, size, size, 3) uint8 of those that can be decoded, in order."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        roots, model, config = self._job.roots, self._job.model, self._job.config
        row |= self._job.files.read(row["unit"]).drop(["kept"]).to_pydict()
        uris = [storage.at(roots[given], path) for given, path in zip(row["input"], row["path"], strict=True)]
        threads = 1 if all(map(storage.is_local, uris)) else REQUESTS
        asked = zip(uris, zip(row["size"], row["modified"], strict=True), strict=True)

        def load(one: tuple[str, Stamp]) -> image.Image:
            uri, stamp = one
            most = config.max_pixels, config.max_bytes
            return image.load(uri, model, *most, metadata=config.metadata, stamp=stamp)

        images = list(prefetch(load, asked, threads))
        good = [one.pixels for one in images if one.pixels is not None]
        size = model.variant.image_size
        return row | {
            "size": [one.stamp[0] for one in images],
            "modified": [one.stamp[1] for one in images],
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

    def __init__(self, job: Job, threads: int) -> None:
        self._features = job.config.embeddings or job.answer.by_distance
        lanes = device.use_lanes(threads)
        try:
            self._classifier = classifier.load(job.model, job.config.batch_size, job.config.tta, lanes)
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

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, unit: dict[str, Any]) -> dict[str, int]:
        job = self._job
        scores = job.answer.among(unit["scores"])
        features = unit.get("features", scores)
        scored = iter(zip(scores, features, job.answer.columns(scores, features), strict=True))
        rows = []
        names = [name for name in job.schema.names if name in unit]
        for values in zip(*(unit[name] for name in names), strict=True):
            row: dict[str, Any] = dict(zip(names, values, strict=True)) | {"model": job.model.digest}
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
