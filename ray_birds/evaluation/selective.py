"""Which predictions to act on: those at least as probable as a threshold, and what it guarantees of them.

Selective classification with guaranteed risk (Y. Geifman, R. El-Yaniv, Selective Classification for Deep Neural
Networks, NIPS 2017), its search over thresholds by fixed-sequence testing (A. Angelopoulos et al., Learn then
Test: Calibrating Predictive Algorithms to Achieve Risk Control, 2021), which pays nothing for their number: from
strict to loose each one is tested at the full level, and the first that fails ends it.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special

from ray_birds.core import arrays
from ray_birds.evaluation.metrics import ALPHA, wilson

THRESHOLDS = (
    np.arange(100) / 100
)  # of the prediction's probability; fixed, for chosen by the images they would bend
TARGETS = (0.8, 0.9, 0.95, 0.98, 0.99)  # accuracies that card and metrics.json speak of
_COLUMNS = {"probability": ("float32", 1), "right": ("bool", 1), "distance": ("float32", 1)}


def at_least(right: np.ndarray | int, images: np.ndarray | int, level: float = ALPHA) -> np.ndarray:
    """The accuracy that is exceeded with confidence 1 - `level` where `right` of `images` are: one-sided, exact.

    C. Clopper, E. Pearson, The use of confidence or fiducial limits, Biometrika 26, 1934.
    """
    right, images = np.asarray(right), np.asarray(images)
    return np.where(right > 0, special.betaincinv(np.maximum(right, 1), images - right + 1, level), 0.0)


@dataclass(frozen=True)
class Curve:
    """Coverage against accuracy, of labelled images: (100,) int64 `accepted` at each of THRESHOLDS, and `right`.

    `models` is how many were compared on these images before this one was chosen: what is said holds of all of
    them at once (a union bound), and so of the one that was picked.
    """

    accepted: np.ndarray
    right: np.ndarray
    models: int = 1

    @property
    def level(self) -> float:
        """At which each threshold is tested."""
        return ALPHA / self.models

    def threshold(self, target: float) -> float | None:
        """The lowest threshold at which accuracy is at least `target` with 95 % confidence; None where none is.

        Tests begin at the strictest threshold that accepts enough images to pass with one mistake. Each is exact:
        given how many images a fixed threshold accepts, those that are right are binomial. A wrong threshold comes
        out in 5 % of the draws at most, where accuracy does not fall with the probability; where it may, still if
        enough images are accepted above the first threshold that misses the target.
        """
        enough = special.bdtr(1, self.accepted, 1 - target) <= self.level
        passes = special.bdtrc(self.right - 1, self.accepted, target) <= self.level
        found = None
        for number in np.flatnonzero(enough)[::-1]:
            if not passes[number]:
                break
            found = float(THRESHOLDS[number])
        return found

    @property
    def highest(self) -> float | None:
        """The highest target, in steps of a hundredth, that some threshold reaches."""
        targets = (number / 100 for number in range(99, 0, -1))
        return next((target for target in targets if self.threshold(target) is not None), None)

    def at(self, threshold: float) -> dict[str, Any]:
        """Of these images, at one of THRESHOLDS: coverage, accuracy and what it is at least, for metrics.json."""
        number = int(np.argmin(np.abs(threshold - THRESHOLDS)))
        accepted, right = int(self.accepted[number]), int(self.right[number])
        return {
            "images": int(self.accepted[0]),
            "accepted": accepted,
            "accuracy": wilson(right, accepted).to_json(),
            "at_least": float(at_least(right, accepted, self.level)),
        }


def curve(probability: np.ndarray, right: np.ndarray, models: int = 1) -> Curve:
    """From images: `probability` (n,) of their predictions, `right` (n,) bool; `models` as in Curve."""
    order = np.argsort(probability)
    first = np.searchsorted(np.asarray(probability, np.float32)[order], THRESHOLDS.astype(np.float32))
    below = np.concatenate([[0], np.cumsum(np.asarray(right, np.int64)[order])])
    return Curve(len(order) - first, below[-1] - below[first], models)


@dataclass(frozen=True)
class Known:
    """Labelled images that a model was chosen by, as it sees them: what thresholds are told from.

    These are (n,): `probability` float32 of the prediction, `right` bool, `distance` float32 from what it was
    trained on (`ood.Reference.distance`), NaN where that is not known. It was chosen among `models` by these
    images.
    """

    probability: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    right: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    distance: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    models: int = 1

    def curve(self, percentile: float = 100) -> Curve:
        """That of the images that are no further away than so many percent of them."""
        near = self.percentile(self.distance) <= percentile
        return curve(self.probability[near], self.right[near], self.models)

    def percentile(self, distance: np.ndarray) -> np.ndarray:
        """(m,) float32: how many percent of these images are no further away than `distance` (m,); 0 for none."""
        known = np.sort(self.distance[~np.isnan(self.distance)])
        places = np.searchsorted(known, distance, side="right")  # of NaN behind all
        return (100 * places / max(len(known), 1)).astype(np.float32)

    def to_bytes(self) -> bytes:
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return arrays.to_bytes(columns | {"models": np.array(self.models, np.int64)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Known":
        """What `to_bytes` wrote. Raises ValueError where it is something else."""
        columns = arrays.from_bytes(data, _COLUMNS | {"models": ("int64", 0)})
        models = int(columns.pop("models"))
        if len({len(column) for column in columns.values()}) > 1 or models < 1:
            raise ValueError("columns of different lengths")
        return cls(**columns, models=models)


def summary(valid: Curve, test: Curve | None) -> dict[str, Any]:
    """Per target: the threshold that `valid` gives, and what it does on both; `test` had no say in it.

    For metrics.json, null where no threshold reaches the target.
    """
    return {f"{target:g}": _at(valid.threshold(target), valid, test) for target in TARGETS}


def _at(threshold: float | None, valid: Curve, test: Curve | None) -> dict[str, Any] | None:
    if threshold is None:
        return None
    return {"threshold": threshold, "valid": valid.at(threshold)} | ({"test": test.at(threshold)} if test else {})
