"""Out of distribution: how far an image lies from those that a model was trained on, by its pooled features.

The distance is one minus the cosine between them and the nearest class mean (T. Mensink et al., Distance-Based
Image Classification, PAMI 2013); the cosine leaves out how long features are, which says how bright an image is.
Tried beside it (benchmarks/unknown.py): Mahalanobis with one shrunk covariance (K. Lee et al., 2018), the nearest
training image (Y. Sun et al., 2022). Both need megabytes more, and tell strangers no better.
"""

from dataclasses import dataclass, field

import numpy as np

from ray_birds.core import arrays

SAMPLE = 5000  # training images that class means are made of; with more they hardly move
_ARRAYS = {"centres": ("float16", 2)}


@dataclass(frozen=True)
class Reference:
    """`centres` (classes, d) float16: the mean features of each class with the norm 1; none where not known."""

    centres: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float16))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """(n, d) features -> (n,) float32, from 0 to 2."""
        return 1 - (_unit(features) @ self.centres.T.astype(np.float32)).max(axis=1)

    def to_bytes(self) -> bytes:
        return arrays.to_bytes({"centres": self.centres})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Reference":
        """What `to_bytes` wrote. Raises ValueError where it is something else."""
        found = cls(**arrays.from_bytes(data, _ARRAYS))
        if not np.isfinite(found.centres).all():
            raise ValueError("class means that are not finite")
        return found


def fit(features: np.ndarray, labels: np.ndarray) -> Reference:
    """From training images: (n, d) features and (n,) labels. A class without an image has no centre."""
    means = [features[labels == label].mean(axis=0) for label in np.unique(labels)]
    return Reference(_unit(np.stack(means)).astype(np.float16))


def sample(labels: np.ndarray, seed: int, most: int = SAMPLE) -> np.ndarray:
    """(n,) bool: which of so many images to fit on, all or `most`; of each class as many as can be."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), np.int64)  # of an image in its class
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    chosen = np.zeros(len(labels), bool)
    chosen[order[np.argsort(rank[order], kind="stable")[:most]]] = True
    return chosen


def _unit(features: np.ndarray) -> np.ndarray:
    """(n, d) float32 of norm 1; what is 0 stays 0."""
    features = np.asarray(features, np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)
