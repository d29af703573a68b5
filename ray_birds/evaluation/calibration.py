"""How far a model's certainty can be believed: images by certainty, the error, and what chance makes."""

import math
from dataclasses import dataclass

import numpy as np

from ray_birds.evaluation.metrics import ALPHA

_BINS = 60  # of certainty
_DRAWS = 5000  # fewer leave the 5 % itself off by a point


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


@dataclass(frozen=True)
class Calibration:
    """How sure a model is beside how often it is right, of `images` images.

    `error` is the expected calibration error. A perfectly calibrated model would show `by_chance` on average with
    as many images, and more than `by_chance_high` in 5 % of the cases.
    """

    images: int
    certainty: float
    accuracy: float
    error: float
    by_chance: float
    by_chance_high: float

    @property
    def off(self) -> bool:
        """Whether the error is more than chance makes."""
        return self.error > self.by_chance_high

    @property
    def sentences(self) -> tuple[str, ...]:
        if not self.images:
            return ("No image is labelled: nothing is known of its certainty.",)
        if self.images == 1:
            return ("One image tells nothing of its certainty.",)
        gap = 100 * (self.certainty - self.accuracy)
        direction = f"{'over' if gap > 0 else 'under'}confident by {abs(gap):.1f} points"
        if abs(gap) < 0.05:
            direction = "neither over- nor underconfident"
        verdict = (
            f"That is more than chance: its certainty is off, on average {direction}."
            if self.off
            else "That is no more than chance: these images do not show that its certainty is off."
        )
        return (
            f"On average it says {100 * self.certainty:.1f} % and is right in {100 * self.accuracy:.1f} % of "
            f"{self.images:,} images.",
            f"Its expected calibration error is {self.error:.3f}; a perfect model would show {self.by_chance:.3f} "
            f"with as many images, and up to {self.by_chance_high:.3f} in 95 % of the cases.",
            verdict,
        )


def calibrate(seen: Certainty, bins: int = 15) -> Calibration:
    """All that is said of a model's certainty; NaN for no images.

    What chance makes is drawn, with a seed: each image is right with the probability that the model gave it, to
    the nearest sixtieth of certainty.
    """
    total = int(seen.images.sum())
    if not total:
        return Calibration(0, *[math.nan] * 5)
    share = np.divide(seen.probability, seen.images, out=np.zeros(_BINS), where=seen.images > 0).clip(0, 1)
    right = np.random.default_rng(0).binomial(seen.images, share, (_DRAWS, _BINS))
    gaps = (seen.probability - right).reshape(_DRAWS, bins, -1).sum(axis=2)
    chance = np.abs(gaps).sum(axis=1) / total
    return Calibration(
        total,
        float(seen.probability.sum() / total),
        float(seen.right.sum() / total),
        calibration_error(seen, bins),
        float(chance.mean()),
        float(np.quantile(chance, 1 - ALPHA)),
    )
