"""What is learned of a data set's files by reading them: types, and the fingerprint of a split; no Ray."""

import dataclasses
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ray_birds.core import storage
from ray_birds.data import seen
from ray_birds.data.dataset import Dataset, Split
from ray_birds.evaluation.suspects import Suspects


class ImageRecord(NamedTuple):
    """What decoding a file tells; the hexadecimal perceptual hashes (see near_duplicates) may be left out.

    `taken` are the seconds of the camera's clock since 1970, None where the file does not say or was not asked.
    """

    digest: str
    error: str
    width: int
    height: int
    format: str
    constant: bool
    codes: str
    taken: float | None = None
    camera: str = ""


class Finding(NamedTuple):
    """One line of `text` on a `kind` of fault; each of `groups` holds the paths that belong together."""

    kind: str
    blocking: bool
    text: str
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Judgement:
    """What the features of all readable images say of their labels; rows are numbers of `paths`, of all splits.

    `labels` (n,) int64 are those given. `typical` are rows of images of each class that is suggested. `unjudged`
    is the number of images without which no model would know their class. `close` (m, 2) are pairs that may be
    copies, None where images were too many to look.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    suspects: Suspects
    typical: dict[int, np.ndarray]
    unjudged: int
    close: np.ndarray | None


@dataclass(frozen=True)
class Folds:
    """Of n training images, in their order: `held_out` (n,) int64 by which fold, from 0, and -1 where by none; the
    `group` (n,) int64 that each belongs to, alone or with others."""

    held_out: np.ndarray
    group: np.ndarray

    @property
    def count(self) -> int:
        return int(self.held_out.max(initial=-1)) + 1

    def rows(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the images that the models of a fold learn from, and of those that it holds out."""
        return np.flatnonzero(self.held_out != fold), np.flatnonzero(self.held_out == fold)

    def tested(self, train: Split) -> Split:
        """The images that some fold holds out, all of which a variant predicts once; in the place of valid."""
        return dataclasses.replace(train.select(self.held_out >= 0), name="valid")


class BadImage(NamedTuple):
    split: str
    path: str
    reason: str


@dataclass(frozen=True)
class Inspection:
    """What a sweep learns of its data before it starts.

    `dataset` is without unreadable files, and with the splits that were `made` from train. A fingerprint covers
    path, label, number and content of every image that is left. `copies` are the images of each other split that
    have a copy in train, or of test in valid; `seen` lists all of train and of valid, which choose the model.
    `folds` are of train.
    """

    dataset: Dataset
    bad: tuple[BadImage, ...]
    fingerprints: dict[str, str]
    made: tuple[str, ...]
    findings: tuple[Finding, ...]
    copies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seen: np.ndarray = field(default_factory=lambda: seen.NONE, compare=False)
    folds: Folds | None = field(default=None, compare=False)


def fingerprint(data: Dataset, name: str, records: dict[str, ImageRecord]) -> str:
    split = data.splits[name]
    numbers = [f"{n}:{label}" for n, label in zip(split.numbers, split.labels, strict=True)]
    return storage.digest([*split.paths, *numbers, *(records[path].digest for path in split.paths)])
