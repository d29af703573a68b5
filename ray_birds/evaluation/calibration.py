"""How far a model's certainty can be believed: images by certainty, and the expected calibration error."""

import math
from dataclasses import dataclass

import numpy as np

_BINS = 60  # of certainty


@dataclass(frozen=True)
class Certainty:
    """Images by the probability of their prediction, in equal bins from 0 to 1; sets of images add up.

    All are (n,): `images` and `right` their numbers, `probability` the sum of their probabilities.
    """

    images: np.ndarray
    right: np.ndarray
    probability: np.ndarray

    def __add__(self, other: "Certainty") -> "Certainty":
        return Certainty(
            self.images + other.images, self.right + other.right, self.probability + other.probability
        )

    def bins(self, number: int) -> "Certainty":
        """The same in fewer bins; `number` divides that of the bins there are."""
        columns = (self.images, self.right, self.probability)
        return Certainty(*(column.reshape(number, -1).sum(axis=1) for column in columns))


def certainty(probability: np.ndarray, correct: np.ndarray) -> Certainty:
    """`probability` (n,) is that of the prediction, `correct` (n,) bool; in 60 bins, for 10, 15 or 20."""
    place = np.clip((np.asarray(probability, dtype=np.float64) * _BINS).astype(int), 0, _BINS - 1)
    images = np.bincount(place, minlength=_BINS)
    right = np.bincount(place[np.asarray(correct, dtype=bool)], minlength=_BINS)
    return Certainty(images, right, np.bincount(place, probability, _BINS))


def calibration_error(seen: Certainty, bins: int = 15) -> float:
    """Expected calibration error: how far certainty and accuracy lie apart, by equal bins of certainty.

    NaN for no images. C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    total = seen.images.sum()
    seen = seen.bins(bins)
    return float(np.abs(seen.probability - seen.right).sum() / total) if total else math.nan
