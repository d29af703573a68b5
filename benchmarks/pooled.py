"""Pooled features of encoded images, in this process: for what is measured beside the package's jobs."""

from collections.abc import Iterable

import numpy as np

from ray_birds.data import decode
from ray_birds.model import backbones, cut, device

BATCH = 32


class Backbone:
    """A network with trained weights that makes features of norm 1."""

    def __init__(self, name: str, weights: str, size: int = 224) -> None:
        import tensorflow as tf

        device.use_threads(2)
        model = backbones.build(name, weights, size)
        pooled = cut.prefix(model, [cut.cut(model, 0)])
        signature = [tf.TensorSpec((None, size, size, 3), tf.uint8)]
        self._size = size
        self._function = tf.function(
            lambda pixels: pooled(tf.cast(pixels, tf.float32), training=False)[cut.POOLED],
            input_signature=signature,
        )

    def __call__(self, contents: Iterable[bytes]) -> np.ndarray:
        """(n, d) float32 of the images in these files."""
        found, pending = [], []
        for data in contents:
            pending.append(self._pixels(data))
            if len(pending) == BATCH:
                found.append(self._function(np.stack(pending)).numpy())
                pending = []
        if pending:
            found.append(self._function(np.stack(pending)).numpy())
        features = np.concatenate(found)
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    def _pixels(self, data: bytes) -> np.ndarray:
        pixels = decode.decode(data, self._size).pixels
        assert pixels is not None
        return pixels
