"""What folding normalisation into layers brings: images a second of networks as they are and folded, in turn.

    python benchmarks/folding.py --networks EfficientNetB0:224 MobileNetV2-0.35:96

Random weights and pixels, all CPUs, in pieces side by side as predictions and the pass over frozen layers go.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tyro
from timing import machine

from ray_birds.core import environment, terminal
from ray_birds.core.prefetch import prefetch
from ray_birds.model import backbones, device
from ray_birds.model.folding import folded

BATCH = 128  # images at a time, cut in pieces
COLUMNS = ("network", "pixels", "as it is", "folded", "ratio", "largest difference")


@dataclass(frozen=True)
class Options:
    """Time networks as they are and folded, in turn."""

    networks: tuple[str, ...] = (
        "EfficientNetB0:224",
        "MobileNetV2-0.35:224",
        "MobileNetV2-0.35:96",
        "ResNet50:224",
    )
    """Names of backbones, each with the side of its images in pixels."""
    seconds: float = 10.0
    """That each turn takes."""
    turns: int = 2
    """Of each of the two; the mean counts."""


def main(options: Options) -> None:
    lanes = device.use_lanes(environment.own_cpus())
    rows = []
    for named in options.networks:
        name, _, size = named.partition(":")
        rows.append([name, size, *compare(name, int(size), lanes, options)])
    terminal.say(str(machine()))
    terminal.show(terminal.table("images a second", COLUMNS, rows))


def compare(name: str, size: int, lanes: int, options: Options) -> list[str]:
    """Both rates, their ratio, and the largest difference as a share of the largest number put out."""
    import keras
    import tensorflow as tf

    network = backbones.build(name, "none", size)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    piece = device.piece(BATCH, size)
    starts = range(0, BATCH, piece)

    def called(model: keras.Model) -> Callable[[], np.ndarray]:
        signature = [tf.TensorSpec((None, size, size, 3), tf.uint8)]
        function = tf.function(lambda x: model(tf.cast(x, tf.float32), training=False), input_signature=signature)
        return lambda: np.concatenate(
            [part.numpy() for part in prefetch(lambda at: function(pixels[at : at + piece]), starts, lanes)]
        )

    sides = called(network), called(folded(network))
    first, second = (side() for side in sides)  # compiled here
    rates = np.array([[rate(side, options.seconds) for side in sides] for _ in range(options.turns)]).mean(axis=0)
    off = float(np.abs(second - first).max() / np.abs(first).max())
    return [*(f"{one:.1f}" for one in rates), f"{rates[1] / rates[0]:.2f}", f"{off:.1e}"]


def rate(call: Callable[[], np.ndarray], seconds: float) -> float:
    """Images a second."""
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        done += BATCH
    return done / (time.perf_counter() - start)


if __name__ == "__main__":
    main(tyro.cli(Options))
