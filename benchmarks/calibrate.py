"""Random weights that something can be learned on, for a machine without the pretrained ones.

A new backbone's BatchNorm layers have seen nothing, and EfficientNet's features shrink to 1e-6: all variants
then score alike and ASHA has nothing to choose by. Statistics of one batch of the images bring them back
to order 1. What a model costs to run or to train does not depend on its weights.
"""

from pathlib import Path

import keras
import numpy as np
import tyro
from plain_keras import Recipe, backbone, scaled
from tyro.conf import Positional

from ray_birds.core import terminal

BATCH = 64


def main(
    data: Positional[str], backbone_name: Positional[str], image_size: Positional[int], output: Positional[str]
) -> None:
    keras.utils.set_random_seed(0)
    model = backbone(Recipe(data, output, backbone=backbone_name, weights="none", image_size=image_size))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(_scaled(backbone_name, _images(data, image_size)), training=True)
    model.save_weights(output)
    terminal.say(f"weights: {output}")


def _images(data: str, size: int) -> np.ndarray:
    """(n, size, size, 3) float32 0..255 from all classes, n at least BATCH where there are so many."""
    paths = sorted(Path(data, "train").rglob("*.jpg"))
    images = [
        keras.utils.load_img(path, target_size=(size, size)) for path in paths[:: max(1, len(paths) // BATCH)]
    ]
    return np.stack([keras.utils.img_to_array(image) for image in images])


def _scaled(name: str, images: np.ndarray) -> np.ndarray:
    """As the backbone gets them once these weights are loaded from a file: see `plain_keras`."""
    if name.startswith("EfficientNetB"):
        return images / np.sqrt([0.229, 0.224, 0.225])
    return np.asarray(scaled(name, images))


if __name__ == "__main__":
    tyro.cli(main)
