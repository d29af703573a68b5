"""Probabilities of images by heads that did not learn from them: those of a fold by a head solved on the others.

The penalty is the one that is best for the fold held out: a single number, which no label of it can sway much.
"""

from collections.abc import Iterator

import numpy as np

from ray_birds.model import probe
from ray_birds.model.probe import Batch, Batches

_PENALTIES = probe.PENALTIES[::2]  # each a tenth of the one before: which one it is hardly moves who is suspect
_ROWS = 1024  # of features at a time


def probabilities(
    features: np.ndarray, labels: np.ndarray, folds: np.ndarray, fold: int, classes: int
) -> np.ndarray:
    """(m, classes) float32 of the m images of a fold, in order.

    From features (n, d) of one norm, labels (n,) and the fold of each image (n,); -1 is none: learned from always.
    """
    others, own = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
    held_out = _batches(features, labels, own)
    alike = np.ones(classes, np.float32)
    head = probe.solve(_batches(features, labels, others), held_out, alike, _PENALTIES).head
    return np.concatenate([_softmax(rows @ head.kernel + head.bias) for rows, _ in held_out()])


def _batches(features: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Batches:
    parts = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]

    def make() -> Iterator[Batch]:
        for part in parts:
            yield features[part].astype(np.float32), labels[part].astype(np.int32)

    return make


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
