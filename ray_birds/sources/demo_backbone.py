"""Pretrain the demo's small backbone on drawn pictures of other species: `python -m ray_birds.sources.demo_backbone`.

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

from ray_birds.sources.demo import (
    BEAKS, CRESTS, MARKS, PALETTES, PATTERNS, PLACES, TAILS, WINGS, Species, draw_parts, other_species,
)  # fmt: skip

WEIGHTS = Path(__file__).with_name("demo_backbone.weights.h5")
SIZE = 96
CELLS = 6  # the map of parts is as coarse as the backbone's tensors at stride 16
TRAINED, HELD_OUT, PER_SPECIES = 600, 40, 10
STAGES = ((64, 8), (SIZE, 3))  # picture size, epochs: most of the learning at less than half the cost
BATCH, LEARNING_RATE = 64, 3e-3


def traits(bird: Species) -> list[tuple[str, bool]]:
    """What there is to name in a picture: (the part it is seen at, whether this species has it) each."""
    found = [("body", bird.palette == palette) for palette in PALETTES]
    for part, kinds in (("beak", BEAKS), ("tail", TAILS), ("wing", WINGS), ("crest", CRESTS)):
        found += [(part, getattr(bird, part) == kind) for kind in kinds]
    for place, part in (("breast", "body"), ("wing", "wing")):
        found += [(part, bird.place == place and bird.pattern == kind) for kind in PATTERNS[1:]]
    seen_at = {"cap": "head", "mask": "head", "collar": "collar", "wing bar": "wing", "tail tip": "tail"}
    found += [(seen_at.get(mark, "body"), mark in bird.marks) for mark in MARKS]
    return [*found, ("body", bird.neck > 0.3), ("body", bird.upright > 36)]


def pictures(birds: tuple[Species, ...], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`PER_SPECIES` pictures of each bird, (n, SIZE, SIZE, 3) RGB, and a map of their traits, (n, CELLS, CELLS, k).

    The map is 1 in the cells where the part with a trait is seen.
    """
    images, maps = [], []
    for bird in birds:
        for number in range(PER_SPECIES):
            rng = np.random.default_rng([seed, zlib.crc32(bird.name.encode()), number])
            image, parts = draw_parts(bird, rng)
            cover = {part: cv2.resize(mask, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for part, mask in parts.items()}
            seen = {part: cells >= min(50, cells.max() / 2) for part, cells in cover.items()}
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


def _views(images: NDArray[np.uint8], targets: NDArray[np.float32], size: int, epochs: int, seed: int) -> Any:
    """Batches of randomly cropped and mirrored pictures, `epochs` times through all of them."""
    import tensorflow as tf

    def view(number: Any, pair: tuple[Any, Any]) -> tuple[Any, Any]:
        crop = tf.image.stateless_random_crop(pair[0], (SIZE, SIZE, 3), seed=(seed, number))
        crop = tf.image.stateless_random_flip_left_right(crop, seed=(seed + 1, number))
        return tf.image.resize(crop, (size, size), antialias=True), pair[1]

    data = tf.data.Dataset.from_tensor_slices((images, targets)).shuffle(len(images), seed=seed)
    data = data.repeat(epochs).enumerate().map(view, num_parallel_calls=2)
    return data.batch(BATCH, drop_remainder=True).prefetch(4)


def pretrain(seed: int = 0) -> tuple[Any, float]:
    """The trained backbone, and the share of traits it names rightly on species that it has not seen."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    birds = other_species(TRAINED + HELD_OUT)
    images, targets = pictures(birds[:TRAINED], seed)
    backbone = build(None)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.98  # the default of 0.999 is still near its start after a thousand steps
    model = keras.Model(
        backbone.input, keras.layers.Dense(targets.shape[1], activation="sigmoid")(backbone.output)
    )
    per_epoch = len(images) // BATCH
    steps = per_epoch * sum(epochs for _, epochs in STAGES)
    rate = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 30, steps - per_epoch, warmup_target=LEARNING_RATE, warmup_steps=per_epoch
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-2)
    model.compile(optimizer, "binary_crossentropy", metrics=["binary_accuracy"])
    for size, epochs in STAGES:
        model.fit(
            _views(images, targets, size, epochs, seed), epochs=epochs, steps_per_epoch=per_epoch, verbose=2
        )

    images, targets = pictures(birds[TRAINED:], seed)
    middle = slice(MARGIN // 2, MARGIN // 2 + SIZE)
    named = model.predict(images[:, middle, middle], batch_size=BATCH, verbose=0) > 0.5
    return backbone, float((named == targets).mean())


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
