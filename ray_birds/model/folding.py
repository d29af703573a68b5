"""Batch normalisation folded into the layer before it: the same function in fewer passes over the same numbers."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras


def folded(network: "keras.Model") -> "keras.Model":
    """What `network` computes in inference, with the weights that it has now of layers that are frozen.

    There batch normalisation scales and shifts each channel by what it has learned, which a convolution or dense
    layer right before it can do itself (B. Jacob et al., "Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference", 2018, section 3.2). Networks inside of it are folded as well; all
    other layers are shared with `network`.
    """
    import keras
    from keras import layers

    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Dense)
    linear: dict[int, tuple[keras.KerasTensor, keras.Layer, keras.KerasTensor]] = {}  # output, layer, input

    def call(layer: "keras.Layer", *inputs: Any, **options: Any) -> Any:
        if isinstance(layer, layers.BatchNormalization) and id(inputs[0]) in linear and _is_fixed(layer):
            _, before, x = linear[id(inputs[0])]
            return _one(before, layer, x)
        if type(layer) is type(network):
            return folded(layer)(*inputs, **options)
        output = layer(*inputs, **options)
        if isinstance(layer, kinds) and not layer.trainable and layer.activation is keras.activations.linear:
            linear[id(output)] = output, layer, inputs[0]
        return output

    return keras.models.clone_model(network, call_function=call, clone_function=lambda layer: layer)


def _is_fixed(norm: "keras.layers.BatchNormalization") -> bool:
    """Whether it does the same to each channel, whatever is trained."""
    return not norm.trainable and norm.axis in (-1, len(norm.input.shape) - 1)


def _one(
    layer: "keras.Layer", norm: "keras.layers.BatchNormalization", x: "keras.KerasTensor"
) -> "keras.KerasTensor":
    """Of `x` what the two layers make of it, by one of the first's kind."""
    from keras import layers

    one = type(layer).from_config(layer.get_config() | {"name": norm.name, "use_bias": True})
    output = one(x)
    scale = 1 / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
    scale = scale * np.asarray(norm.gamma) if norm.scale else scale
    shift = np.asarray(norm.beta) if norm.center else 0.0
    *above, kernel = layer.get_weights()[: -1 if layer.use_bias else None]  # a separable one has two kernels
    bias = np.asarray(layer.bias) if layer.use_bias else 0.0
    of_kernel = scale.reshape(kernel.shape[-2:]) if isinstance(layer, layers.DepthwiseConv2D) else scale
    one.set_weights([*above, kernel * of_kernel, (bias - np.asarray(norm.moving_mean)) * scale + shift])
    return output
