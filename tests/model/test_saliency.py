"""Where a model looks, on networks of which the right place is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ray_birds.model import bundle, classifier, cut, head, saliency
from ray_birds.model.bundle import Bundle
from ray_birds.sweep.factors import Variant
from tests.conftest import CLASSES

SIZE, SIDE = 48, 12
COLOURS = np.array([(230, 60, 60), (60, 230, 60), (60, 60, 230)])

pytestmark = pytest.mark.slow


def squares(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise with a square of the class's colour somewhere: pixels uint8, labels (n,), masks (n, SIZE, SIZE)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(CLASSES), count)
    pixels = random.normal(128, 30, (count, SIZE, SIZE, 3))
    masks = np.zeros((count, SIZE, SIZE), bool)
    for number, (row, column) in enumerate(random.integers(0, SIZE - SIDE, (count, 2))):
        masks[number, row : row + SIDE, column : column + SIDE] = True
        pixels[number][masks[number]] = COLOURS[labels[number]] + random.normal(0, 20, (SIDE**2, 3))
    return pixels.clip(0, 255).astype(np.uint8), labels, masks


def saved(uri: Path, pool: Callable[[object], object], *, unit: bool, epochs: int = 0) -> Bundle:
    """A bundle of a small network that tells the squares apart, once it is trained."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIZE, SIZE, 3), name=cut.PIXELS)
    tensor = layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    for filters in (16, 32):
        tensor = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(tensor)
    model = keras.Model(pixels, head.head(pool(tensor), len(CLASSES), unit=unit))
    if epochs:
        images, labels, _ = squares(256, 0)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.optimizer.learning_rate = 3e-3
        model.fit(images.astype("float32"), labels, 32, epochs, verbose=0)
        model = keras.Model(model.input, model.output)  # without its optimizer
    bundle.save(model, str(uri), CLASSES, Variant(image_size=SIZE), lambda path: bundle.Measured({}))
    return bundle.verify(str(uri))


def average(tensor: object) -> object:
    from keras import layers

    return layers.GlobalAveragePooling2D()(tensor)


def test_the_heat_lies_on_the_square_that_decides(tmp_path: Path) -> None:
    model = saved(tmp_path / "best", average, unit=True, epochs=12)
    pixels, labels, masks = squares(40, 1)
    assert (classifier.load(model)(pixels).argmax(axis=1) == labels).mean() > 0.95
    heat = saliency.heat(model, pixels, labels)
    assert heat is not None and heat.shape == (40, 12, 12) and heat.dtype == np.float32
    assert heat.min() == 0 and (heat.max(axis=(1, 2)) == 1).all()
    # A part counts as hit where its receptive field of 7 pixels may touch the square.
    near = np.pad(masks, ((0, 0), (4, 4), (4, 4)))
    hit = np.zeros_like(masks)
    for shift in np.ndindex(9, 9):
        hit |= near[:, shift[0] : shift[0] + SIZE, shift[1] : shift[1] + SIZE]
    parts = hit.reshape(40, 12, 4, 12, 4).any(axis=(2, 4))
    assert parts.mean() < 0.25  # of the image
    assert (heat * parts).sum() / heat.sum() > 0.9
    hottest = heat.reshape(40, -1).argmax(axis=1)
    assert parts.reshape(40, -1)[np.arange(40), hottest].all()


def test_it_is_what_gradients_give(tmp_path: Path) -> None:
    """Grad-CAM as it is defined: the mean gradient of a class's score weighs each channel of the last map."""
    import keras
    import tensorflow as tf

    model = saved(tmp_path / "best", average, unit=False)
    pixels, labels, _ = squares(6, 2)
    network = classifier.network(model)
    pool = next(layer for layer in network.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    below, last = keras.Model(network.input, [pool.input, pool.output]), network.layers[-1]
    with tf.GradientTape() as tape:
        images = tf.constant(pixels, tf.float32)
        tape.watch(images)
        maps, features = below(images)
        logits = features @ last.kernel + last.bias
        score = tf.gather(logits, labels, batch_dims=1) - tf.reduce_mean(logits, axis=1)
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
    expected = np.asarray(tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)))
    expected = expected / expected.max(axis=(1, 2), keepdims=True)
    heat = saliency.heat(model, pixels, labels)
    assert heat is not None and np.ptp(expected) == 1
    np.testing.assert_allclose(heat, expected, atol=1e-5)


def test_a_network_without_a_map_has_none(tmp_path: Path) -> None:
    from keras import layers

    def tokens(tensor: object) -> object:
        return layers.GlobalAveragePooling1D()(layers.Reshape((-1, 32))(tensor))

    model = saved(tmp_path / "best", tokens, unit=False)
    assert saliency.heat(model, squares(2, 0)[0], np.array([0, 1])) is None
