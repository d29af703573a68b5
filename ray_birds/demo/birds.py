"""Drawn birds: a small made-up dataset in the real folder layout, for trying the whole line offline."""

import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ray_birds.core.errors import DataError
from ray_birds.demo.drawing import draw_bird
from ray_birds.demo.species import SPECIES, Species

UNLABELLED = "images to test"
RECORD = "drawing.json"


def draw_dataset(output: Path, seed: int = 0, train: int = 30, valid: int = 10, test: int = 20) -> Path:
    """Draw `SPECIES` into `output`: that many 224x224 JPEGs a species and split, and 7 unlabelled ones.

    An image depends only on (seed, species, split, number), so the same call gives identical bytes. A folder
    that already holds this drawing is returned as it is; any other existing folder raises `DataError`. Nothing
    is seen at `output` before everything is drawn.
    """
    counts = {"train": train, "valid": valid, "test": test}
    record = {"made by": "ray_birds.demo.birds: drawn birds, not photographs", "seed": seed, **counts}
    if output.exists():
        if _recorded(output) == record:
            return output
        raise DataError(f"{output} exists and is not the demo drawn with seed {seed} and {train}/{valid}/{test}"
                        " images a species: remove it or give another folder")  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        for path, bird, split, number in _plan(counts):
            rng = np.random.default_rng([seed, zlib.crc32(bird.name.encode()), zlib.crc32(split.encode()), number])
            (staging / path).parent.mkdir(parents=True, exist_ok=True)
            pixels = cv2.cvtColor(draw_bird(bird, rng), cv2.COLOR_RGB2BGR)
            (staging / path).write_bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
        (staging / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        staging.chmod(0o755)
        staging.rename(output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return output


def _plan(counts: dict[str, int]) -> Iterator[tuple[str, Species, str, int]]:
    """Every image of the dataset: path below the root, species, split, number."""
    for split, count in counts.items():
        for bird in SPECIES:
            for number in range(count):
                yield f"{split}/{bird.name}/{number + 1:03d}.jpg", bird, split, number
    for number in range(7):
        yield f"{UNLABELLED}/{number + 1}.jpg", SPECIES[number * 5 % len(SPECIES)], UNLABELLED, number


def _recorded(folder: Path) -> object:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
