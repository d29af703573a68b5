"""Splits that a data set does not have, taken from train: seeded, class by class, copies and groups kept together.

Which images are taken depends on their content alone, so that a file added to a class moves few others.
"""

import dataclasses
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data.dataset import Dataset
from ray_birds.data.findings import alike
from ray_birds.data.inspection import Finding, ImageRecord


@dataclass(frozen=True)
class Shares:
    """Which share of each class's training images a missing split takes; 0: none is made.

    With `folds` no valid split is made: these take its place.
    """

    valid: float
    test: float
    seed: int
    folds: int = 0

    def missing(self, dataset: Dataset) -> tuple[str, ...]:
        """The splits that are to be made of this data set."""
        wanted = {"valid": not self.folds, "test": self.test > 0}
        return tuple(name for name, make in wanted.items() if make and name not in dataset.splits)


def make(dataset: Dataset, records: dict[str, ImageRecord], shares: Shares) -> Dataset:
    """`dataset` with its missing splits. Raises DataError where no class has an image to spare for valid.

    Each class gives its share, rounded, but one image at least while one is left for training; of two images
    the second goes to valid, and test gets none. Groups and copies stay whole, the shares as even as that allows.
    """
    chosen: dict[str, set[str]] = {}
    groups = whole_groups(dataset, records)
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


def describe(dataset: Dataset, made: tuple[str, ...], shares: Shares) -> Finding:
    """What was made, for the terminal and the report; where groups are kept whole, how even that leaves it."""
    counts = " and ".join(f"{len(dataset.splits[name]):,} for {name}" for name in made)
    text = f"{' and '.join(made)} made from train/: {counts}; splits.csv lists them"
    if dataset.groups:
        text += "; groups are whole, so " + " and ".join(_evenness(dataset, name, made, shares) for name in made)
    return Finding("split", False, text, ())


def _evenness(dataset: Dataset, name: str, made: tuple[str, ...], shares: Shares) -> str:
    counts = {
        split: np.bincount(dataset.splits[split].labels, minlength=len(dataset.classes))
        for split in ("train", *made)
    }
    share = counts[name] / np.maximum(sum(counts.values()), 1)
    without = int((counts[name] == 0).sum())
    none = f", {without:,} class(es) none" * bool(without)
    asked = getattr(shares, name)
    return f"{name} has {share.min():.0%} to {share.max():.0%} of each class ({asked:.0%} asked{none})"


@dataclass(frozen=True)
class Group:
    """Training images that stay together: copies, and those of a group. `key` is the smallest of their digests.

    `counts` says how many there are of each class. It is not `free` to leave train where another split has one of
    these images or of their group.
    """

    counts: Counter[int]
    key: str
    paths: tuple[str, ...]
    free: bool


def whole_groups(dataset: Dataset, records: dict[str, ImageRecord]) -> list[Group]:
    """The training images by what must stay together, which is all of them."""
    paths = [path for split in dataset.splits.values() for path in split.paths]
    train = dataset.splits["train"]
    labels = dict(zip(train.paths, train.labels.tolist(), strict=True))
    numbers = alike([records[path] for path in paths], [dataset.groups.get(path, "") for path in paths])
    members: dict[int, list[str]] = defaultdict(list)
    for path, number in zip(paths, numbers.tolist(), strict=True):
        members[number].append(path)
    found = []
    for same in members.values():
        ours = tuple(path for path in same if path in labels)
        if ours:
            key = min(records[path].digest for path in ours)
            counts = Counter(labels[path] for path in ours)
            found.append(Group(counts, key, ours, len(ours) == len(same)))
    return found


def _choose(groups: list[Group], taken: set[str], name: str, share: float, seed: int) -> set[str]:
    """Paths for the split `name`: class by class, those of the fewest groups first, until each has its share.

    They come in the order of a keyed digest of content, and last those larger than a share, by size. A group that
    brings too much is passed over, but for the first of a class.
    """
    total: Counter[int] = Counter()
    for group in groups:
        total.update(group.counts)
    wanted = {label: max(1, round(share * count)) for label, count in total.items()}
    left = [group for group in groups if group.paths[0] not in taken]
    staying = Counter(label for group in left for label in group.counts)  # groups of each class for training
    free: dict[int, list[Group]] = {label: [] for label in total}
    for group in sorted(left, key=lambda group: _order(group, wanted, name, seed)):
        for label in group.counts if group.free else ():
            free[label].append(group)
    chosen: set[str] = set()
    got: Counter[int] = Counter()
    for label in sorted(free, key=lambda label: (len(free[label]), label)):
        for group in free[label]:
            if got[label] >= wanted[label]:
                break
            goes = group.paths[0] not in chosen and all(staying[other] > 1 for other in group.counts)
            if goes and (not got[label] or _brings_closer(group.counts, got, wanted)):
                chosen.update(group.paths)
                got.update(group.counts)
                staying.subtract(group.counts.keys())
    return chosen


def _order(group: Group, wanted: dict[int, int], name: str, seed: int) -> tuple[int, str]:
    fits = all(count <= wanted[label] for label, count in group.counts.items())
    return 0 if fits else len(group.paths), storage.digest([name, str(seed), group.key])


def _brings_closer(counts: Counter[int], got: Counter[int], wanted: dict[int, int]) -> bool:
    """Whether a split is as close to what is `wanted` of each class, or closer, with these images too."""
    return sum(abs(got[k] + n - wanted[k]) - abs(got[k] - wanted[k]) for k, n in counts.items()) <= 0
