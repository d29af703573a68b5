"""The cut, on a small real backbone: where it lies, what it leaves trainable, and that nothing is lost by it."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ray_birds.core.errors import SettingsError
from ray_birds.model import backbones, cut, head
from ray_birds.model.cut import PIXELS, POOLED, CutPoint
from ray_birds.sweep.factors import Depth
from tests.conftest import DRAWN_WEIGHTS

if TYPE_CHECKING:
    import keras

pytestmark = pytest.mark.keras

SIZE, CLASSES, LAYERS = 64, 5, 155
RAW = CutPoint(PIXELS, (SIZE, SIZE, 3))


@pytest.fixture(scope="module")
def network() -> "keras.Model":
    return backbones.build("MobileNetV2-0.35", DRAWN_WEIGHTS, SIZE)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """(4, SIZE, SIZE, 3) float32 0..255: coarse random colours."""
    coarse = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3))
    return coarse.repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2).astype(np.float32)


@pytest.mark.parametrize(
    ("depth", "point"),
    [
        (0, CutPoint(POOLED, (1280,))),
        (3, CutPoint("block_16_project_BN", (2, 2, 112))),
        (10, CutPoint("block_15_add", (2, 2, 56))),  # behind a residual block, not inside the next
        (50, CutPoint("block_10_project_BN", (4, 4, 32))),
        (100, CutPoint("block_5_add", (8, 8, 16))),
        ("all", RAW),
    ],
)
def test_the_cut_is_the_last_narrow_tensor_before_what_is_trained(
    network: "keras.Model", depth: Depth, point: CutPoint
) -> None:
    assert cut.cut(network, depth) == point


def test_flags_are_those_of_the_last_depth_whatever_came_before(network: "keras.Model") -> None:
    depths: tuple[Depth, ...] = (0, 10, 100, 10, "all", 3, 0)
    for depth in depths:
        cut.freeze(network, depth)
        count = LAYERS if depth == "all" else depth
        flags = [layer.trainable for layer in network.layers]
        assert flags == [False] * (LAYERS - count) + [True] * count
        expected = [v.path for layer in network.layers[LAYERS - count :] for v in layer.trainable_variables]
        assert [variable.path for variable in network.trainable_variables] == expected
    with pytest.raises(SettingsError, match="155 layers"):
        cut.freeze(network, LAYERS + 1)


@pytest.mark.parametrize("depth", [3, 10, 100])
def test_prefix_and_tail_are_the_whole_in_value_and_gradient(
    network: "keras.Model", images: np.ndarray, depth: int
) -> None:
    point = cut.cut(network, depth)
    whole, tail = head.classifier(network, RAW, CLASSES), head.classifier(network, point, CLASSES)
    tail.get_layer("head").set_weights(whole.get_layer("head").get_weights())
    cut.freeze(network, depth)
    features = cut.prefix(network, [point])(images)[point.name]
    assert tuple(features.shape[1:]) == point.shape and np.asarray(network(images)).std() > 0.05
    ours, our_gradients = gradients(tail, features)
    reference, reference_gradients = gradients(whole, images)
    np.testing.assert_allclose(ours, reference, rtol=1e-5)
    assert our_gradients.keys() == reference_gradients.keys() and len(our_gradients) > 2
    for name, wanted in reference_gradients.items():
        np.testing.assert_allclose(our_gradients[name], wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max())


def gradients(model: "keras.Model", inputs: object) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scores and the gradient of the loss by each trained variable, as a training step sees them."""
    import keras
    import tensorflow as tf

    with tf.GradientTape() as tape:
        scores = model(inputs, training=False)
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(np.arange(4), scores))
    found = tape.gradient(loss, model.trainable_variables)
    return np.asarray(scores), {
        v.path: np.asarray(g) for v, g in zip(model.trainable_variables, found, strict=True)
    }


def test_all_points_come_out_of_one_pass(network: "keras.Model", images: np.ndarray) -> None:
    depths: tuple[Depth, ...] = (0, 10, 100)
    points = [cut.cut(network, depth) for depth in depths]
    together = cut.prefix(network, points)(images)
    assert together.keys() == {point.name for point in points}
    for point in points:
        alone = np.asarray(cut.prefix(network, [point])(images)[point.name])
        np.testing.assert_allclose(together[point.name], alone, rtol=1e-5, atol=1e-6)


def test_features_of_an_image_do_not_depend_on_its_neighbours(network: "keras.Model", images: np.ndarray) -> None:
    """BatchNorm in inference mode: what makes a store of them exact."""
    points = [cut.cut(network, 0), cut.cut(network, 100)]
    frozen = cut.prefix(network, points)
    together = frozen(images, training=False)
    alone = frozen(images[2:3], training=False)
    for name, rows in together.items():
        np.testing.assert_allclose(alone[name][0], rows[2], rtol=1e-4, atol=1e-5)
