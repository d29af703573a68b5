"""What is in a folder of images: a Ray Data job that reads and decodes every file once."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from ray_birds import console, files, images
from ray_birds.dataset import Dataset
from ray_birds.errors import DataError

_UNIT = 64  # files read by one task at a time


@dataclass(frozen=True)
class BadImage:
    split: str
    path: str
    reason: str


@dataclass(frozen=True)
class Inspection:
    """`dataset` without its unreadable files, those files, and a fingerprint of each split.

    A fingerprint covers path, label, number and content of every image that is left.
    """

    dataset: Dataset
    bad: tuple[BadImage, ...]
    fingerprints: dict[str, str]


def inspect(dataset: Dataset, size: int, max_bad_images: float) -> Inspection:
    """Decode every image once. Raises DataError where more than `max_bad_images` (a share) are unreadable."""
    found = _read_all(dataset, size)
    bad: list[BadImage] = []
    splits, fingerprints = {}, {}
    for name, split in dataset.splits.items():
        digests, reasons = zip(*(found[path] for path in split.paths), strict=True)
        bad += [BadImage(name, p, r) for p, r in zip(split.paths, reasons, strict=True) if r]
        keep = np.array([not reason for reason in reasons])
        splits[name] = split.select(keep)
        kept = [digest for digest, good in zip(digests, keep, strict=True) if good]
        numbers = [f"{n}:{label}" for n, label in zip(splits[name].numbers, splits[name].labels, strict=True)]
        fingerprints[name] = files.digest([*splits[name].paths, *numbers, *kept])
    total = sum(len(split) for split in dataset.splits.values())
    if len(bad) > max_bad_images * total:
        first = bad[0]
        raise DataError(
            f"{dataset.root}: {len(bad)} of {total} images cannot be read, more than --max-bad-images "
            f"{max_bad_images:g}; the first is {first.path} ({first.reason})"
        )
    for name, split in splits.items():
        gone = set(range(len(dataset.classes))) - set(split.labels.tolist())
        if name == "train" and gone:
            raise DataError(f"{dataset.root}/train/{dataset.classes[min(gone)]}: no readable image is left in it")
    return Inspection(dataclasses.replace(dataset, splits=splits), tuple(bad), fingerprints)


def _read_all(dataset: Dataset, size: int) -> dict[str, tuple[str, str]]:
    """Path -> (digest of its content, reason why it is unreadable or "")."""
    paths = [path for split in dataset.splits.values() for path in split.paths]
    units = [{"paths": paths[start : start + _UNIT]} for start in range(0, len(paths), _UNIT)]

    def read(unit: dict[str, Any]) -> dict[str, Any]:
        rows = [_read(dataset.place(path), size) for path in unit["paths"]]
        return {
            "paths": unit["paths"],
            "digests": [row[0] for row in rows],
            "reasons": [row[1] for row in rows],
        }

    found: dict[str, tuple[str, str]] = {}
    with console.progress("Checking images", len(paths), "images") as meter:
        for row in ray.data.from_items(units, override_num_blocks=len(units)).map(read).iter_rows():
            found.update(zip(row["paths"], zip(row["digests"], row["reasons"], strict=True), strict=True))
            meter.advance(len(row["paths"]))
    return found


def _read(place: str, size: int) -> tuple[str, str]:
    data, reason = images.read(place)
    return files.digest([data]), reason or images.decode(data, size).error
