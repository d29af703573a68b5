"""Folds for cross-validation: each training image held out once, groups and copies whole, classes even."""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data.dataset import Dataset, Split
from ray_birds.data.inspection import Finding, Folds, ImageRecord
from ray_birds.data.splits import Group, Shares, whole_groups


def pooled(dataset: Dataset) -> Dataset:
    """`dataset` with the images of train and valid, if it has one, in train: folds are made of both."""
    if "valid" not in dataset.splits:
        return dataset
    parts = [dataset.splits["train"], dataset.splits["valid"]]
    rows = sorted(row for part in parts for row in zip(part.paths, part.labels.tolist(), strict=True))
    labels = np.array([label for _, label in rows], np.int32)
    train = Split("train", tuple(path for path, _ in rows), labels, np.arange(len(rows), dtype=np.int64))
    splits = {"train": train} | {k: v for k, v in dataset.splits.items() if k not in ("train", "valid")}
    return dataclasses.replace(dataset, splits=splits)


def make(dataset: Dataset, records: dict[str, ImageRecord], shares: Shares) -> Folds:
    """`shares.folds` folds of the training images. Raises DataError where there are fewer groups to hold out.

    The largest groups come first, those of one size in the order of a keyed digest of content: each goes where its
    classes have the fewest images, then to the smallest fold. One that is all there is of a class is held out by
    none, and no fold holds out all of a class: a model that never saw it says nothing of how well it can be told.
    """
    train = dataset.splits["train"]
    groups = whole_groups(dataset, records)
    place = {path: row for row, path in enumerate(train.paths)}
    of_class = Counter(label for group in groups for label in group.counts)  # groups
    images = Counter(train.labels.tolist())  # of each class
    folds = [_Fold() for _ in range(shares.folds)]
    held_out = np.full(len(train), -1, np.int64)
    number = np.zeros(len(train), np.int64)
    for order, group in enumerate(sorted(groups, key=lambda group: _order(group, shares.seed))):
        rows = [place[path] for path in group.paths]
        number[rows] = order
        free = [fold for fold in folds if all(fold.groups[k] < of_class[k] - 1 for k in group.counts)]
        if free:
            fold = min(free, key=lambda fold: fold.crowded(group, images))
            fold.take(group)
            held_out[rows] = folds.index(fold)
    if not all(fold.images for fold in folds):
        raise DataError(
            f"{dataset.root}: --folds {shares.folds}: too few groups of images for so many; give fewer folds, or "
            "groups that are smaller"
        )
    return Folds(held_out, number)


@dataclass(eq=False)
class _Fold:
    """What a fold holds out so far: how many images and groups of each class."""

    images: Counter[int] = field(default_factory=Counter)
    groups: Counter[int] = field(default_factory=Counter)
    size: int = 0

    def crowded(self, group: Group, images: Counter[int]) -> tuple[float, int]:
        """How much of the group's classes it has, weighed by theirs in the group; then its size."""
        share = sum(count * self.images[label] / images[label] for label, count in group.counts.items())
        return round(share, 9), self.size

    def take(self, group: Group) -> None:
        self.images.update(group.counts)
        self.groups.update(group.counts.keys())
        self.size += len(group.paths)


def _order(group: Group, seed: int) -> tuple[int, str]:
    return -len(group.paths), storage.digest(["folds", str(seed), group.key])


def describe(dataset: Dataset, folds: Folds) -> Finding:
    """What was made, for the terminal and the report, and how even it is."""
    train = dataset.splits["train"]
    classes = len(dataset.classes)
    each = np.stack([np.bincount(train.labels[folds.rows(n)[1]], minlength=classes) for n in range(folds.count)])
    share = each / np.maximum(each.sum(axis=0), 1)
    share = share[:, each.sum(axis=0) > 0]
    text = (
        f"{folds.count} folds of {len(train):,} images, each with {share.min():.0%} to {share.max():.0%} of each "
        "class; folds.csv lists them"
    )
    groups = len(np.unique(folds.group))
    if groups < len(train):
        text += f"; the {groups:,} groups of images that belong together or look the same are whole"
    always = int((folds.held_out < 0).sum())
    if always:
        text += f"; {always:,} image(s) are always trained on: theirs is the one group of a class"
    return Finding("split", False, text, ())
