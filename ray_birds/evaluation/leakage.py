"""Accuracy on images that the model has not seen, apart from that on copies of its training images."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_birds.core.text import are, have
from ray_birds.evaluation.metrics import Estimate, wilson

COPY = "copy or look-alike in train or valid"  # by hashing, of what a model learned from or was chosen by
COPY_IN_TRAIN = "copy or look-alike in train"


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
    copy: str

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
        if not self.unseen:
            if self.images == 1:
                right = "right" if self.right else "wrong"
                says = f"that it is named {right} says nothing of new images."
                return f"The only {self.name} image has a {self.copy}: {says}"
            return (
                f"All {self.images:,} {self.name} images have a {self.copy}: that {share(self.of_all.value, 0)} "
                "are named right says nothing of new images."
            )
        which = f" that {have(self.unseen)} no {self.copy}" if self.seen else ""
        of = f"Of the {self.unseen:,} {self.name} {'image' if self.unseen == 1 else 'images'}{which} "
        headline = f"{of}{said(self.accuracy, self.unseen)} {are(self.unseen)} named right."
        return f"{headline} {left_out(self.seen, self.images, self.of_all.value)}" if self.seen else headline

    def to_json(self) -> dict[str, Any]:
        """For metrics.json, beside the scores of the others: how many were seen, and their accuracy."""
        return {"seen": {"images": self.seen, "accuracy": self.of_seen.to_json()}}


def held_out(name: str, correct: np.ndarray, seen: np.ndarray | None = None) -> HeldOut:
    """From images of a split: `correct` (n,) bool; `seen` (n,) bool, those that have a copy in train, or for
    test in valid; by default none."""
    correct = np.asarray(correct, bool)
    seen = np.zeros(len(correct), bool) if seen is None else np.asarray(seen, bool)
    counts = (correct, seen, correct & seen)
    right, copies, both = (int(np.count_nonzero(one)) for one in counts)
    return HeldOut(name, len(correct), right, copies, both, COPY if name == "test" else COPY_IN_TRAIN)


def left_out(copies: int, images: int, whole: float) -> str:
    """That so many copies do not count, of `images` with them; `whole` is the accuracy of all."""
    one = copies == 1
    return (
        f"{copies:,} of {images:,} {'has one and does' if one else 'have one and do'} not count; with "
        f"{'it' if one else 'them'} it would be {share(whole, images)}."
    )


def copied(paths: Sequence[str], copies: Iterable[str]) -> np.ndarray:
    """(n,) bool: which of `paths` are among the `copies`."""
    known = set(copies)
    return np.array([path in known for path in paths], bool)


def counted(seen: np.ndarray) -> np.ndarray:
    """(n,) bool: the images that scores are of, those not `seen` (n,) bool; or all, where there are no others."""
    return np.ones(len(seen), bool) if seen.all() else ~seen


def share(value: float, images: float) -> str:
    """As percent, with as many digits as so many images bear."""
    return "–" if math.isnan(value) else f"{100 * value:.{2 if images >= 1000 else 1}f} %"


def said(estimate: Estimate, images: float) -> str:
    """`69.2 % (95 % interval 63.4 to 74.5 %)`."""
    if math.isnan(estimate.low):
        return f"{share(estimate.value, images)} (no interval)"
    low = share(estimate.low, images).removesuffix(" %")
    return f"{share(estimate.value, images)} (95 % interval {low} to {share(estimate.high, images)})"
