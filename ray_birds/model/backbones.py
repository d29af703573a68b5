"""Pretrained Keras backbones by name, raw 0..255 pixels in: their weights, and what a sweep must know of them."""

import functools
import importlib.metadata
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import ModelError, first_line
from ray_birds.model.cut import CutPoint, cut, freeze
from ray_birds.model.device import grow_memory
from ray_birds.model.operations import activations, multiply_adds
from ray_birds.sweep.factors import Depth

if TYPE_CHECKING:
    import keras

# Families that expect -1..1 and bring no scaling of their own (mode "tf" of keras.applications' preprocess_input).
_SYMMETRIC = ("MobileNetV2", "NASNet", "ResNet")
# Mode "torch" of the same.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_RENEWED = ("ConvNeXt", "DenseNet", "MobileNetV3", "NASNet")


@dataclass(frozen=True)
class Description:
    """What a sweep must know of a backbone before it starts: cut points by depth, and names for the report."""

    name: str
    layers: int
    parameters: int
    multiply_adds: int  # of one image
    pooled: CutPoint
    cut_points: dict[Depth, CutPoint]
    trainable: dict[Depth, list[str]]  # names of the layers that have weights and are trained at each depth
    activations: dict[Depth, int]  # numbers that the layers trained at each depth put out for one image


def describe(name: str, weights: str, image_size: int, depths: tuple[Depth, ...]) -> Description:
    grow_memory()
    model = build(name, weights, image_size)
    cut_points = {depth: cut(model, depth) for depth in depths}
    trainable, kept = {}, {}
    for depth in depths:
        freeze(model, depth)
        trainable[depth] = [layer.name for layer in model.layers if layer.trainable_weights]
        kept[depth] = activations(model)
    counts = len(model.layers), model.count_params(), multiply_adds(model)
    return Description(name, *counts, cut(model, 0), cut_points, trainable, kept)


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
            f"ImageNet weights of {name} could not be downloaded ({first_line(error)}); "
            "give --weights a weight file on disk, or run once where there is a network"
        ) from error
    if weights not in ("imagenet", "none"):
        _load(model, name, weights)
    if name.startswith(_RENEWED):
        model = _renewed(model)
    freeze(model, 0)
    return model


def _application(name: str, shape: tuple[int, int, int], weights: str | None) -> "keras.Model":
    """A network of keras.applications for pixels 0..255, as each family's `preprocess_input` scales them."""
    from keras import Input, Model, applications, layers

    family, _, width = name.partition("-")
    make = getattr(applications, family)
    options = {"include_top": False, "weights": weights} | ({"alpha": float(width)} if width else {})
    if family.startswith(_SYMMETRIC):
        scaling = layers.Rescaling(1 / 127.5, offset=-1.0)
    elif family.startswith("DenseNet"):
        scaling = layers.Rescaling(
            [1 / (255 * deviation) for deviation in _DEVIATION],
            offset=[-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)],
        )
    else:
        return make(input_shape=shape, **options)
    pixels = Input(shape)
    made = make(input_tensor=scaling(pixels), input_shape=shape, **options)
    return Model(pixels, made.output, name=made.name)


def _renewed(model: "keras.Model") -> "keras.Model":
    """The same function as layers only, one after another, with the same names in every process.

    What cuts a network asks for that. Keras builds some families with sums outside of any layer or with models
    inside the model, and counts layers that were given no name over the whole process.
    """
    import keras

    pairs: list[tuple[keras.Layer, keras.Layer]] = []
    number = itertools.count()

    def renew(layer: "keras.Layer") -> "keras.Layer":
        config = layer.get_config()
        kind = _kind(layer)
        if kind.replace("_", "") == type(layer).__name__.lower():
            config["name"] = f"{kind}_{next(number)}"
        new = type(layer).from_config(config)
        if isinstance(layer, keras.layers.Conv2D) and layer.groups == layer.filters == layer.input.shape[-1]:
            # One kernel for each channel: TensorFlow has a fast way for these, which Keras does not take here.
            same = ("name", "dtype", "kernel_size", "strides", "padding", "activation", "use_bias")
            new = keras.layers.DepthwiseConv2D(**{key: config[key] for key in same})
        pairs.append((layer, new))
        return new

    def call(operation: Any, *inputs: Any, **options: Any) -> Any:
        if isinstance(operation, keras.Sequential):
            return functools.reduce(lambda x, layer: renew(layer)(x), operation.layers, inputs[0])
        if isinstance(operation, keras.layers.Layer):
            return renew(operation)(*inputs, **options)
        one, other = inputs
        name = f"{_kind(operation)}_{next(number)}"
        match type(operation).__name__, isinstance(other, keras.KerasTensor):
            case "Add", True:
                return keras.layers.Add(name=name)([one, other])
            case "Add", False:
                return keras.layers.Rescaling(1.0, offset=other, name=name)(one)
            case "Multiply", False:
                return keras.layers.Rescaling(other, name=name)(one)
            case kind, _:
                raise TypeError(f"{model.name}: no layer is known for {kind}")

    renewed = keras.models.clone_model(model, call_function=call, clone_function=lambda layer: layer)
    for layer, new in pairs:
        weights = layer.get_weights()
        new.set_weights([each.reshape(own.shape) for each, own in zip(weights, new.weights, strict=True)])
    return renewed


def _kind(operation: Any) -> str:
    """The name without the number that Keras puts behind it."""
    return re.sub(r"_\d+$", "", operation.name)


def _load(model: "keras.Model", name: str, weights: str) -> None:
    """Load a weight file into `model` so that it computes what the same weights do as "imagenet"."""
    from keras import layers

    data = _read(weights)
    try:
        with storage.temporary_file(
            data, suffix=".weights.h5" if weights.endswith(".weights.h5") else ".h5"
        ) as path:
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(f"--weights {weights}: not weights of {name} without top ({str(error)[:150]})") from error
    if bad := next((weight.path for weight in model.weights if not np.isfinite(weight.numpy()).all()), ""):
        raise ModelError(
            f"--weights {weights}: has numbers that are not finite ({bad}); take another copy of the file"
        )
    if name.startswith("EfficientNetB"):
        # Keras adds a Rescaling by 1/sqrt(stddev) behind the Normalization, but only when it is asked for
        # "imagenet" by name (keras/src/applications/efficientnet.py). Dividing by sqrt(variance * stddev)
        # is the same function with the same layers as the weights were made for.
        normalization = next(layer for layer in model.layers if isinstance(layer, layers.Normalization))
        stddev = np.array(_DEVIATION)
        mean, variance, count = normalization.get_weights()
        normalization.set_weights([mean, variance * stddev, count])
        normalization.finalize_state()


def weights_digest(weights: str) -> str:
    """What stands for the weights in a store's key; the file's content, or the name under Keras's version."""
    if weights in ("imagenet", "none"):
        return storage.digest([weights, importlib.metadata.version("keras")])
    return storage.digest([_read(weights)])


def _read(weights: str) -> bytes:
    try:
        return storage.read(storage.resolve(weights))
    except OSError as error:
        raise ModelError(
            f"--weights {weights}: cannot be read; expected imagenet, none or a Keras file"
        ) from error
