"""Losses against Keras's own, and weights of uneven classes by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ray_birds.model import losses

LOGITS = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32) * 3
LABELS = np.arange(9, dtype=np.int32) % 5
ONE_HOT = np.eye(5, dtype=np.float32)[LABELS]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_is_that_of_keras(smoothing: float) -> None:
    theirs = keras.losses.categorical_crossentropy(ONE_HOT, LOGITS, from_logits=True, label_smoothing=smoothing)
    ours = losses.per_image(tf.constant(LABELS), tf.constant(LOGITS), smoothing=smoothing)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_focal_loss_is_that_of_keras() -> None:
    loss = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, from_logits=True, reduction=None)
    ours = losses.per_image(tf.constant(LABELS), tf.constant(LOGITS), "focal")
    np.testing.assert_allclose(ours, loss(ONE_HOT, LOGITS), rtol=1e-4, atol=1e-6)


def test_an_image_that_is_certainly_wrong_still_has_a_gradient() -> None:
    logits = tf.Variable([[60.0, -60.0]])
    with tf.GradientTape() as tape:
        loss = losses.per_image(tf.constant([1]), logits)
    assert loss.numpy() == pytest.approx([120])
    np.testing.assert_allclose(tape.gradient(loss, logits), [[1, -1]])


def test_weights_are_of_the_effective_number_and_one_on_average() -> None:
    labels = np.repeat([0, 1, 2], [1, 100, 5000])
    weights = losses.class_weights(labels, 3)
    effective = [(1 - 0.999**n) / 0.001 for n in (1, 100, 5000)]
    np.testing.assert_allclose(weights * effective, weights[0] * effective[0], rtol=1e-5)
    assert weights[labels].mean() == pytest.approx(1, rel=1e-5)


def test_even_classes_and_one_that_has_no_image() -> None:
    assert losses.class_weights(np.array([0, 1, 0, 1]), 3)[:2] == pytest.approx([1, 1])
