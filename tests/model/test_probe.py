"""The converged head against scikit-learn's logistic regression, on the same features and penalty."""

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ray_birds.model import probe
from ray_birds.model.probe import Batch, Batches

CLASSES, SIZE = 12, 40


def draw(count: int, seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Features as a backbone gives them: not negative, correlated, of very different sizes; classes overlap."""
    fixed = np.random.default_rng(0)
    centres, mixing = fixed.standard_normal((CLASSES, SIZE)), fixed.standard_normal((SIZE, SIZE))
    sizes = np.geomspace(1, 0.01, SIZE)
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count).astype(np.int32)
    inner = centres[labels] * 0.6 + random.standard_normal((count, SIZE))
    return (scale * np.maximum(inner @ mixing * sizes + 0.5, 0)).astype(np.float32), labels


def batches(features: np.ndarray, labels: np.ndarray, size: int = 128) -> Batches:
    def make() -> Iterator[Batch]:
        for start in range(0, len(labels), size):
            part = slice(start, start + size)
            yield features[part], labels[part]

    return make


def scikit(features: np.ndarray, labels: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    """Its mean loss and (n, classes) probabilities, on features of mean square norm 1."""
    scale = 1 / np.sqrt((features.astype(float) ** 2).sum(axis=1).mean())
    model = LogisticRegression(C=1 / (penalty * len(labels)), tol=1e-7, max_iter=10_000)
    probabilities = model.fit(features.astype(float) * scale, labels).predict_proba(features * scale)
    return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean()), probabilities


@pytest.mark.parametrize("penalty", [1e-1, 1e-3, 1e-5])
def test_it_agrees_with_scikit_learn(penalty: float) -> None:
    features, labels = draw(1500, seed=1)
    loss, theirs = scikit(features, labels, penalty)
    solution = probe.Problem(batches(features, labels), CLASSES).solve(penalty)
    head = solution.head
    assert solution.loss == pytest.approx(loss, abs=1e-4)
    logits = features @ head.kernel + head.bias
    assert (logits.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.999
    assert probe.evaluate(head, batches(features, labels))[0] == pytest.approx(loss, abs=1e-4)


def test_from_strong_to_weak_it_ends_where_a_cold_start_does() -> None:
    train, valid = batches(*draw(800, seed=1)), batches(*draw(300, seed=2))
    warm = probe.solve(train, valid, CLASSES, penalties=(1e-1, 1e-2, 1e-3, 1e-4), patience=9).tried
    for tried in warm:
        cold = probe.Problem(train, CLASSES).solve(tried.penalty)
        assert tried.train_loss == pytest.approx(cold.loss, abs=1e-4)
    assert [tried.penalty for tried in warm] == [1e-1, 1e-2, 1e-3, 1e-4]


def test_the_best_penalty_on_valid_is_chosen_and_weaker_ones_are_left_out() -> None:
    train, valid = batches(*draw(200, seed=1)), batches(*draw(400, seed=2))
    found = probe.solve(train, valid, CLASSES)
    losses = [tried.valid_loss for tried in found.tried]
    best = int(np.argmin(losses))
    assert found.penalty == found.tried[best].penalty
    assert len(losses) == best + 1 + probe.PATIENCE < len(probe.PENALTIES)
    assert probe.evaluate(found.head, valid)[0] == pytest.approx(losses[best], abs=1e-3)


def test_the_scale_of_the_features_makes_no_difference() -> None:
    """Backbones with random weights put out features of size 1e-6; float16 stores end at 65504."""
    outcomes = []
    for scale in (1e-4, 1.0, 1e4):
        features, labels = draw(600, seed=4, scale=scale)
        solution = probe.Problem(batches(features, labels), CLASSES).solve(1e-3)
        outcomes.append((solution.loss, features @ solution.head.kernel + solution.head.bias))
    for loss, logits in outcomes:
        assert loss == pytest.approx(outcomes[1][0], abs=1e-5)
        np.testing.assert_allclose(logits, outcomes[1][1], atol=0.02)


def test_features_on_few_axes_are_solved_as_scikit_learn_does() -> None:
    """Fewer images than features: most axes are empty, and the penalty's answer on them is 0."""
    features, labels = draw(30, seed=5)
    loss, theirs = scikit(features, labels, 1e-3)
    solution = probe.Problem(batches(features, labels), CLASSES).solve(1e-3)
    assert solution.loss == pytest.approx(loss, abs=1e-4)
    logits = features @ solution.head.kernel + solution.head.bias
    assert (logits.argmax(axis=1) == theirs.argmax(axis=1)).all()
