"""What an image costs: cross-entropy or focal loss on logits, smoothed labels, and weights of uneven classes."""

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

Kind = Literal["cross_entropy", "focal"]

FOCUS = 2.0  # gamma of Lin et al., "Focal loss for dense object detection", 2017
BETA = 0.999  # of Cui et al.: some thousand images say all there is to say of a class


def per_image(
    labels: "tf.Tensor", logits: "tf.Tensor", kind: Kind = "cross_entropy", smoothing: float = 0.0
) -> "tf.Tensor":
    """(B,) float32 losses of (B, classes) logits for (B,) int labels; `smoothing` of each label goes to all."""
    import tensorflow as tf

    classes = tf.shape(logits)[1]
    log_probabilities = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    right = tf.gather(log_probabilities, labels, batch_dims=1)
    losses = -(1 - smoothing) * right
    if smoothing:
        losses -= smoothing / tf.cast(classes, tf.float32) * tf.reduce_sum(log_probabilities, axis=1)
    if kind == "focal":
        losses *= (1 - tf.exp(right)) ** FOCUS
    return losses


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) float32 weights of images by class, whose mean over the images is 1.

    Inversely to the effective number of a class's images, (1 - BETA^n) / (1 - BETA) of n (Cui et al.,
    "Class-balanced loss based on effective number of samples", 2019): for some hundred images nearly 1 / n.
    A mean of 1 keeps the loss on its scale, and with it the learning rates that suit.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = 1 / (1 - BETA ** np.maximum(counts, 1))
    return (weights * len(labels) / (weights @ counts)).astype(np.float32)
