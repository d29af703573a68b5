"""The temperature: found where it was planted, left alone where images do not show it."""

import numpy as np
import pytest

from ray_birds.evaluation import temperature
from ray_birds.evaluation.temperature import Temperature, apply, fit, log_loss


def drawn(images: int, planted: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from honest probabilities, and what a model says whose logits are `planted` times too large."""
    random = np.random.default_rng(seed)
    logits = 2 * random.standard_normal((images, 5))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (honest.cumsum(axis=1) < random.random((images, 1))).sum(axis=1)
    return apply(honest, 1 / planted).astype(np.float32), labels


@pytest.mark.parametrize("planted", [0.5, 1.7, 4.0])
def test_a_planted_temperature_is_found(planted: float) -> None:
    probabilities, labels = drawn(20_000, planted)
    found = fit(probabilities, labels)
    assert found.value == pytest.approx(planted, rel=0.05) and found.images == 20_000
    measured = found.measured(apply(probabilities, found.value), labels)
    assert measured["calibration"]["calibration_error"] < 0.02 < measured["uncalibrated"]["calibration_error"]
    assert measured["uncalibrated"]["log_loss"] == pytest.approx(log_loss(probabilities, labels), rel=1e-5)
    assert measured["calibration"]["log_loss"] < measured["uncalibrated"]["log_loss"]
    assert ("less" if planted > 1 else "more") + " certain" in found.sentence


def test_an_honest_model_is_left_alone_in_all_but_5_percent() -> None:
    changed = [fit(*drawn(150, 1.0, seed)).value != 1 for seed in range(400)]
    assert 0.01 < np.mean(changed) < 0.09


def test_few_images_show_nothing_and_it_says_so() -> None:
    found = fit(*drawn(6, 1.3))
    assert found == Temperature(1.0, 6) and "as training left them: 6 valid images" in found.sentence
    assert fit(np.zeros((0, 3)), np.zeros(0, int)) == Temperature(1.0, 0)


def test_it_moves_no_prediction_and_certain_mistakes_are_no_error() -> None:
    probabilities, labels = drawn(500, 3.0)
    for value in (0.1, 10.0):
        assert (apply(probabilities, value).argmax(axis=1) == probabilities.argmax(axis=1)).all()
    sure = np.eye(5, dtype=np.float32)[(labels + 1) % 5]
    found = fit(sure, labels)
    assert np.isfinite(found.value) and found.value > 10
    assert np.isfinite(temperature.log_loss(sure, labels))
