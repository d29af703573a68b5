"""What `predict.py` measures ray-birds against, each in a process of its own.

make     the bundle to predict with: random weights, BatchNorm statistics from one batch of noise
keras    a plain Keras predict loop over a folder, as a careful reader of Keras's documentation would write it
forward  the model alone on a batch that is in memory already: what no pipeline can be faster than

The last line that `keras` and `forward` print is the images per second from the second batch on.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tyro

from ray_birds.sweep.factors import BackboneName, Variant

CLASSES = tuple(f"CLASS {number:03}" for number in range(400))


@dataclass(frozen=True)
class Plain:
    part: tyro.conf.Positional[Literal["make", "keras", "forward"]]
    bundle: str
    folder: str = ""
    """Folder of images (keras)."""
    count: int = 0
    """Images to predict (forward)."""
    backbone: BackboneName = "EfficientNetB0"
    image_size: int = 224
    batch_size: int = 32


def make(plain: Plain) -> None:
    from ray_birds.model import backbones, bundle, cut, head

    size = plain.image_size
    base = backbones.build(plain.backbone, "none", size)
    for layer in base.layers:
        layer.trainable = True
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    base(np.random.default_rng(0).uniform(0, 255, (16, size, size, 3)).astype("float32"), training=True)
    model = head.classifier(base, cut.CutPoint(cut.PIXELS, (size, size, 3)), len(CLASSES))
    variant = Variant(backbone=plain.backbone, image_size=size)
    bundle.save(model, plain.bundle, CLASSES, variant, lambda classifier: bundle.Measured({}))


class Clock(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Images per second from the end of the first batch, which compiles the model."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_predict_batch_end(self, batch: int, logs: object = None) -> None:
        self.ends.append(time.perf_counter())

    def rate(self, images: int, batch: int) -> float:
        return (images - batch) / (self.ends[-1] - self.ends[0])


def predict(plain: Plain) -> None:
    model = keras.saving.load_model(Path(plain.bundle, "model.keras"), compile=False)
    images = keras.utils.image_dataset_from_directory(
        plain.folder,
        labels=None,
        shuffle=False,
        batch_size=plain.batch_size,
        image_size=(plain.image_size, plain.image_size),
    )
    clock = Clock()
    scores = model.predict(images.prefetch(-1), verbose=0, callbacks=[clock])
    np.save(Path(plain.bundle).with_suffix(".npy"), scores)
    print(clock.rate(len(scores), plain.batch_size))


def forward(plain: Plain) -> None:
    import tensorflow as tf

    model = keras.saving.load_model(Path(plain.bundle, "model.keras"), compile=False)
    call = tf.function(lambda pixels: model(pixels, training=False))
    shape = (plain.batch_size, plain.image_size, plain.image_size, 3)
    batch = tf.constant(np.random.default_rng(0).uniform(0, 255, shape).astype("float32"))
    call(batch).numpy()
    start = time.perf_counter()
    batches = max(1, plain.count // plain.batch_size)
    for _ in range(batches):
        call(batch).numpy()
    print(batches * plain.batch_size / (time.perf_counter() - start))


if __name__ == "__main__":
    options = tyro.cli(Plain)
    {"make": make, "keras": predict, "forward": forward}[options.part](options)
