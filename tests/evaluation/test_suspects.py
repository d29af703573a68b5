"""Confident learning: by hand on a few images, on planted mistakes, and the folds that its probabilities need."""

import numpy as np
import pytest

from ray_birds.evaluation import suspects


def test_by_hand() -> None:
    """Expected of class 0 are 0.6 (mean of 0.9, 0.8, 0.1), of class 1 0.8. Of three labelled 0 one is counted for
    1: a third of them is suspect, the one whose label is the least probable. What is labelled 1 is counted for it.
    """
    of_first = np.array([0.9, 0.8, 0.1, 0.3, 0.1])
    labels = np.array([0, 0, 0, 1, 1])
    found = suspects.find(np.stack([of_first, 1 - of_first], axis=1), labels)
    assert found.rows.tolist() == [2] and found.suggested.tolist() == [1]
    assert found.of_given.tolist() == pytest.approx([0.1]) and found.of_suggested.tolist() == pytest.approx([0.9])


def drawn(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of a model that is right four times of five, true labels, and those with a tenth swapped."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, count)
    logits = random.normal(0, 1, (count, classes))
    logits[np.arange(count), truth] += 3
    powers = np.exp(logits)
    given = truth.copy()
    wrong = random.permutation(count)[: count // 10]
    given[wrong] = (given[wrong] + random.integers(1, classes, len(wrong))) % classes
    return powers / powers.sum(axis=1, keepdims=True), truth, given


def test_planted_mistakes_are_found_and_come_first() -> None:
    scores, truth, given = drawn(2000, 8, 0)
    found = suspects.find(scores, given)
    is_wrong = truth != given
    assert is_wrong[found.rows[:100]].mean() > 0.95
    assert is_wrong[found.rows].sum() > 0.8 * is_wrong.sum() and len(found.rows) < 2 * is_wrong.sum()
    assert (found.suggested == truth[found.rows])[:100].mean() > 0.9
    assert (np.diff(found.of_given) >= 0).all() and (found.suggested != given[found.rows]).all()


def test_for_a_class_without_an_image_none_is_counted() -> None:
    """Nothing says what to expect of it, however probable a model makes it."""
    scores, _, given = drawn(300, 4, 1)
    given[given == 3] = 2
    with np.errstate(all="raise"):
        found = suspects.find(scores, given)
    assert 3 in scores.argmax(axis=1) and len(found.rows) < 60 and np.isfinite(found.of_suggested).all()


def test_labels_without_a_mistake_have_no_suspect() -> None:
    labels = np.repeat(np.arange(3), 5)
    assert not len(suspects.find(np.eye(3, dtype=np.float32)[labels], labels).rows)


def test_typical_images_are_those_whose_label_is_most_probable() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
    found = suspects.typical(scores, np.array([0, 0, 0, 1]), np.array([0, 1, 0]), 2)
    assert {label: rows.tolist() for label, rows in found.items()} == {0: [0, 2], 1: [3]}


def test_folds_are_even_and_keep_groups_whole() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 6, 900)
    groups = np.where(random.random(900) < 0.5, np.arange(900) + 1000, random.integers(0, 60, 900))
    folds = suspects.folds(labels, groups, 5, 6)
    assert all(len(set(folds[groups == group].tolist())) == 1 for group in np.unique(groups))
    counts = np.array([np.bincount(labels[folds == fold], minlength=6) for fold in range(5)])
    assert np.ptp(counts, axis=0).max() <= 2 and counts.sum() == 900


def test_folds_are_even_where_classes_have_fewer_images_than_there_are_folds() -> None:
    labels = np.repeat(np.arange(10), 4)
    folds = suspects.folds(labels, np.arange(40), 5, 10)
    assert np.bincount(folds).tolist() == [8] * 5
    assert all(len(set(folds[labels == label].tolist())) == 4 for label in range(10))


def test_an_image_is_in_no_fold_where_no_other_would_teach_its_class() -> None:
    labels = np.array([0, 0, 0, 0, 1, 2, 2, 2])
    groups = np.array([0, 1, 2, 3, 4, 5, 5, 5])
    folds = suspects.folds(labels, groups, 3, 3)
    # Fold 0 has the group of three.
    assert (folds[labels > 0] == -1).all() and sorted(folds[labels == 0].tolist()) == [0, 1, 1, 2]
