"""Folded networks compute what they are made from, in fewer layers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ray_birds.model import backbones, cut
from ray_birds.model.classifier import opened
from ray_birds.model.cut import CutPoint
from ray_birds.model.folding import folded

if TYPE_CHECKING:
    import keras

pytestmark = pytest.mark.keras

_SIZE = 12


def _layers(*pairs: tuple[str, dict[str, Any], dict[str, Any]]) -> "keras.Model":
    """Layers of these kinds and options, each followed by batch normalisation with its options."""
    from keras import Input, Model, layers

    inputs = x = Input((_SIZE, _SIZE, 3), name="pixels")
    for kind, options, norm in pairs:
        x = layers.BatchNormalization(**norm)(getattr(layers, kind)(**options)(x))
        x = layers.Activation("relu")(x)
    return Model(inputs, x)


def _learned(network: "keras.Model") -> "keras.Model":
    """With weights, statistics above all, that do something."""
    rng = np.random.default_rng(0)
    for variable in network.weights:
        low, high = (0.5, 2.0) if "variance" in variable.path or "gamma" in variable.path else (-0.5, 0.5)
        if "seed" not in variable.path:
            variable.assign(rng.uniform(low, high, variable.shape))
    cut.freeze(network, 0)
    return network


def _norms(network: "keras.Model") -> int:
    import keras

    nested = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    return sum(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers) + sum(
        map(_norms, nested)
    )


def _images(size: int = _SIZE) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (4, size, size, 3)).astype(np.float32)


def _check_same(network: "keras.Model", other: "keras.Model", images: np.ndarray) -> None:
    expected, found = (np.asarray(each(images, training=False)) for each in (network, other))
    assert np.std(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Conv2D", {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same", "use_bias": False}),
        ("Conv2D", {"filters": 6, "kernel_size": 3, "groups": 3, "dilation_rate": 2}),
        ("DepthwiseConv2D", {"kernel_size": 3, "use_bias": False}),
        ("DepthwiseConv2D", {"kernel_size": 5, "depth_multiplier": 2, "strides": 2}),
        ("SeparableConv2D", {"filters": 4, "kernel_size": 3, "depth_multiplier": 2, "use_bias": False}),
        ("SeparableConv2D", {"filters": 4, "kernel_size": 3}),
        ("Dense", {"units": 7}),
    ],
)
@pytest.mark.parametrize("norm", [{}, {"scale": False, "axis": 3}, {"center": False, "epsilon": 0.1}])
def test_normalisation_goes_into_each_kind_of_layer(
    kind: str, options: dict[str, Any], norm: dict[str, Any]
) -> None:
    network = _learned(_layers((kind, options, norm)))
    found = folded(network)
    assert (_norms(network), _norms(found)) == (1, 0)
    assert len(found.layers) == len(network.layers) - 1
    _check_same(network, found, _images())


def test_what_cannot_take_it_in_is_left() -> None:
    from keras import Input, Model, layers

    inputs = Input((_SIZE, _SIZE, 3))
    active = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = layers.BatchNormalization()(active)
    x = layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3, padding="same")(x))
    x = layers.BatchNormalization()(layers.MaxPooling2D()(x))
    network = _learned(Model(inputs, x))
    found = folded(network)
    assert _norms(found) == _norms(network) == 3
    _check_same(network, found, _images())


def test_layers_that_are_trained_stay_and_are_trained() -> None:
    """Of either of the two: what is folded has weights of its own."""
    import keras
    import tensorflow as tf

    options = {"filters": 5, "kernel_size": 3, "padding": "same"}
    network = _learned(_layers(*3 * [("Conv2D", options, {})]))
    _, first, _, _, second, _, last, *_ = network.layers[1:]
    assert isinstance(first, keras.layers.BatchNormalization) and isinstance(
        second, keras.layers.BatchNormalization
    )
    last.trainable = second.trainable = True
    found, images = folded(network), _images()
    assert _norms(found) == 2
    _check_same(network, found, images)
    kept = list(network.trainable_variables)
    assert len(kept) == 4 and {id(one) for one in kept} == {id(one) for one in found.trainable_variables}
    ways = []
    for each in (network, found):
        with tf.GradientTape() as tape:
            total = tf.reduce_mean(each(images, training=False))
        ways.append(tape.gradient(total, [variable.value for variable in kept]))
    for one, other in zip(*ways, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_a_layer_that_others_read_too_stays_for_them() -> None:
    from keras import Input, Model, layers

    inputs = Input((_SIZE, _SIZE, 3))
    plain = layers.Conv2D(4, 3, name="plain")(inputs)
    twice = layers.BatchNormalization()(plain), layers.BatchNormalization()(plain)
    network = _learned(Model(inputs, layers.Concatenate()([plain, *twice])))
    found = folded(network)
    assert _norms(found) == 0
    _check_same(network, found, _images())


def test_networks_inside_are_folded_and_outputs_keep_their_names() -> None:
    from keras import Input, Model, layers

    inner = _layers(("Conv2D", {"filters": 5, "kernel_size": 3}, {}))
    inputs = Input((_SIZE, _SIZE, 3))
    x = inner(inputs, training=False)
    network = _learned(Model(inputs, {"map": x, "mean": layers.GlobalAveragePooling2D()(x)}))
    found = folded(network)
    assert _norms(found) == 0
    images = _images()
    expected, values = network(images, training=False), found(images, training=False)
    assert values.keys() == expected.keys()
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4)


def test_the_network_that_is_folded_stays_as_it_is() -> None:
    network = _learned(_layers(("Conv2D", {"filters": 5, "kernel_size": 3}, {})))
    before, images = [weight.numpy() for weight in network.weights], _images()
    expected = np.asarray(network(images))
    folded(network)
    assert _norms(network) == 1
    np.testing.assert_array_equal(np.asarray(network(images)), expected)
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_nothing_is_left_of_it_in_a_bundle(bundles: Path) -> None:
    network = opened(str(bundles / "bundle" / "model.keras"))
    assert _norms(network) > 0 and _norms(folded(network)) == 0


def test_the_output_before_a_normalisation_is_still_one() -> None:
    """A cut point may lie between a layer and what normalises it."""
    backbone = _learned(backbones.build("MobileNetV2-0.35", "none", 32))
    names = ("block_3_project", "block_3_project_BN", "block_6_expand_relu")
    points = [CutPoint(name, tuple(backbone.get_layer(name).output.shape[1:])) for name in names]
    network = cut.prefix(backbone, points)
    expected, values = network(_images(32)), folded(network)(_images(32))
    for name in names:
        np.testing.assert_allclose(
            values[name], expected[name], rtol=1e-3, atol=1e-3 * np.abs(expected[name]).max()
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["EfficientNetB0", "MobileNetV3Small", "ResNet50", "DenseNet121", "Xception", "ConvNeXtTiny"]
)
def test_backbones_of_all_kinds_compute_the_same(name: str) -> None:
    backbone = backbones.build(name, "none", 96)
    for variable in backbone.weights:
        if "moving_variance" in variable.path:
            variable.assign(np.random.default_rng(0).uniform(0.5, 2.0, variable.shape))
    found = folded(backbone)
    assert _norms(found) < max(1, _norms(backbone))
    _check_same(backbone, found, _images(96))
