"""Pretrain the demo's small backbone on drawn birds: `python -m ray_birds.demo.pretrain`.

MobileNetV2, alpha 0.35, 96x96 pixels, trained from random weights to name the parts (beak, tail, pattern ...) of
species of `demo.other_species`, none of which is in the demo dataset. Writes `WEIGHTS` in float16, in the layout
of a Keras weight file, so that `MobileNetV2(alpha=0.35, include_top=False).load_weights` reads it as it reads the
ImageNet file.
"""

import os
import time
import zlib
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray

from ray_birds.demo.drawing import draw_parts
from ray_birds.demo.species import (
    BEAKS,
    CRESTS,
    MARKS,
    PALETTES,
    PATTERNS,
    TAILS,
    WINGS,
    Species,
    other_species,
)

WEIGHTS = Path(__file__).with_name("backbone.weights.h5")
SIZE = 96
CELLS = 6  # the map of parts is as coarse as the backbone's tensors at stride 16
TRAINED, HELD_OUT, PER_SPECIES = 600, 40, 10
STAGES = ((64, 10), (SIZE, 4))  # image size, epochs: most of the learning at less than half the cost
BATCH, LEARNING_RATE = 32, 3e-3


def traits(bird: Species) -> list[tuple[str, bool]]:
    """What an image can show, trait by trait: the part to look at, and whether this bird has the trait."""
    found = [("body", bird.palette == palette) for palette in PALETTES]
    for part, kinds in (("beak", BEAKS), ("tail", TAILS), ("wing", WINGS), ("crest", CRESTS)):
        found += [(part, getattr(bird, part) == kind) for kind in kinds]
    for place, part in (("breast", "body"), ("wing", "wing")):
        found += [(part, bird.place == place and bird.pattern == kind) for kind in PATTERNS[1:]]
    seen_at = {"cap": "head", "mask": "head", "collar": "collar", "wing bar": "wing", "tail tip": "tail"}
    found += [(seen_at.get(mark, "body"), mark in bird.marks) for mark in MARKS]
    return [*found, ("body", bird.neck > 0.3), ("body", bird.upright > 36)]


def _cells(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """The cells, (CELLS, CELLS), that a part fills by a fifth, or half as much as any other if it is small."""
    cover = cv2.resize(mask, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return cover >= min(50, cover.max() / 2)


def images(birds: tuple[Species, ...], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`PER_SPECIES` images of each bird, (n, SIZE, SIZE, 3) RGB, and their trait maps, (n, CELLS, CELLS, k).

    The map is 1 in the cells where the part with a trait is seen.
    """
    images, maps = [], []
    for bird in birds:
        for number in range(PER_SPECIES):
            rng = np.random.default_rng([seed, zlib.crc32(bird.name.encode()), number])
            image, parts = draw_parts(bird, rng)
            seen = {part: _cells(mask) for part, mask in parts.items()}
            way = (cv2.INTER_AREA, cv2.INTER_LINEAR)[number % 2]  # readers differ in how they scale down
            images.append(cv2.resize(image, (SIZE, SIZE), interpolation=way))
            maps.append(np.stack([seen[part] & has for part, has in traits(bird)], axis=-1))
    return np.stack(images), np.stack(maps).astype(np.uint8)


def build(size: int | None = SIZE) -> Any:
    """The backbone: (n, size, size, 3) raw pixels 0..255 -> (n, 1280) pooled features; random weights."""
    import keras

    inputs = keras.Input((size, size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    return keras.applications.MobileNetV2(
        alpha=0.35, include_top=False, weights=None, pooling="avg", input_tensor=scaled
    )


def _views(images: NDArray[np.uint8], maps: NDArray[np.uint8], size: int, epochs: int, seed: int) -> Any:
    """Batches of (images, (traits, map of traits)), mirrored at random, `epochs` times through all of them."""
    import tensorflow as tf

    scaled = np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in images])

    def view(number: Any, pair: tuple[Any, Any]) -> tuple[Any, tuple[Any, Any]]:
        mirror = tf.random.stateless_uniform((), (seed, number)) < 0.5
        image, cells = (tf.cast(tf.where(mirror, x[:, ::-1], x), tf.float32) for x in pair)
        return image, (tf.reduce_max(cells, axis=(0, 1)), cells)

    data = tf.data.Dataset.from_tensor_slices((scaled, maps)).shuffle(len(images), seed=seed)
    return data.repeat(epochs).enumerate().map(view).batch(BATCH, drop_remainder=True).prefetch(4)


def _with_heads(backbone: Any, count: int) -> Any:
    """The backbone with what pretraining asks of it: the traits, and at stride 16 also where they are seen.

    The second question is what makes a few minutes on a CPU enough: each image answers 36 times over.
    """
    import keras

    named = keras.layers.Dense(count, activation="sigmoid", name="named")(backbone.output)
    middle = keras.layers.Conv2D(count, 1)(backbone.get_layer("block_12_add").output)
    middle = keras.layers.Resizing(CELLS, CELLS)(middle)  # smaller images have fewer cells there
    return keras.Model(backbone.input, [named, keras.layers.Activation("sigmoid", name="seen")(middle)])


def pretrain(seed: int = 0) -> tuple[Any, float]:
    """The trained backbone, and the share of traits it names rightly on species that it has not seen."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    birds = other_species(TRAINED + HELD_OUT)
    drawn, maps = images(birds[:TRAINED], seed)
    backbone = build(None)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.98  # the default of 0.999 is still near its start after a thousand steps
    model = _with_heads(backbone, maps.shape[-1])
    per_epoch = len(drawn) // BATCH
    steps = per_epoch * sum(epochs for _, epochs in STAGES)
    rate = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 30, steps - 60, warmup_target=LEARNING_RATE, warmup_steps=60
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-2),
        ["binary_crossentropy", "binary_crossentropy"],
        loss_weights=[1.0, 3.0],
        metrics=["binary_accuracy", "binary_accuracy"],
    )
    for size, epochs in STAGES:
        views = _views(drawn, maps, size, epochs, seed)
        model.fit(views, epochs=epochs, steps_per_epoch=per_epoch, verbose=2)

    drawn, maps = images(birds[TRAINED:], seed)
    named = model.predict(drawn, batch_size=BATCH, verbose=0)[0] > 0.5
    return backbone, float((named == maps.max(axis=(1, 2))).mean())


def save_half(backbone: Any, path: Path) -> None:
    """Save Keras weights with every array as float16 (half the size; layout unchanged). ValueError on overflow."""
    draft = path.with_name(f"draft-{path.name}")
    backbone.save_weights(draft)
    try:
        with h5py.File(draft) as source, h5py.File(path, "w") as target:

            def copy(name: str, item: Any) -> None:
                if not isinstance(item, h5py.Dataset):
                    target.require_group(name).attrs.update(item.attrs)
                    return
                half = item[()].astype(np.float16)
                if not np.isfinite(half).all():
                    raise ValueError(f"{name} does not fit into float16")
                target.create_dataset(name, data=half).attrs.update(item.attrs)

            target.attrs.update(source.attrs)
            source.visititems(copy)
    finally:
        draft.unlink()


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    start = time.perf_counter()
    backbone, accuracy = pretrain()
    save_half(backbone, WEIGHTS)
    print(f"traits of unseen species named rightly: {accuracy:.3f}; {time.perf_counter() - start:.0f} s")
    print(f"{WEIGHTS}: {WEIGHTS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
