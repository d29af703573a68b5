"""Heads by fold: an image's probabilities are not learned from its own label."""

import numpy as np
import pytest

from ray_birds.model import out_of_fold, probe

pytestmark = pytest.mark.keras


def drawn() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    features = random.normal(0, 1, (4, 16))[labels] + random.normal(0, 0.5, (100, 16))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float16), labels


def test_a_wrong_label_is_not_learned_by_the_head_that_judges_it() -> None:
    features, truth = drawn()
    given, folds = truth.copy(), np.arange(100) % 5
    given[::20] = (given[::20] + 1) % 4  # all in fold 0
    folds[99] = -1
    scores = out_of_fold.probabilities(features, given, folds, 0, 4)
    assert scores.shape == (20, 4) and np.abs(scores.sum(axis=1) - 1).max() < 1e-5
    own = folds == 0
    assert (scores.argmax(axis=1) == truth[own]).mean() > 0.9
    is_wrong = (given != truth)[own]
    assert scores[np.arange(20), given[own]][is_wrong].max() < 0.2


def test_large_features_are_read_again_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = drawn()
    folds = np.arange(100) % 5
    held = out_of_fold.probabilities(features, labels, folds, 1, 4)
    monkeypatch.setattr(probe, "HELD", 0)
    np.testing.assert_allclose(out_of_fold.probabilities(features, labels, folds, 1, 4), held, atol=2e-3)
