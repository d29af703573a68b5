"""Reads and decodes every image of a data set once: a Ray Data job, paths in, records out."""

import dataclasses
import json
from typing import Any

import numpy as np
import ray

from ray_birds.core import storage, terminal
from ray_birds.core.errors import DataError
from ray_birds.data import decode, findings, near_duplicates, splits
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import BadImage, Facts, Inspection, fingerprint
from ray_birds.data.splits import Shares

_UNIT = 64  # files read by one task at a time
_FLAT = 4  # grey levels: a picture whose colours differ by less shows nothing


def inspect(dataset: Dataset, size: int, max_bad_images: float, shares: Shares) -> Inspection:
    """Decode every image once. Raises DataError where more than `max_bad_images` (a share) are unreadable,
    and where a split that is missing cannot be made from train."""
    making = shares.missing(dataset)
    facts = read(dataset, size, alike=bool(making))
    found = [finding for finding in findings.of_pictures(dataset, facts) if finding.kind != "unreadable"]
    bad = [
        BadImage(name, path, facts[path].error)
        for name, split in dataset.splits.items()
        for path in split.paths
        if facts[path].error
    ]
    _check_bad(dataset, bad, max_bad_images)
    data = _readable(dataset, facts)
    if making:
        data = splits.make(data, facts, shares)
        found.append(splits.describe(data, making))
    notes = (*dataset.notes, *(finding.text for finding in found))
    prints = {name: fingerprint(data, name, facts) for name in data.splits}
    return Inspection(dataclasses.replace(data, notes=notes), tuple(bad), prints, making, tuple(found))


def read(dataset: Dataset, size: int, *, alike: bool) -> dict[str, Facts]:
    """What is known of each file, by path, from decoding it to `size`; codes of its looks only if `alike`."""
    root = dataset.root  # all that tasks are told, beside their paths
    paths = [path for split in dataset.splits.values() for path in split.paths]
    units = [{"paths": paths[start : start + _UNIT]} for start in range(0, len(paths), _UNIT)]

    def look(unit: dict[str, Any]) -> dict[str, Any]:
        seen = [(path, _facts(storage.join(root, path), size, alike)) for path in unit["paths"]]
        return {"facts": json.dumps(seen)}

    found: dict[str, Facts] = {}
    with terminal.progress("Checking images", len(paths), "images") as meter:
        for row in ray.data.from_items(units, override_num_blocks=len(units)).map(look).iter_rows():
            seen = json.loads(row["facts"])
            found.update((path, Facts(*values)) for path, values in seen)
            meter.advance(len(seen))
    return found


def _facts(place: str, size: int, alike: bool) -> Facts:
    data, reason = decode.read(place)
    picture = decode.decode(data, size)
    error = reason or picture.error
    digest = storage.digest([data])
    if picture.pixels is None:
        return Facts(digest, error, picture.width, picture.height, decode.format_of(data), False, "", "")
    constant = bool(np.ptp(picture.pixels, axis=(0, 1)).max() < _FLAT)
    # A picture of nothing looks like every other one: it has no code.
    own, mirrored = near_duplicates.codes(picture.pixels) if alike and not constant else (b"", b"")
    shape = picture.width, picture.height, decode.format_of(data)
    return Facts(digest, error, *shape, constant, own.hex(), mirrored.hex())


def _check_bad(dataset: Dataset, bad: list[BadImage], most: float) -> None:
    total = sum(len(split) for split in dataset.splits.values())
    if len(bad) > most * total:
        first = bad[0]
        raise DataError(
            f"{dataset.root}: {len(bad)} of {total} images cannot be read, more than --max-bad-images "
            f"{most:g}; the first is {first.path} ({first.reason})"
        )


def _readable(dataset: Dataset, facts: dict[str, Facts]) -> Dataset:
    """The data set without unreadable files. Raises DataError where a class has no training image left."""
    kept = {
        name: split.select(np.array([not facts[path].error for path in split.paths], bool))
        for name, split in dataset.splits.items()
    }
    gone = set(range(len(dataset.classes))) - set(kept["train"].labels.tolist())
    if gone:
        raise DataError(f"{dataset.root}/train/{dataset.classes[min(gone)]}: no readable image is left in it")
    return dataclasses.replace(dataset, splits=kept)
