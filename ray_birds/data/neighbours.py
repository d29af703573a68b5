"""Images that lie much closer to each other than to their neighbourhood: perhaps copies that hashing misses.

Crops, other brightness and borders change a perceptual hash, and pooled features less. How close two different
images may lie depends on the images: so a pair counts by the ratio of its distance to that at which the tenth
neighbour of either lies, as D. Lowe matches local features ("Distinctive Image Features from Scale-Invariant
Keypoints", IJCV 60, 2004), and not by a distance. benchmarks/duplicates.py measures what this finds.
"""

from typing import NamedTuple

import numpy as np

NEAREST = 10  # neighbours looked at
MOST = 200_000  # images: all are compared with all
RATIO = 0.4  # of distances, one minus the cosine
_BLOCK = 1 << 26  # cosines at a time


class Nearest(NamedTuple):
    """The NEAREST neighbours of some images, or all others where there are fewer: (m, k) float32 cosines from high
    to low, and (m, k) int64 rows."""

    cosines: np.ndarray
    rows: np.ndarray


def nearest(features: np.ndarray, start: int, end: int) -> Nearest:
    """Of the rows from `start` to `end` of features (n, d), each of norm 1, among all n."""
    total = len(features)
    count = min(NEAREST, total - 1)
    every = np.asarray(features, np.float32)
    found = []
    step = max(1, _BLOCK // total)
    for first in range(start, end, step):
        last = min(first + step, end)
        cosines = every[first:last] @ every.T
        cosines[np.arange(last - first), np.arange(first, last)] = -2  # itself
        rows = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        close = np.take_along_axis(cosines, rows, axis=1)
        order = np.argsort(-close, axis=1, kind="stable")
        found.append((np.take_along_axis(close, order, axis=1), np.take_along_axis(rows, order, axis=1)))
    cosines, rows = (np.concatenate(column) for column in zip(*found, strict=True))
    return Nearest(cosines, rows.astype(np.int64))


def pairs(near: Nearest) -> np.ndarray:
    """(m, 2) int64 rows i < j of all images, the closest pairs for their neighbourhood first.

    There are none where no image has NEAREST neighbours: so few say nothing of what is close.
    """
    if near.rows.shape[1] < NEAREST:
        return np.empty((0, 2), np.int64)
    around = np.maximum(1 - near.cosines[:, -1], np.finfo(np.float32).eps)
    own = np.repeat(np.arange(len(near.rows)), NEAREST)
    other = near.rows.ravel()
    ratio = (1 - near.cosines.ravel()) / np.minimum(around[own], around[other])
    close = np.flatnonzero(ratio < RATIO)
    both = np.sort(np.stack([own[close], other[close]], axis=1), axis=1)
    unique, first = np.unique(both, axis=0, return_index=True)
    return unique[np.argsort(ratio[close][first], kind="stable")]
