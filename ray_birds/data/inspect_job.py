"""Reads and decodes every image of a data set once: a Ray Data job, paths in, records out; or recalls them."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC
from types import MappingProxyType
from typing import Any

import numpy as np
import ray

from ray_birds.core import cluster, storage, terminal
from ray_birds.core.errors import DataError
from ray_birds.data import decode, exif, findings, folds, groups, near_duplicates, seen, splits
from ray_birds.data import records as image_records
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import BadImage, ImageRecord, Inspection, fingerprint
from ray_birds.data.splits import Shares

_UNIT = 64  # files read by one task at a time
_FLAT = 4  # grey levels: an image whose colours differ by less shows nothing


def inspect(
    dataset: Dataset, size: int, max_bad_images: float, shares: Shares, kept: str = "", *, verify: bool = False
) -> Inspection:
    """Decode every image once, but for those that a sweep which `kept` its records in this folder has decoded.

    With `verify` they are decoded too. Raises DataError where more than `max_bad_images` (a share) are unreadable,
    and where a split that is missing cannot be made from train.
    """
    making = shares.missing(dataset)
    records = _recalled(dataset, size, kept, verify=verify) if kept else read(dataset, size)
    dataset = groups.by_time(dataset, records)
    found = findings.of_groups(dataset)
    found += [finding for finding in findings.of_images(dataset, records) if finding.kind != "unreadable"]
    bad = [
        BadImage(name, path, records[path].error)
        for name, split in dataset.splits.items()
        for path in split.paths
        if records[path].error
    ]
    _check_bad(dataset, bad, max_bad_images)
    data = _usable(dataset, records)
    if making:
        data = splits.make(data, records, shares)
        found.append(splits.describe(data, making, shares))
    folded = folds.make(data, records, shares) if shares.folds else None
    if folded:
        found.append(folds.describe(data, folded))
    notes = (*dataset.notes, *(finding.text for finding in found))
    prints = {name: fingerprint(data, name, records) for name in data.splits}
    data = dataclasses.replace(data, notes=notes, groups={})  # trials need no groups: they are not sent to them
    copies = findings.copies(data, found)
    used = [split for name, split in data.splits.items() if name != "test"]
    known = seen.listed(records[path].digest for split in used for path in split.paths)
    return Inspection(data, tuple(bad), prints, making, tuple(found), copies, known, folded)


def _recalled(dataset: Dataset, size: int, folder: str, *, verify: bool) -> dict[str, ImageRecord]:
    """As `read`, where records are kept in the folder."""
    uri, stamps = image_records.location(folder, dataset, size), image_records.stamps(dataset)
    kept = image_records.read(uri)
    known = {} if verify else image_records.unchanged(kept, stamps)
    if known:
        terminal.say(f"{len(known):,} images have not changed since they were checked; --verify-images reads them")
    records = read(dataset, size, known)
    if records.keys() - known.keys():
        image_records.write(uri, kept, records, stamps)
    return records


def read(
    dataset: Dataset, size: int, known: Mapping[str, ImageRecord] = MappingProxyType({})
) -> dict[str, ImageRecord]:
    """What is known of each file, by path, from decoding it to `size`; those that are `known` are not read.

    With times where these make the groups.
    """
    # All that tasks are told, beside their paths.
    root, most, timed = dataset.root, dataset.max_bytes, bool(dataset.burst)
    paths = [path for split in dataset.splits.values() for path in split.paths if path not in known]
    if not paths:
        return dict(known)
    units = [{"paths": paths[start : start + _UNIT]} for start in range(0, len(paths), _UNIT)]

    def look(unit: dict[str, Any]) -> dict[str, Any]:
        seen = [(path, _record(storage.at(root, path), size, most, timed=timed)) for path in unit["paths"]]
        return {"facts": json.dumps(seen)}

    found = dict(known)
    with (
        terminal.progress("Checking images", len(paths), "images", needs="a free CPU") as meter,
        cluster.user_errors(),
    ):
        for row in ray.data.from_items(units, override_num_blocks=len(units)).map(look).iter_rows():
            seen = json.loads(row["facts"])
            found.update((path, ImageRecord(*values)) for path, values in seen)
            meter.advance(len(seen))
    return found


def _record(uri: str, size: int, max_bytes: int, *, timed: bool) -> ImageRecord:
    data, reason = decode.read(uri, max_bytes)
    image = decode.decode(data, size)
    error = reason or image.error
    digest = storage.digest([data])
    if image.pixels is None:
        return ImageRecord(digest, error, image.width, image.height, decode.format_of(data), False, "")
    constant = bool(np.ptp(image.pixels, axis=(0, 1)).max() < _FLAT)
    # An image of nothing looks like every other one: it has no code.
    codes = near_duplicates.codes(image.pixels) if not constant else b""
    shape = image.width, image.height, decode.format_of(data)
    facts = exif.read(data) if timed else exif.Facts()
    taken = None if facts.taken is None else facts.taken.replace(tzinfo=UTC).timestamp()
    return ImageRecord(digest, error, *shape, constant, codes.hex(), taken, facts.camera or "")


def _check_bad(dataset: Dataset, bad: list[BadImage], most: float) -> None:
    total = sum(len(split) for split in dataset.splits.values())
    if len(bad) > most * total:
        first = bad[0]
        raise DataError(
            f"{dataset.root}: {len(bad)} of {total} images cannot be read, more than --max-bad-images "
            f"{most:g}; the first is {first.path} ({first.reason})"
        )


def readable(dataset: Dataset, records: dict[str, ImageRecord]) -> Dataset:
    """The data set without unreadable files; a split may be left empty."""
    kept = {
        name: split.select(np.array([not records[path].error for path in split.paths], bool))
        for name, split in dataset.splits.items()
    }
    return dataclasses.replace(dataset, splits=kept)


def _usable(dataset: Dataset, records: dict[str, ImageRecord]) -> Dataset:
    """The data set without unreadable files. Raises DataError where a class has no training image left, or a
    split no image at all."""
    found = readable(dataset, records)
    kept = found.splits
    gone = set(range(len(dataset.classes))) - set(kept["train"].labels.tolist())
    if gone:
        raise DataError(f"{dataset.root}/train/{dataset.classes[min(gone)]}: no readable image is left in it")
    for name, split in dataset.splits.items():
        if not len(kept[name]):
            first = split.paths[0]
            raise DataError(
                f"{dataset.root}/{name}: none of its {len(split)} image(s) can be read; "
                f"the first is {first} ({records[first].error}); replace them or remove the split"
            )
    return found
