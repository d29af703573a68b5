"""Labels that are probably wrong, by the probabilities of models that did not learn from them: confident learning.

C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70,
2021, with pruning by class. An image is counted for class j where its probability of j is at least the mean
probability of j among the images labelled j; of several such classes for the most probable. The share of the
images labelled i that is counted for other classes is the share of wrong labels there; as many of them are
suspect, those whose label is the least probable. So a class that models find hard is held to what they are sure
of there, and not to one number for all classes.
"""

from typing import NamedTuple

import numpy as np


class Suspects(NamedTuple):
    """Images whose label is suspect, the most suspicious first: their `rows` (m,) int64, the class that is
    `suggested` (m,) int64 instead, and the probabilities (m,) of the label given and of that."""

    rows: np.ndarray
    suggested: np.ndarray
    of_given: np.ndarray
    of_suggested: np.ndarray


def find(probabilities: np.ndarray, labels: np.ndarray) -> Suspects:
    """From (n, classes) out-of-fold probabilities and (n,) labels; the least probable label comes first.

    What a model takes for the class that it is labelled as is no suspect. Tried beside this order (benchmarks/
    suspects.py): by how much more probable another class is, which finds fewer among the first.
    """
    rows, classes = np.arange(len(labels)), probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    of_given = probabilities[rows, labels].astype(np.float64)
    wrong = np.rint(_shares_wrong(probabilities, labels, of_given, counts) * counts).astype(np.int64)
    order = np.lexsort((of_given, labels))
    rank = np.empty(len(labels), np.int64)  # of an image among those of its label
    rank[order] = rows - np.repeat(np.cumsum(counts) - counts, counts)
    suggested = probabilities.argmax(axis=1)
    found = np.flatnonzero((rank < wrong[labels]) & (suggested != labels))
    found = found[np.argsort(of_given[found], kind="stable")]
    of_suggested = probabilities[found, suggested[found]].astype(np.float64)
    return Suspects(found, suggested[found], of_given[found], of_suggested)


def _shares_wrong(
    probabilities: np.ndarray, labels: np.ndarray, of_given: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """(classes,) float64: how many of the images labelled as each are of another, by the confident joint."""
    # A class without an image says nothing of what to expect of one: none is counted for it.
    expected = np.where(counts, np.bincount(labels, of_given, len(counts)) / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= expected, probabilities, -1)
    counted_for = confident.argmax(axis=1)
    is_counted = confident[np.arange(len(labels)), counted_for] >= 0
    total = np.bincount(labels[is_counted], minlength=len(counts))
    other = np.bincount(labels[is_counted & (counted_for != labels)], minlength=len(counts))
    return other / np.maximum(total, 1)


def typical(
    probabilities: np.ndarray, labels: np.ndarray, classes: np.ndarray, each: int
) -> dict[int, np.ndarray]:
    """Rows of up to `each` images of each of the `classes`, those whose label is the most probable."""
    of_given = probabilities[np.arange(len(labels)), labels]
    found = {}
    for label in np.unique(classes).tolist():
        members = np.flatnonzero(labels == label)
        found[label] = members[np.argsort(-of_given[members], kind="stable")[:each]]
    return found


def folds(labels: np.ndarray, groups: np.ndarray, count: int, classes: int) -> np.ndarray:
    """(n,) int64: the fold of each image, from 0: `groups` (n,) whole, classes as even as that leaves them.

    -1 for those without which no model would know their class: it cannot judge them.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    several = order[sizes[group[order]] > 1]
    members = np.split(several[np.argsort(group[several], kind="stable")], np.cumsum(sizes[sizes > 1])[:-1])
    fold, held = np.zeros(len(labels), np.int64), np.zeros((count, classes), np.int64)
    for rows in sorted((rows for rows in members if len(rows)), key=len, reverse=True):
        fold[rows] = np.lexsort((held.sum(axis=1), held[:, labels[rows]].sum(axis=1)))[0]
        np.add.at(held, (fold[rows], labels[rows]), 1)
    alone = order[sizes[group[order]] == 1]
    for label in np.unique(labels[alone]).tolist():
        rows = alone[labels[alone] == label]
        # The lowest free places of the folds, as water fills a vessel; of equal ones those of the smallest fold.
        levels = held[:, label, None] + np.arange(len(rows))
        size = np.broadcast_to(held.sum(axis=1)[:, None], levels.shape)
        fold[rows] = np.lexsort((size.ravel(), levels.ravel()))[: len(rows)] // len(rows)
        held[:, label] += np.bincount(fold[rows], minlength=count)
    elsewhere = held.sum(axis=0) - held
    return np.where(elsewhere[fold, labels] > 0, fold, -1)
