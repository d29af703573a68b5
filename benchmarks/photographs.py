"""Images drawn to cost what photographs cost: noise with a photograph's spectrum, saved as JPEG.

Detail that falls off as 1/frequency, as in natural scenes, gives files of 15 to 20 kB at 224x224 (those of
BIRDS 525 have 23 kB), so that reading and decoding take their usual share of the time.
"""

from pathlib import Path

import cv2
import numpy as np

SIDE = 224
CLASSES = 12


def draw(root: Path, train: int, seed: int = 0) -> Path:
    """Draw `train` images of 12 classes below root/train, and a quarter as many each for valid and test."""
    rng = np.random.default_rng(seed)
    tints = rng.uniform(60, 195, (CLASSES, 3))
    for split, count in (("train", train), ("valid", train // 4), ("test", train // 4)):
        for number in range(count):
            folder = root / split / f"CLASS {number % CLASSES:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            image = photograph(rng, tints[number % CLASSES])
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
            (folder / f"{number:05d}.jpg").write_bytes(data.tobytes())
    return root


def photograph(rng: np.random.Generator, tint: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8: octaves of noise around the class's tint, each weaker than the one before."""
    image = np.tile(tint.astype(np.float32), (SIDE, SIDE, 1))
    strength = 36.0
    for cells in (4, 7, 14, 28, 56, 112, 224):
        noise = rng.standard_normal((cells, cells, 3), dtype=np.float32)
        image += strength * cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        strength *= 0.7
    return image.clip(0, 255).astype(np.uint8)
