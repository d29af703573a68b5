"""Recall class by class, before and after training went further: how classes of few training images fare."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ray_birds.evaluation import metrics
from ray_birds.evaluation.metrics import Estimate

UNEVEN = 2  # times as many training images in the largest class as in the smallest


class Recall(NamedTuple):
    """Of one class: images that were trained on, images that were scored, recall before and after."""

    name: str
    trained: int
    images: int
    before: Estimate
    after: Estimate


@dataclass(frozen=True)
class Recalls:
    """Of the classes that have images on valid, those with the fewest training images first.

    `before` and `after` are the names of the two trials. With `folds` the images are those that these held out.
    """

    before: str
    after: str
    classes: tuple[Recall, ...]
    folds: int = 0

    @property
    def on(self) -> str:
        return "held-out" if self.folds else "valid"

    @property
    def sentence(self) -> str:
        least, most = (one.trained for one in (self.classes[0], self.classes[-1]))
        return (
            f"Classes are uneven: from {least:,} to {most:,} training images. Recall on {self.on} images, before: "
            f"of {self.before}, the head on the frozen backbone alone; after: of {self.after}, which was chosen "
            "on these images, so that its recall is a little too high on average."
        )


def uneven(trained: Sequence[int]) -> bool:
    """Whether training images, by class, are so uneven that overall accuracy hides the small classes."""
    return len(trained) > 0 and max(trained) >= UNEVEN * min(trained)


def by_class(
    names: Sequence[str], trained: Sequence[int], labels: np.ndarray, before: np.ndarray, after: np.ndarray
) -> tuple[Recall, ...]:
    """From the classes' names and training images, and labels and predictions (n,) of the same images."""
    scored = [metrics.per_class(metrics.confusion(labels, each, len(names)), names) for each in (before, after)]
    found = [
        Recall(one.name, count, one.support, one.recall, other.recall)
        for count, one, other in zip(trained, *scored, strict=True)
        if one.support
    ]
    return tuple(sorted(found, key=lambda one: (one.trained, one.name)))
