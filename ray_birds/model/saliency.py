"""Where a classifier looks: the parts of an image that speak for a class, by Grad-CAM.

R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
Of a network that ends as ours do, in a convolutional map, its average and a softmax layer, the gradients are that
layer's weights (section 3.1 there), so none has to be computed: B. Zhou et al., "Learning Deep Features for
Discriminative Localization", CVPR 2016.
"""

from typing import TYPE_CHECKING

import numpy as np

from ray_birds.model import classifier
from ray_birds.model.bundle import Bundle

if TYPE_CHECKING:
    import keras

_BATCH = 8


def heat(bundle: Bundle, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """For each image how much each part of it speaks for a class: (n, h, w) float32, from 0 to 1.

    `pixels` (n, size, size, 3) are uint8, `classes` (n,) the number of a class for each. The hottest part of an
    image is 1, whatever it amounts to; all are 0 where no part speaks for the class. None for a network without
    such a map, as a transformer is one.
    """
    import keras

    network = classifier.network(bundle)
    layer = _last_map(network)
    if layer is None:
        return None
    kernel = np.asarray(network.layers[-1].kernel)  # (channels, classes)
    # What a weight adds to all classes alike decides nothing.
    weights = (kernel - kernel.mean(axis=1, keepdims=True))[:, classes].T
    maps = keras.Model(network.input, layer).predict(pixels.astype(np.float32), batch_size=_BATCH, verbose=0)
    parts = np.maximum(np.einsum("nhwc,nc->nhw", maps, weights), 0).astype(np.float32)
    most = parts.max(axis=(1, 2), keepdims=True)
    return np.divide(parts, most, out=np.zeros_like(parts), where=most > 0)


def _last_map(network: "keras.Model") -> "keras.KerasTensor | None":
    """What global average pooling takes before the last layer, (None, h, w, channels), where there is such."""
    import keras

    pools = [layer for layer in network.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)]
    if not pools or pools[-1].output.shape[-1] != network.layers[-1].input.shape[-1]:
        return None
    return pools[-1].input
