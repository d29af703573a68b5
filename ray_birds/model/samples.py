"""The images that an export is tried on: drawn ones, those of a folder, or those of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data import decode, labels, walk
from ray_birds.data.dataset import Dataset, Split, scan
from ray_birds.model.bundle import Bundle
from ray_birds.sweep.factors import Variant

Item = TypeVar("Item")

_FOLDER = 32  # images of a folder, at most
_DRAWN = 8
_TRAINING, _LABELLED = 200, 500  # of a data set, at most


@dataclass(frozen=True)
class Samples:
    """Images (n, size, size, 3) uint8 to compare answers on; `drawn` ones show nothing.

    Of a data set `labels` (n,) are the numbers of their classes in the model, `training` (m, size, size, 3) uint8
    images of train.
    """

    pixels: np.ndarray
    drawn: bool = False
    labels: np.ndarray | None = None
    training: np.ndarray | None = None


def drawn(size: int) -> Samples:
    """Random colours, from a few large spots to many small ones; always the same."""
    random = np.random.default_rng(0)
    coarse = [random.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in range(2, 2 + _DRAWN)]
    bicubic = Image.Resampling.BICUBIC
    spots = [np.asarray(Image.fromarray(few).resize((size, size), bicubic)) for few in coarse]
    return Samples(np.stack(spots), drawn=True)


def of_folder(folder: str, variant: Variant) -> Samples:
    """Images evenly spread over a folder. Raises DataError where none can be read."""
    uri = storage.resolve(folder)
    paths = walk.sort(walk.walk(uri))[0].files if storage.kind(uri) == fs.FileType.Directory else []
    pixels = _read([storage.join(uri, path) for path in _spread(paths, _FOLDER)], variant)[0]
    if not len(pixels):
        raise DataError(f"--images {folder}: no image there that can be read; expected a folder of images")
    return Samples(pixels)


def of_dataset(folder: str, model: Bundle) -> Samples:
    """Labelled images of valid, or else of test, that the model has a class for, and images of train.

    Raises DataError where the folder is no data set with both.
    """
    data = scan(folder)
    held = data.splits.get("valid") or data.splits.get("test")
    if held is None:
        raise DataError(f"--images {folder}: has no valid/ and no test/ beside train/, to compare accuracies on")
    known = frozenset(model.classes)
    names = [labels.class_of(name, known) for name in data.classes]
    numbers = np.array([model.classes.index(name) if name else -1 for name in names])
    held = held.select(numbers[held.labels] >= 0)
    pixels, kept = _of_split(data, held, _LABELLED, model.variant)
    training, _ = _of_split(data, data.splits["train"], _TRAINING, model.variant)
    if not len(pixels) or not len(training):
        raise DataError(f"--images {folder}: no image of train/ or {held.name}/ that this model has a class for")
    return Samples(pixels, labels=numbers[held.labels[kept]], training=training)


def _of_split(data: Dataset, split: Split, most: int, variant: Variant) -> tuple[np.ndarray, np.ndarray]:
    """Images evenly spread over a split, and their numbers in it."""
    numbers = np.array(_spread(range(len(split)), most), dtype=np.int64)
    pixels, read = _read([data.uri(split.paths[number]) for number in numbers], variant)
    return pixels, numbers[read]


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    return [items[number] for number in np.linspace(0, len(items) - 1, min(len(items), most)).astype(int)]


def _read(uris: list[str], variant: Variant) -> tuple[np.ndarray, np.ndarray]:
    """The images (n, size, size, 3) uint8 of the files that can be read, and for each file whether it can."""
    size = variant.image_size
    images = [decode.load(uri, size, resize=variant.resize).pixels for uri in uris]
    good = [pixels for pixels in images if pixels is not None]
    read = np.array([pixels is not None for pixels in images], dtype=bool)
    return np.stack(good) if good else np.zeros((0, size, size, 3), np.uint8), read
