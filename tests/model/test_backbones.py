"""Backbones: the article's numbers, the cut, and weights by path computing what weights by name do."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import h5py
import numpy as np
import pytest

from ray_birds.core.errors import ModelError, SettingsError
from ray_birds.model import backbones, cut, head
from ray_birds.model.cut import PIXELS, POOLED, CutPoint
from ray_birds.model.operations import multiply_adds
from ray_birds.sweep.factors import BACKBONES
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    import keras

pytestmark = pytest.mark.slow  # TensorFlow alone takes longer to import than the unit tier may
SIZE = 96
# Family -> its module in keras.applications.
MODULES = {
    "EfficientNetV2": "efficientnet_v2",
    "EfficientNetB": "efficientnet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3": "mobilenet_v3",
    "ConvNeXt": "convnext",
    "DenseNet": "densenet",
    "NASNet": "nasnet",
    "ResNet": "resnet_v2",
}


class Pair(NamedTuple):
    """One backbone twice, with the same weights: as Keras has it, on `scaled` pixels, and as ours, on pixels."""

    name: str
    plain: "keras.Model"
    scaled: Callable[[np.ndarray], np.ndarray]
    ours: "keras.Model"


def enliven(model: "keras.Model", batch: np.ndarray) -> "keras.Model":
    """Give random weights outputs of order 1: each BatchNorm gets the statistics of `batch`."""
    import keras

    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum, layer.trainable = 0.0, True
    model(batch, training=True)
    for layer in norms:
        layer.trainable = False
    return model


def images(count: int, size: int = SIZE) -> np.ndarray:
    """(count, size, size, 3) float32 0..255: smooth random colours."""
    import keras

    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (count, 8, 8, 3))
    return np.asarray(keras.ops.image.resize(coarse, (size, size), interpolation="bilinear"), np.float32)


def test_efficientnet_has_the_articles_parameters_and_trainable_layers() -> None:
    network = backbones.build("EfficientNetB0", "none", 224)
    model = head.classifier(network, CutPoint(PIXELS, (224, 224, 3)), 400)
    assert model.count_params() == 4_561_971
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == 512_400
    cut.freeze(network, 10)
    assert next(layer.name for layer in network.layers if layer.trainable) == "block7a_se_squeeze"
    assert len(model.trainable_variables) == 12
    assert cut.cut(network, 10) == CutPoint("block6d_add", (7, 7, 192))
    assert cut.cut(network, 100) == CutPoint("block5a_project_bn", (14, 14, 112))
    assert cut.cut(network, "all") == CutPoint(PIXELS, (224, 224, 3))
    assert cut.cut(network, 0) == CutPoint(POOLED, (1280,))


@pytest.fixture(scope="module", params=BACKBONES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Keras's application with lively weights, and ours from its weight file: made once for all tests."""
    import keras
    from keras import applications

    name = request.param
    family, _, width = name.partition("-")
    alpha = {"alpha": float(width)} if width else {}
    plain = getattr(applications, family)(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), **alpha)
    for layer in plain.layers:
        if layer.name.endswith("layer_scale"):  # 1e-6 at first, which hides all that a block computes
            layer.set_weights([np.ones_like(layer.get_weights()[0])])
    module = getattr(applications, MODULES[next(start for start in MODULES if family.startswith(start))])
    # Weights of "imagenet" want this division too; see backbones._load.
    spread = (
        np.sqrt([0.229, 0.224, 0.225], dtype=np.float32) if family.startswith("EfficientNetB") else np.float32(1)
    )

    def scaled(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(module.preprocess_input(pixels.copy())) / spread

    enliven(plain, scaled(images(16)))
    file = tmp_path_factory.mktemp(name) / "plain.weights.h5"
    plain.save_weights(file)
    yield Pair(name, plain, scaled, backbones.build(name, str(file), SIZE))
    keras.utils.clear_session(free_memory=True)


def test_every_backbone_can_be_cut_before_what_is_trained(pair: Pair) -> None:
    network = pair.ours
    assert network.input.shape[1:] == (SIZE, SIZE, 3)
    for depth in (1, 10, 50, 100):
        cut_point = cut.cut(network, depth)
        before = network.layers.index(network.get_layer(cut_point.name))
        assert before < len(network.layers) - depth
        assert cut_point.shape == tuple(network.get_layer(cut_point.name).output.shape[1:])


def test_every_backbone_computes_what_its_application_does_as_a_graph_of_layers(pair: Pair) -> None:
    """On pixels that keras.applications' own preprocess_input scales."""
    import keras

    assert pair.ours.operations == pair.ours.layers
    assert not [layer for layer in pair.ours.layers if isinstance(layer, keras.Model)]
    assert pair.ours.count_params() == pair.plain.count_params()
    pixels = images(2)
    wanted = np.asarray(pair.plain(pair.scaled(pixels), training=False))
    assert wanted.std() > 0.05
    np.testing.assert_allclose(pair.ours(pixels), wanted, rtol=1e-3, atol=1e-3 * wanted.std())


def _documented() -> dict[str, list[int]]:
    """Layers, parameters, features and multiply-adds of each backbone, as docs/extending.md has them."""
    text = (REPOSITORY / "docs/extending.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.-]+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", text, re.MULTILINE)
    return {name: [int(number.replace(",", "")) for number in numbers] for name, *numbers in rows}


@pytest.mark.parametrize("name", ["MobileNetV2-0.35", "MobileNetV3Large"])
def test_the_documentation_has_the_numbers_of_each_backbone(name: str) -> None:
    """Of two, built; the table was made for all in one go."""
    assert _documented().keys() == set(BACKBONES)
    network = backbones.build(name, "none", 224)
    counts = [len(network.layers), network.count_params(), network.output.shape[-1], multiply_adds(network)]
    assert _documented()[name] == counts


def test_tail_of_prefix_is_the_whole_model_in_value_and_gradient(pair: Pair) -> None:
    import keras
    import tensorflow as tf

    labels = np.array([0, 1, 2, 3])

    def gradients(model: "keras.Model", inputs: object) -> tuple[np.ndarray, list[np.ndarray]]:
        with tf.GradientTape() as tape:
            scores = model(inputs, training=False)
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, scores))
        return np.asarray(scores), [np.asarray(g) for g in tape.gradient(loss, model.trainable_variables)]

    network, x = pair.ours, images(4)
    whole = head.classifier(network, CutPoint(PIXELS, (SIZE, SIZE, 3)), 7)
    for depth in (10, 100) if pair.name == "EfficientNetB0" else (10,):
        cut_point = cut.cut(network, depth)
        tail = head.classifier(network, cut_point, 7)
        tail.get_layer("head").set_weights(whole.get_layer("head").get_weights())
        cut.freeze(network, depth)
        features = cut.prefix(network, [cut_point])(x)[cut_point.name]
        ours, our_gradients = gradients(tail, features)
        reference, reference_gradients = gradients(whole, x)
        np.testing.assert_allclose(ours, reference, rtol=1e-5)
        for one, other in zip(our_gradients, reference_gradients, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * max(np.abs(other).max(), 1e-6))


def test_more_layers_than_there_are_is_the_users_mistake() -> None:
    network = backbones.build("MobileNetV2-0.35", "none", SIZE)
    with pytest.raises(SettingsError, match="155 layers"):
        cut.freeze(network, 1000)


@pytest.mark.parametrize("name", ["ConvNeXtTiny", "DenseNet121", "MobileNetV3Large", "NASNetMobile"])
def test_layers_are_named_the_same_however_many_networks_came_before(name: str) -> None:
    """Names of cut points go into keys of stores that other processes read."""
    once, again = (backbones.build(name, "none", SIZE) for _ in range(2))
    assert [layer.name for layer in once.layers[1:]] == [layer.name for layer in again.layers[1:]]


def legacy_file(network: "keras.Model", path: Path) -> None:
    """Write weights in the HDF5 format of the files that Keras Applications downloads."""
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, network)


@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetV2B0", "MobileNetV2-0.35"])
def test_weights_by_path_compute_what_imagenet_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 96  # one of the sizes for which Keras has weights of MobileNetV2
    path = tmp_path / "downloaded_notop.h5"
    legacy_file(backbones.build(name, "none", size), path)
    # Only the download is replaced: Keras's own loader gets this file in place of the one it asks for.
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **options: str(path))
    by_name = enliven(backbones.build(name, "imagenet", size), images(16, size))
    legacy_file(by_name, path)
    by_path = backbones.build(name, str(path), size)
    reference = np.asarray(by_name(images(4, size)))
    assert reference.std() > 0.05
    np.testing.assert_allclose(by_path(images(4, size)), reference, rtol=1e-3, atol=1e-4 * reference.std())


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    network, path = backbones.build("MobileNetV2-0.35", "none", 96), tmp_path / "bad.weights.h5"
    network.weights[5].assign(np.full(network.weights[5].shape, np.inf))
    network.save_weights(path)
    with pytest.raises(ModelError, match=r"bad.weights.h5: has numbers that are not finite \(.+\)"):
        backbones.build("MobileNetV2-0.35", str(path), 96)


def test_weights_that_cannot_be_had_are_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        backbones.build("MobileNetV2-0.35", str(tmp_path / "nothing.h5"), SIZE)
    wrong = tmp_path / "wrong.weights.h5"
    backbones.build("MobileNetV2-1.0", "none", SIZE).save_weights(wrong)
    with pytest.raises(ModelError, match=r"not weights of MobileNetV2-0\.35"):
        backbones.build("MobileNetV2-0.35", str(wrong), SIZE)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    with pytest.raises(ModelError, match="--weights a weight file"):
        backbones.build("EfficientNetB0", "imagenet", SIZE)


def refuse(*args: object, **options: object) -> None:
    raise OSError("no network")
