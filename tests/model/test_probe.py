"""The converged head against scikit-learn's logistic regression, on the same features and penalty."""

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ray_birds.model import probe
from ray_birds.model.probe import Batch, Batches

pytestmark = pytest.mark.keras

CLASSES, SIZE = 12, 40
ALIKE = np.ones(CLASSES, np.float32)


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


def scikit(
    features: np.ndarray, labels: np.ndarray, penalty: float, weights: np.ndarray = ALIKE
) -> tuple[float, np.ndarray]:
    """Its mean weighted loss and (n, classes) probabilities, on features of mean square norm 1."""
    scale = 1 / np.sqrt((features.astype(float) ** 2).sum(axis=1).mean())
    model = LogisticRegression(C=1 / (penalty * len(labels)), tol=1e-7, max_iter=10_000)
    probabilities = model.fit(features.astype(float) * scale, labels, sample_weight=weights[labels]).predict_proba(
        features * scale
    )
    losses = -np.log(probabilities[np.arange(len(labels)), labels])
    return float((losses * weights[labels]).mean()), probabilities


@pytest.mark.parametrize("penalty", [1e-1, 1e-3, 1e-5])
def test_it_agrees_with_scikit_learn(penalty: float) -> None:
    features, labels = draw(1500, seed=1)
    loss, theirs = scikit(features, labels, penalty)
    solution = probe.Problem(batches(features, labels), ALIKE).solve(penalty)
    head = solution.head
    assert solution.loss == pytest.approx(loss, abs=1e-4)
    logits = features @ head.kernel + head.bias
    assert (logits.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.999
    assert probe.evaluate(head, batches(features, labels))[0] == pytest.approx(loss, abs=1e-4)


def test_from_strong_to_weak_it_ends_where_a_cold_start_does() -> None:
    train, valid = batches(*draw(800, seed=1)), batches(*draw(300, seed=2))
    warm = probe.solve(train, valid, ALIKE, penalties=(1e-1, 1e-2, 1e-3, 1e-4), patience=9).tried
    for tried in warm:
        cold = probe.Problem(train, ALIKE).solve(tried.penalty)
        assert tried.train_loss == pytest.approx(cold.loss, abs=1e-4)
    assert [tried.penalty for tried in warm] == [1e-1, 1e-2, 1e-3, 1e-4]


def test_features_that_are_read_anew_give_the_head_of_those_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held ones are turned to their principal axes once; for others, the head is turned each time."""
    features, labels = draw(800, seed=1)
    train, valid = batches(features, labels), batches(*draw(300, seed=2))
    held = probe.solve(train, valid, ALIKE)
    monkeypatch.setattr(probe, "HELD", 0)
    read = probe.solve(train, valid, ALIKE)
    assert read.penalty == held.penalty
    for one, other in zip(read.tried, held.tried, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=2e-3)
    ours, theirs = (features @ head.kernel + head.bias for head in (read.head, held.head))
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_the_best_penalty_on_valid_is_chosen_and_weaker_ones_are_left_out() -> None:
    train, valid = batches(*draw(200, seed=1)), batches(*draw(400, seed=2))
    found = probe.solve(train, valid, ALIKE)
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
        solution = probe.Problem(batches(features, labels), ALIKE).solve(1e-3)
        outcomes.append((solution.loss, features @ solution.head.kernel + solution.head.bias))
    for loss, logits in outcomes:
        assert loss == pytest.approx(outcomes[1][0], abs=1e-5)
        np.testing.assert_allclose(logits, outcomes[1][1], atol=0.02)


def test_features_on_few_axes_are_solved_as_scikit_learn_does() -> None:
    """Fewer images than features: most axes are empty, and the penalty's answer on them is 0."""
    features, labels = draw(30, seed=5)
    loss, theirs = scikit(features, labels, 1e-3)
    solution = probe.Problem(batches(features, labels), ALIKE).solve(1e-3)
    assert solution.loss == pytest.approx(loss, abs=1e-4)
    logits = features @ solution.head.kernel + solution.head.bias
    assert (logits.argmax(axis=1) == theirs.argmax(axis=1)).all()


def test_weights_of_classes_are_those_of_scikit_learn() -> None:
    features, labels = draw(1500, seed=1)
    labels = np.where(labels > 8, 0, labels)  # one class has four times as many as the others
    counts = np.bincount(labels, minlength=CLASSES)
    weights = (len(labels) / (9 * np.maximum(counts, 1))).astype(np.float32)
    loss, theirs = scikit(features, labels, 1e-3, weights)
    solution = probe.Problem(batches(features, labels), weights).solve(1e-3)
    assert solution.loss == pytest.approx(loss, abs=1e-4)
    logits = features @ solution.head.kernel + solution.head.bias
    assert (logits[:, :9].argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.999
    assert probe.evaluate(solution.head, batches(features, labels), weights)[0] == pytest.approx(loss, abs=1e-4)
    plain = probe.Problem(batches(features, labels), ALIKE).solve(1e-3).head
    recall = [(features[labels > 0] @ head.kernel + head.bias).argmax(axis=1) for head in (solution.head, plain)]
    balanced, unweighted = ((found == labels[labels > 0]).mean() for found in recall)
    assert balanced > unweighted + 0.01  # of the small classes
