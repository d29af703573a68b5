"""Accuracy on images that the model has not seen, apart from that on copies of its training images."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_birds.evaluation.metrics import Estimate, wilson


@dataclass(frozen=True)
class HeldOut:
    """Labelled images of `name`, such as test: how many, how many were named right, and both of those seen.

    Seen are images that have a copy where they should not: `copy` says which and where.
    """

    name: str
    images: int
    right: int
    seen: int
    seen_right: int
    copy: str = "copy in train"

    @property
    def unseen(self) -> int:
        return self.images - self.seen

    @property
    def accuracy(self) -> Estimate:
        """That of the unseen images, which alone is a headline; NaN where there are none."""
        return wilson(self.right - self.seen_right, self.unseen)

    @property
    def of_all(self) -> Estimate:
        return wilson(self.right, self.images)

    @property
    def of_seen(self) -> Estimate:
        return wilson(self.seen_right, self.seen)

    @property
    def sentence(self) -> str:
        """The accuracy of the unseen images, and of how many the accuracy would not be fair."""
        if not self.seen:
            return f"Of the {self.images:,} {self.name} images {said(self.accuracy, self.images)} are named right."
        if not self.unseen:
            return (
                f"All {self.images:,} {self.name} images have a {self.copy}: that {share(self.of_all.value, 0)} "
                "are named right says nothing of new images."
            )
        return (
            f"Of the {self.unseen:,} {self.name} images that have no {self.copy} "
            f"{said(self.accuracy, self.unseen)} are named right. {self.seen:,} of {self.images:,} "
            f"{'has one and does' if self.seen == 1 else 'have one and do'} not count; with "
            f"{'it' if self.seen == 1 else 'them'} it would be {share(self.of_all.value, self.images)}."
        )

    def to_json(self) -> dict[str, Any]:
        """For metrics.json: images, copies_in_train, accuracy_without_copies."""
        return {
            "images": self.images,
            "copies_in_train": self.seen,
            "accuracy_without_copies": self.accuracy.to_json(),
        }


def held_out(name: str, correct: np.ndarray, seen: np.ndarray | None = None) -> HeldOut:
    """From images: `correct` (n,) bool; `seen` (n,) bool, those that have a copy in train; by default none."""
    correct = np.asarray(correct, bool)
    seen = np.zeros(len(correct), bool) if seen is None else np.asarray(seen, bool)
    counts = (correct, seen, correct & seen)
    right, copies, both = (int(np.count_nonzero(one)) for one in counts)
    return HeldOut(name, len(correct), right, copies, both)


def copied(paths: Sequence[str], copies: Iterable[str]) -> np.ndarray:
    """(n,) bool: which of `paths` are among the `copies`."""
    known = set(copies)
    return np.array([path in known for path in paths], bool)


def share(value: float, images: float) -> str:
    """As percent, with as many digits as so many images bear."""
    return "–" if math.isnan(value) else f"{100 * value:.{2 if images >= 1000 else 1}f} %"


def said(estimate: Estimate, images: float) -> str:
    """`69.2 % (95 % interval 63.4 to 74.5 %)`."""
    if math.isnan(estimate.low):
        return f"{share(estimate.value, images)} (no interval)"
    low = share(estimate.low, images).removesuffix(" %")
    return f"{share(estimate.value, images)} (95 % interval {low} to {share(estimate.high, images)})"
