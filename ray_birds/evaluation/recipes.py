"""Recipes compared on the same images, all pairs at once: what is said holds of a winner picked afterwards.

A recipe's score of an image is the share of its seeds that have it right; with one seed, right or wrong. Its
accuracy is off for two reasons: other images, which all recipes share (the scores are paired), and other seeds.
Both are in the errors that are drawn here, with the correlations that the recipes have (max-T: T. Hothorn,
F. Bretz and P. Westfall, Simultaneous inference in general parametric models, Biometrical Journal 50, 2008). The
part of the seeds has a variance for each recipe, no less than that of all together, with the freedom that its own
few seeds leave: Welch's comparison, made one of all pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import special

from ray_birds.evaluation.metrics import ALPHA, Estimate, by_group, correction, score_interval

_DRAWS = 5_000
_NOTHING = 1e-12  # variance of an accuracy: less is rounding
_Z = float(special.ndtri(1 - ALPHA / 2))


class Difference(NamedTuple):
    """How much better one recipe is than another: the value with its interval, and p of their being equal.

    Interval and p count in that all pairs of recipes are compared. `images_needed` make the interval narrower than
    a margin, so that it says either "worse" or "as good"; None where no number does, since seeds differ too much.
    """

    estimate: Estimate
    p: float
    images_needed: float | None


@dataclass(frozen=True)
class SeedVariance:
    """Variance of accuracy from seed to seed: `pooled` over all recipes, and (k,) that assumed of `each`.

    Of the pooled one `sampling` would be there if all seeds gave equally good models too, since they err on
    different images. The variance by images holds it as well: it is counted twice, on the safe side. A recipe
    whose own seeds vary more than the pooled ones is taken at its word. `free` (k,) are the seeds of each less
    one; where all are 0 nothing is known.
    """

    pooled: float
    sampling: float
    each: np.ndarray
    free: np.ndarray

    @property
    def known(self) -> bool:
        return bool(self.free.any())

    @property
    def lasting(self) -> float:
        """The part that no number of images takes away."""
        return max(self.pooled - self.sampling, 0.0)

    def draws(self, random: np.random.Generator, number: int) -> np.ndarray:
        """(k, number) values that other seeds would have given for `each`; (k, 1) of 0 where nothing is known.

        Those of a recipe's own few seeds alone: how far these move it may differ from recipe to recipe, as it does
        between a head and the layers below. What is assumed of each is no less than the pooled one, all the same.
        """
        if not self.known:
            return np.zeros((len(self.free), 1))
        freedom = np.maximum(self.free, 1)[:, None]
        own = self.each[:, None] * random.chisquare(freedom, (len(self.free), number)) / freedom
        return np.where(self.free[:, None] > 0, own, self.free @ own / self.free.sum())


@dataclass(frozen=True)
class Recipes:
    """k recipes on n images: `scores` (k, n) float64 from 0 to 1, `seeds` (k,) int64 of each.

    Images of one of `groups`, (n,) int, are not independent; None where all are.
    """

    names: tuple[str, ...]
    scores: np.ndarray
    seeds: np.ndarray
    by_seed: SeedVariance
    groups: np.ndarray | None = None

    @property
    def images(self) -> int:
        return self.scores.shape[1]

    @cached_property
    def means(self) -> np.ndarray:
        """(k,) accuracies."""
        return self.scores.mean(axis=1)

    @cached_property
    def _variance(self) -> np.ndarray:
        """(k, k) covariances of the accuracies over other images."""
        sums = by_group(self.scores - self.means[:, None], self.groups)
        return sums @ sums.T * self._correction(sums) / self.images**2

    def _correction(self, sums: np.ndarray) -> float:
        return 1.0 if self.groups is None else correction(sums.shape[-1])

    @property
    def _seed_part(self) -> np.ndarray:
        """(k,) variances of the accuracies with other seeds."""
        return self.by_seed.each / self.seeds

    @cached_property
    def _draws(self) -> tuple[np.ndarray, np.ndarray]:
        """Errors of the accuracies (k, draws), and what is then taken for their seeds' part, that or (k, 1)."""
        random = np.random.default_rng(0)
        values, vectors = np.linalg.eigh(self._variance)
        root = vectors * np.sqrt(values.clip(min=0.0))
        errors = root @ random.standard_normal((len(self.names), _DRAWS))
        errors += random.standard_normal(errors.shape) * np.sqrt(self._seed_part)[:, None]
        by_seed = self.by_seed.draws(random, _DRAWS) / self.seeds[:, None]
        return errors.astype(np.float32), by_seed.astype(np.float32)

    @cached_property
    def _largest(self) -> np.ndarray:
        """(draws,) sorted: the largest studentised difference of any two recipes where all are equally good."""
        errors, by_seed = self._draws
        own = np.diag(self._variance)
        largest = np.zeros(_DRAWS, np.float32)
        for first in range(len(self.names) - 1):
            others = slice(first + 1, None)
            images = own[first] + own[others] - 2 * self._variance[first, others]
            spread = images.astype(np.float32)[:, None] + by_seed[first] + by_seed[others]
            spread[spread < _NOTHING] = np.inf  # of recipes that are right on the same images
            square = (errors[first] - errors[others]) ** 2 / spread
            np.maximum(largest, square.max(axis=0), out=largest)
        return np.sort(np.sqrt(largest))

    def difference(self, first: int, second: int, margin: float) -> Difference:
        """Accuracy of recipe number `first` less that of `second`; `margin` is a share, such as 0.01.

        Two images are added, one that each alone has right: of the simple intervals for paired proportions the
        one that also holds for few images (D. Bonett and R. Price, J. Educ. Behav. Stat. 37, 2012, 479-488).
        """
        paired = self.scores[first] - self.scores[second]
        images = self.images + 2
        centre = float(paired.sum()) / images
        sums = by_group(paired - centre, self.groups)
        spread = (float(sums @ sums) * self._correction(sums) + 2 + 2 * centre**2) / images
        seeds = float(self._seed_part[first] + self._seed_part[second])
        error = math.sqrt(spread / images + seeds)
        critical = max(self._quantile(self._largest, 1 - ALPHA), _Z)
        p = 1 - np.searchsorted(self._largest, abs(centre) / error) / (_DRAWS + 1)
        estimate = Estimate(float(paired.mean()), centre - critical * error, centre + critical * error)
        lasting = self.by_seed.lasting * float(1 / self.seeds[first] + 1 / self.seeds[second])
        # Narrower than the margin, an interval cannot hold both 0 and the margin.
        left = (margin / (2 * critical)) ** 2 - lasting
        needed = (spread + images * (seeds - min(lasting, seeds))) / left if left > 0 else None
        return Difference(estimate, float(p), needed)

    def best(self, number: int) -> Estimate:
        """Accuracy of recipe `number`, the best, with an interval that counts in that it was picked as the best.

        Its lower end holds for all recipes at once, for any of them might have been picked by good luck. The
        upper end needs no more than one recipe's: the recipe that is truly best is at least as good as this one,
        and scored no better than it.
        """
        errors, by_seed = self._draws
        spread = np.diag(self._variance)[:, None] + by_seed
        # One that has all images right shows no error, and still has one: it is taken for independent.
        ratio = np.random.default_rng(1).standard_normal(errors.shape, np.float32)
        np.divide(errors, np.sqrt(spread), out=ratio, where=spread > _NOTHING)
        high = self._quantile(np.sort(ratio[number]), 1 - ALPHA / 2) if self.by_seed.known else _Z
        low = self._quantile(np.sort(ratio.max(axis=0)), 1 - ALPHA / 2) if len(self.names) > 1 else high
        return self._interval(number, max(low, _Z), max(high, _Z))

    def _interval(self, number: int, low: float, high: float) -> Estimate:
        """Wilson's interval for the number of single images that would give as much certainty."""
        value = float(self.means[number])
        spread = float(self._variance[number, number] + self._seed_part[number])
        units = self.images if self.groups is None else len(np.unique(self.groups))
        images = value * (1 - value) / spread if spread > 0 else units
        return score_interval(value, images, low, high)

    @staticmethod
    def _quantile(values: np.ndarray, share: float) -> float:
        """The smallest of sorted `values` that is not below `share` of them."""
        return float(values[min(math.ceil(share * (len(values) + 1)), len(values)) - 1])


def recipes(names: Sequence[str], correct: Sequence[np.ndarray], groups: np.ndarray | None = None) -> Recipes:
    """From runs: `names` are those of their recipes, equal for runs that differ in seed alone; `correct` (n,)."""
    order = tuple(dict.fromkeys(names))
    runs = [np.stack([c for n, c in zip(names, correct, strict=True) if n == name]) for name in order]
    scores = np.stack([own.mean(axis=0) for own in runs])
    seeds = np.array([len(own) for own in runs])
    return Recipes(order, scores, seeds, _by_seed(runs), groups)


def _by_seed(runs: Sequence[np.ndarray]) -> SeedVariance:
    """From each recipe's (seeds, n) right and wrong."""
    free = np.array([len(own) - 1 for own in runs])
    if not free.any():
        return SeedVariance(0.0, 0.0, np.zeros(len(runs)), free)
    several = [own if len(own) > 1 else np.zeros((2, own.shape[1])) for own in runs]
    own = np.array([one.mean(axis=1).var(ddof=1) for one in several])
    by_image = np.array([one.var(axis=0, ddof=1).mean() / one.shape[1] for one in several])
    pooled = float(own @ free) / int(free.sum())
    return SeedVariance(pooled, float(by_image @ free) / int(free.sum()), np.maximum(own, pooled), free)
