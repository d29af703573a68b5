"""Pretrained Keras backbones by name, raw 0..255 pixels in: their weights, and what a sweep must know of them."""

import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import ModelError, first_line
from ray_birds.model.cut import CutPoint, cut, freeze
from ray_birds.model.device import grow_memory
from ray_birds.model.operations import multiply_adds
from ray_birds.sweep.factors import Depth

if TYPE_CHECKING:
    import keras


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


def describe(name: str, weights: str, image_size: int, depths: tuple[Depth, ...]) -> Description:
    grow_memory()
    model = build(name, weights, image_size)
    cut_points = {depth: cut(model, depth) for depth in depths}
    trainable = {}
    for depth in depths:
        freeze(model, depth)
        trainable[depth] = [layer.name for layer in model.layers if layer.trainable_weights]
    counts = len(model.layers), model.count_params(), multiply_adds(model)
    return Description(name, *counts, cut(model, 0), cut_points, trainable)


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
    if bad := next((weight.path for weight in model.weights if not np.isfinite(weight.numpy()).all()), ""):
        raise ModelError(
            f"--weights {weights}: has numbers that are not finite ({bad}); take another copy of the file"
        )
    if name.startswith("EfficientNetB"):
        # Keras adds a Rescaling by 1/sqrt(stddev) behind the Normalization, but only when it is asked for
        # "imagenet" by name (keras/src/applications/efficientnet.py). Dividing by sqrt(variance * stddev)
        # is the same function with the same layers as the weights were made for.
        normalization = next(layer for layer in model.layers if isinstance(layer, layers.Normalization))
        stddev = np.array([0.229, 0.224, 0.225])
        mean, variance, count = normalization.get_weights()
        normalization.set_weights([mean, variance * stddev, count])
        normalization.finalize_state()


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
