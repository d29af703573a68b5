"""The head on pooled features: of one norm where it is solved, as they are where it is trained by steps."""

import numpy as np
import pytest

from ray_birds.evaluation.temperature import apply
from ray_birds.model import head
from ray_birds.model.cut import POOLED, CutPoint

pytestmark = pytest.mark.keras


def scores(features: np.ndarray, *, unit: bool) -> np.ndarray:
    model = head.from_pooled(CutPoint(POOLED, (16,)), 3, unit=unit)
    kernel = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
    model.set_weights([kernel, np.zeros(3, np.float32)])
    found: np.ndarray = model(features).numpy()
    scaled = features / np.linalg.norm(features, axis=1, keepdims=True) * 4 if unit else features
    logits = scaled @ kernel
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-6)
    return found


def test_of_one_norm_a_brighter_image_is_no_surer() -> None:
    features = np.abs(np.random.default_rng(1).standard_normal((5, 16))).astype(np.float32)
    np.testing.assert_allclose(scores(features, unit=True), scores(7 * features, unit=True), rtol=1e-4)
    assert np.abs(scores(features, unit=False) - scores(7 * features, unit=False)).max() > 0.1


def test_an_image_without_features_gives_numbers() -> None:
    model = head.from_pooled(CutPoint(POOLED, (16,)), 3, unit=True)
    assert np.isfinite(model(np.zeros((1, 16), np.float32)).numpy()).all()


def test_a_temperature_goes_into_the_last_layer() -> None:
    features = np.random.default_rng(1).standard_normal((5, 16)).astype(np.float32)
    model = head.from_pooled(CutPoint(POOLED, (16,)), 3, unit=True)
    before = model(features).numpy()
    head.divide_logits(model, 2.5)
    np.testing.assert_allclose(model(features).numpy(), apply(before, 2.5), rtol=1e-5)
