"""Pretrained Keras backbones by name, taking raw 0..255 pixels; where to cut them into prefix and tail.

`prefix` is what stays frozen and is computed once, `tail` what a variant trains: tail(prefix(x)) is the
backbone. Both share the backbone's layers. A cut is named by the layer whose output crosses it (a *tap*).
"""

import importlib.metadata
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ray_birds.config import Depth
from ray_birds.core import storage
from ray_birds.core.errors import ModelError, SettingsError

if TYPE_CHECKING:
    import keras

PIXELS = "pixels"  # the tap before the first layer: the picture itself
POOLED = "pooled"  # the tap after the last: global average pooling of the feature map, what the head reads

# A tap may be this much larger than the narrowest one before the boundary if it lies later: less is stored
# than at the boundary itself, and less computed again than from the narrowest.
_WIDER = 2.0


@dataclass(frozen=True)
class Tap:
    """A tensor that can be stored for each image: its name and shape without the batch."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """What a sweep must know of a backbone before it starts: a tap for each depth, and names for the report."""

    name: str
    layers: int
    parameters: int
    pooled: Tap
    taps: dict[Depth, Tap]
    trainable: dict[Depth, list[str]]  # names of the layers that have weights and are trained at each depth


def describe(name: str, weights: str, image_size: int, depths: tuple[Depth, ...]) -> Description:
    _grow_memory()
    model = build(name, weights, image_size)
    taps = {depth: cut(model, depth) for depth in depths}
    trainable = {}
    for depth in depths:
        freeze(model, depth)
        trainable[depth] = [layer.name for layer in model.layers if layer.trainable_weights]
    return Description(name, len(model.layers), model.count_params(), cut(model, 0), taps, trainable)


def use_threads(count: int) -> None:
    """Give TensorFlow `count` threads, and GPU memory as it is needed; only before its first operation."""
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() == 0:
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        _grow_memory()


def _grow_memory() -> None:
    """Take GPU memory as it is needed; before the first operation. Later than that it is as it is."""
    import tensorflow as tf

    with suppress(RuntimeError):
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


def use_precision(precision: str) -> None:
    """Build models from here on that compute in float32, mixed_bfloat16 or mixed_float16; weights are float32."""
    import keras

    keras.config.set_dtype_policy(precision)


def build(name: str, weights: str, image_size: int) -> "keras.Model":
    """The backbone (B, size, size, 3) float32 0..255 -> (B, h, w, c), all of it frozen.

    `weights` is "imagenet", the path of a Keras weight file without top, or "none": random, but the same in
    every process. Raises ModelError where weights cannot be had or do not fit.
    """
    import keras

    if weights == "none":
        keras.utils.set_random_seed(0)
    shape = (image_size, image_size, 3)
    try:
        model = _application(name, shape, "imagenet" if weights == "imagenet" else None)
    except Exception as error:  # Keras's loader raises a bare Exception when it is offline
        if weights != "imagenet":
            raise
        raise ModelError(
            f"ImageNet weights of {name} could not be downloaded ({str(error).splitlines()[0][:150]}); "
            "give --weights a weight file on disk, or run once where there is a network"
        ) from error
    if weights not in ("imagenet", "none"):
        _load(model, name, weights)
    freeze(model, 0)
    return model


def _application(name: str, shape: tuple[int, int, int], weights: str | None) -> "keras.Model":
    from keras import Input, Model, applications, layers

    family, _, width = name.partition("-")
    make = getattr(applications, family)
    options = {"include_top": False, "weights": weights}
    if family in ("MobileNetV2", "ResNet50V2"):  # these expect -1..1 and bring no scaling of their own
        pixels = Input(shape)
        scaled = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
        alpha = {"alpha": float(width)} if width else {}
        made = make(input_tensor=scaled, input_shape=shape, **options, **alpha)
        return Model(pixels, made.output, name=made.name)
    return make(input_shape=shape, **options)


def _load(model: "keras.Model", name: str, weights: str) -> None:
    """Load a weight file into `model` so that it computes what the same weights do as "imagenet"."""
    from keras import layers

    try:
        data = storage.read(storage.resolve(weights))
    except OSError as error:
        raise ModelError(
            f"--weights {weights}: cannot be read; expected imagenet, none or a Keras file"
        ) from error
    try:
        with storage.temporary_file(
            data, suffix=".weights.h5" if weights.endswith(".weights.h5") else ".h5"
        ) as path:
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(f"--weights {weights}: not weights of {name} without top ({str(error)[:150]})") from error
    if name.startswith("EfficientNetB"):
        # Keras adds a Rescaling by 1/sqrt(stddev) behind the Normalization, but only when it is asked for
        # "imagenet" by name (keras/src/applications/efficientnet.py). Dividing by sqrt(variance * stddev)
        # is the same function with the same layers as the weights were made for.
        normalization = next(layer for layer in model.layers if isinstance(layer, layers.Normalization))
        stddev = np.array([0.229, 0.224, 0.225])
        mean, variance, count = normalization.get_weights()
        normalization.set_weights([mean, variance * stddev, count])
        normalization.finalize_state()


def freeze(model: "keras.Model", unfreeze: Depth) -> None:
    """Make the last `unfreeze` layers trainable and no other.

    Every layer's own flag is set: setting the model's does nothing where it has that value already.
    """
    count = len(model.layers) if unfreeze == "all" else unfreeze
    if count > len(model.layers):
        raise SettingsError(f"--unfreeze {unfreeze}: {model.name} has {len(model.layers)} layers; use all")
    model.trainable = True
    for number, layer in enumerate(model.layers):
        layer.trainable = number >= len(model.layers) - count


def cut(model: "keras.Model", unfreeze: Depth) -> Tap:
    """Where to cut so that the last `unfreeze` layers lie in the tail: the latest narrow tap before them.

    A tap is a tensor through which all paths from input to output lead. Found from the graph: going through
    the layers in order, it is one where a single tensor is still wanted by later layers.
    """
    if unfreeze == 0:
        return Tap(POOLED, (model.output.shape[-1],))
    boundary = 0 if unfreeze == "all" else max(len(model.layers) - unfreeze, 0)
    # Until it has more channels than the picture, a tensor is the picture: scaled, or padded.
    channels = model.input.shape[-1]
    taps = [tap for tap in _single_tensors(model)[:boundary] if tap is not None and tap.shape[-1] > channels]
    if not taps:
        return Tap(PIXELS, tuple(model.input.shape[1:]))
    narrowest = min(math.prod(tap.shape) for tap in taps)
    return [tap for tap in taps if math.prod(tap.shape) <= _WIDER * narrowest][-1]


def _single_tensors(model: "keras.Model") -> list[Tap | None]:
    """For each layer in order: its output as a tap if nothing else crosses to the later layers."""
    last_use = {id(model.output): len(model.layers)}
    for number, layer in enumerate(model.layers):
        for tensor in _inputs(layer):
            last_use[id(tensor)] = max(number, last_use.get(id(tensor), 0))
    taps: list[Tap | None] = []
    live: set[int] = set()
    for number, layer in enumerate(model.layers):
        live.add(id(layer.output))
        live = {key for key in live if last_use.get(key, -1) > number}
        alone = live == {id(layer.output)}
        taps.append(Tap(layer.name, tuple(layer.output.shape[1:])) if alone else None)
    return taps


def _inputs(layer: "keras.Layer") -> list["keras.KerasTensor"]:
    import keras

    if isinstance(layer, keras.layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def prefix(model: "keras.Model", taps: list[Tap]) -> "keras.Model":
    """(B, size, size, 3) -> the tensor of each tap by its name, in one pass."""
    import keras

    pooled = keras.layers.GlobalAveragePooling2D(name="pool")
    outputs = {tap.name: model.get_layer(tap.name).output for tap in taps if tap.name != POOLED}
    if len(outputs) < len(taps):
        outputs[POOLED] = pooled(model.output)
    return keras.Model(model.input, outputs)


def classifier(model: "keras.Model", tap: Tap, classes: int) -> "keras.Model":
    """From the tensor at `tap` to class probabilities (B, classes): the tail, pooling and a new head.

    From PIXELS it is the whole model. BatchNorm stays in inference mode in training too.
    """
    import keras

    inputs = keras.Input(tap.shape, name=tap.name)
    if tap.name == PIXELS:
        features = model(inputs, training=False)
    else:
        tail = keras.Model(model.get_layer(tap.name).output, model.output, name="tail")
        features = tail(inputs, training=False)
    return keras.Model(inputs, head(classes)(keras.layers.GlobalAveragePooling2D(name="pool")(features)))


def head(classes: int) -> "keras.Layer":
    """The softmax layer on pooled features."""
    import keras

    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="head")


def weights_digest(weights: str) -> str:
    """What stands for the weights in a store's key; the file's content, or the name under Keras's version."""
    if weights in ("imagenet", "none"):
        return storage.digest([weights, importlib.metadata.version("keras")])
    try:
        return storage.digest([storage.read(storage.resolve(weights))])
    except OSError as error:
        raise ModelError(
            f"--weights {weights}: cannot be read; expected imagenet, none or a Keras file"
        ) from error
