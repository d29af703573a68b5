"""Splits that a data set does not have, taken from train: seeded, class by class, copies kept together.

Which images are taken depends on their content alone, so that a file added to a class moves few others.
"""

import dataclasses
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data.dataset import Dataset
from ray_birds.data.findings import alike
from ray_birds.data.inspection import Finding, ImageRecord


@dataclass(frozen=True)
class Shares:
    """Which share of each class's training images a missing split takes; 0: none is made."""

    valid: float
    test: float
    seed: int

    def missing(self, dataset: Dataset) -> tuple[str, ...]:
        """The splits that are to be made of this data set."""
        wanted = {"valid": True, "test": self.test > 0}
        return tuple(name for name, make in wanted.items() if make and name not in dataset.splits)


def make(dataset: Dataset, records: dict[str, ImageRecord], shares: Shares) -> Dataset:
    """`dataset` with its missing splits. Raises DataError where no class has an image to spare for valid.

    Each class gives its share, rounded, but one image at least while one is left for training; of two images
    the second goes to valid, and test gets none.
    """
    chosen: dict[str, set[str]] = {}
    groups = _groups(dataset, records)
    for name in ("valid", "test"):
        if name in shares.missing(dataset):
            taken = set().union(*chosen.values())
            chosen[name] = _choose(groups, taken, name, getattr(shares, name), shares.seed)
    if not all(chosen.values()):
        raise DataError(f"{dataset.root}/train: too few images to take a valid or test split from; add some")
    return assigned(dataset, {path: name for name, paths in chosen.items() for path in paths})


def assigned(dataset: Dataset, where: dict[str, str]) -> Dataset:
    """`dataset` with the training images in `where` (path -> split) moved to the splits named there."""
    train = dataset.splits["train"]
    target = np.array([where.get(path, "train") for path in train.paths])
    made = {
        name: dataclasses.replace(train.select(target == name), name=name)
        for name in ("train", *sorted(set(target) - {"train"}))
    }
    order = {name: made.get(name) or dataset.splits.get(name) for name in ("train", "valid", "test")}
    return dataclasses.replace(dataset, splits={name: split for name, split in order.items() if split})


def describe(dataset: Dataset, made: tuple[str, ...]) -> Finding:
    """What was made, for the terminal and the report."""
    counts = " and ".join(f"{len(dataset.splits[name]):,} for {name}" for name in made)
    return Finding("split", False, f"{' and '.join(made)} made from train/: {counts}; splits.csv lists them", ())


@dataclass(frozen=True)
class _Group:
    """Training images that look the same; `key` is the smallest of their digests.

    It is not `free` to leave train where another split has the image too.
    """

    label: int
    key: str
    paths: tuple[str, ...]
    free: bool


def _groups(dataset: Dataset, records: dict[str, ImageRecord]) -> list[_Group]:
    paths = [path for split in dataset.splits.values() for path in split.paths]
    train = dataset.splits["train"]
    labels = dict(zip(train.paths, train.labels.tolist(), strict=True))
    members: dict[int, list[str]] = defaultdict(list)
    for path, number in zip(paths, alike([records[path] for path in paths]).tolist(), strict=True):
        members[number].append(path)
    found = []
    for same in members.values():
        ours = tuple(path for path in same if path in labels)
        if ours:
            first = min(ours, key=lambda path: (records[path].digest, path))
            found.append(_Group(labels[first], records[first].digest, ours, len(ours) == len(same)))
    return found


def _choose(groups: list[_Group], taken: set[str], name: str, share: float, seed: int) -> set[str]:
    """Paths for the split `name`: single images before groups, in the order of a keyed digest of content."""
    by_class: dict[int, list[_Group]] = defaultdict(list)
    for group in groups:
        by_class[group.label].append(group)
    chosen: set[str] = set()
    for of_class in by_class.values():
        total = sum(len(group.paths) for group in of_class)
        wanted = max(1, round(share * total))
        left = [group for group in of_class if group.paths[0] not in taken]
        free = [group for group in left if group.free]
        free.sort(key=lambda group: (len(group.paths), storage.digest([name, str(seed), group.key])))
        count = 0
        for group in free if len(free) < len(left) else free[:-1]:  # one stays for training
            if count >= wanted:
                break
            chosen.update(group.paths)
            count += len(group.paths)
    return chosen
