"""Groups of images that belong together, as of one burst, place or animal: by folder, by time; broken ones."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data.labels import class_of
from ray_birds.data.table import Table

if TYPE_CHECKING:
    from ray_birds.data.dataset import Dataset
    from ray_birds.data.inspection import ImageRecord


def by_folder(table: Table, depth: int) -> dict[str, str]:
    """The group of each image below a folder: the first `depth` folders below that of its class or, with a file of
    labels, below the root. Raises DataError for an image that does not lie there."""
    classes = frozenset(table.found["train"])
    paths = (path for by_class in table.found.values() for some in by_class.values() for path in some)
    groups = {path: "/".join(_folders(table, path, classes)[:depth]) for path in paths}
    return {path: group for path, group in groups.items() if group}


def by_place(table: Table) -> dict[str, str]:
    """Where each image was taken, as far as folders say: its own or, in class folders, the class and the folders
    below that one's, whichever split it is in; of shards nothing."""
    classes = frozenset(table.found["train"])
    return {
        path: _place(table, path, name, classes)
        for by_class in table.found.values()
        for name, paths in by_class.items()
        for path in paths
    }


def by_time(dataset: "Dataset", records: Mapping[str, "ImageRecord"]) -> "Dataset":
    """`dataset` with each of its places parted into bursts, if it is to have any: photographs of one camera, each
    taken at most `dataset.burst` seconds after the one before. An image without a time has no group.

    Raises DataError where none has one.
    """
    if not dataset.burst:
        return dataset
    rolls: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)  # of a place and camera
    for path, place in dataset.groups.items():
        record = records.get(path)
        if record is not None and record.taken is not None:
            rolls[place, record.camera].append((record.taken, path))
    if not rolls:
        raise DataError(
            f"--group-by burst:{dataset.burst:g}: no image of {dataset.root} says when it was taken; group by a "
            "column or folder"
        )
    found = {}
    for (place, camera), shots in rolls.items():
        last = -float("inf")
        for taken, path in sorted(shots):
            if taken - last > dataset.burst:
                began = datetime.fromtimestamp(taken, UTC).replace(tzinfo=None)
                name = ", ".join(filter(None, (place, camera, began.isoformat(" ", "milliseconds"))))
            found[path], last = name, taken
    return dataclasses.replace(dataset, groups=found)


def _place(table: Table, path: str, name: str, classes: frozenset[str]) -> str:
    if table.in_shards:  # where one shard ends and the next begins says nothing
        return ""
    return path.rpartition("/")[0] if table.file else "/".join([name, *_folders(table, path, classes)])


def _folders(table: Table, path: str, classes: frozenset[str]) -> list[str]:
    folders = storage.folders_of(path)
    if table.in_shards:
        raise DataError(
            f"--group-by folder: the images of {table.root} lie in shards; name a column of a table (--labels)"
        )
    if not table.file:
        labelled = max(n for n, folder in enumerate(folders) if n == 1 or class_of(folder, classes) is not None)
        return folders[labelled + 1 :]
    if storage.is_absolute(path) or not storage.is_local(path):
        raise DataError(
            f"--group-by folder: {path} does not lie below {table.root}; give a column of {table.file}"
        )
    return folders


def broken(groups: dict[str, str], splits: dict[str, Iterable[str]]) -> dict[str, dict[str, list[str]]]:
    """Of each group in more than one split the paths in each, by the paths of the splits."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for split, paths in splits.items():
        for path in paths:
            if path in groups:
                found[groups[path]][split].append(path)
    return {group: dict(by_split) for group, by_split in found.items() if len(by_split) > 1}
