"""What a network takes to run: its multiply-adds for one image, and what training keeps of it."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def multiply_adds(model: "keras.Model") -> int:
    """Those of the layers that hold a kernel, convolutions and dense ones, as papers count them.

    Each element of a kernel is used once at each place of the output; scaling, pooling and activations are left
    out, as is usual (M. Tan and Q. Le, EfficientNet, 2019: 0.39 billion for EfficientNetB0 at 224 pixels).
    """
    return sum(_of_layer(layer) for layer in model.layers)


def activations(model: "keras.Model") -> int:
    """How many numbers the trainable layers put out for one image: training keeps them for the way back."""
    return sum(math.prod(layer.output.shape[1:]) for layer in model.layers if layer.trainable)


def _of_layer(layer: "keras.Layer") -> int:
    import keras

    if isinstance(layer, keras.Model):
        return multiply_adds(layer)
    separable = isinstance(layer, keras.layers.SeparableConv2D)  # two convolutions, one behind the other
    names = ("depthwise_kernel", "pointwise_kernel") if separable else ("kernel",)
    kernels = [kernel for name in names if (kernel := getattr(layer, name, None)) is not None]
    places = math.prod(layer.output.shape[1:-1]) if kernels else 0
    return int(places * sum(math.prod(kernel.shape) for kernel in kernels))
