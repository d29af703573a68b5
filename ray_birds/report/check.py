"""The page of a check, and its tables: report.html, findings.csv and classes.csv."""

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ray_birds.core import storage
from ray_birds.core.prefetch import prefetch
from ray_birds.core.tables import write_csv
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import Finding, ImageRecord
from ray_birds.report.gallery import Tile, load
from ray_birds.report.page import write_page

GROUPS, MEMBERS = 24, 4  # of a finding that the page shows: groups, and images of each
SAMPLES = 600  # images of classes on the page, one of each class at least while they last


class Shown(NamedTuple):
    """A finding with the images that the page shows of it, and a line for each file that has no image."""

    finding: Finding
    groups: list[list[Tile]]
    lines: list[tuple[str, str]]


class Size(NamedTuple):
    """What a split is made of; `sides` are the least, middle and greatest shorter side in pixels."""

    split: str
    images: int
    unreadable: int
    formats: str
    sides: str


def write_check_report(
    output: str, dataset: Dataset, records: dict[str, ImageRecord], found: list[Finding]
) -> str:
    """Write the three files into the folder `output`; returns the page's URI."""
    where = {path: name for name, split in dataset.splits.items() for path in split.paths}
    label = {
        path: dataset.classes[number]
        for split in dataset.splits.values()
        for path, number in zip(split.paths, split.labels, strict=True)
    }
    classes = _classes(dataset)
    uri = storage.join(output, "report.html")
    values = {
        "root": dataset.root,
        "splits": list(dataset.splits),
        "classes": classes,
        "sizes": [_size(name, [records[path] for path in split.paths]) for name, split in dataset.splits.items()],
        "found": [_shown(finding, dataset, records, where, label) for finding in found],
        "samples": _samples(dataset, records),
    }
    write_page(uri, "check.html.j2", values)  # first, as its mark says whose the tables are
    columns = ("kind", "blocking", "group", "split", "class", "path", "reason")
    rows = (dict(zip(columns, row, strict=True)) for row in _rows(found, records, where, label))
    write_csv(storage.join(output, "findings.csv"), columns, rows)
    write_csv(storage.join(output, "classes.csv"), ("class", *dataset.splits), classes)
    return uri


def _rows(
    found: list[Finding], records: dict[str, ImageRecord], where: dict[str, str], label: dict[str, str]
) -> Iterable[tuple[Any, ...]]:
    numbers = itertools.count(1)
    for finding in found:
        blocking = "yes" if finding.blocking else "no"
        if not finding.groups:
            yield finding.kind, blocking, "", "", "", "", finding.text
        for group, number in zip(finding.groups, numbers, strict=False):
            for path in group:
                yield finding.kind, blocking, number, where[path], label[path], path, records[path].error


def _classes(dataset: Dataset) -> list[dict[str, Any]]:
    counts = {
        name: np.bincount(split.labels, minlength=len(dataset.classes)).tolist()
        for name, split in dataset.splits.items()
    }
    return [
        {"class": label, **{name: counts[name][number] for name in counts}}
        for number, label in enumerate(dataset.classes)
    ]


def _size(name: str, records: list[ImageRecord]) -> Size:
    good = [record for record in records if not record.error]
    formats = ", ".join(f"{kind} {count:,}" for kind, count in Counter(f.format for f in good).most_common())
    sides = [min(record.width, record.height) for record in good]
    spread = f"{min(sides):,}, {np.median(sides):,.0f}, {max(sides):,}" if sides else "–"
    return Size(name, len(records), len(records) - len(good), formats, spread)


def _shown(
    finding: Finding,
    dataset: Dataset,
    records: dict[str, ImageRecord],
    where: dict[str, str],
    label: dict[str, str],
) -> Shown:
    groups = [group[:MEMBERS] for group in finding.groups[:GROUPS]]
    mark = "wrong" if finding.blocking else ""
    wanted = [
        (dataset.uri(path), label[path], path, mark)
        for group in groups
        for path in group
        if not records[path].error
    ]
    tiles = {tile.note: tile for tile in _tiles(wanted)}
    images = [[tiles[path] for path in group if path in tiles] for group in groups]
    lines = [(path, records[path].error) for group in groups for path in group if records[path].error]
    return Shown(finding, [group for group in images if group], lines)


def _samples(dataset: Dataset, records: dict[str, ImageRecord]) -> list[Tile]:
    """Training images of each class, from all over it; three of each where there are few classes."""
    train = dataset.splits["train"]
    each = max(1, min(3, SAMPLES // len(dataset.classes)))
    good = np.array([not records[path].error for path in train.paths], bool)
    wanted = []
    for number, name in enumerate(dataset.classes):
        members = np.flatnonzero(good & (train.labels == number))
        for row in np.unique(np.linspace(0, len(members) - 1, each).astype(int)) if len(members) else ():
            path = train.paths[members[row]]
            wanted.append((dataset.uri(path), name, path.rpartition("/")[2], ""))
    return _tiles(wanted[:SAMPLES])


def _tiles(wanted: list[tuple[str, str, str, str]]) -> list[Tile]:
    """Tiles of (uri, caption, note, mark); an image that has vanished since is left out."""
    images = prefetch(load, [uri for uri, *_ in wanted])
    return [Tile(p, *words) for p, (_, *words) in zip(images, wanted, strict=True) if p is not None]
