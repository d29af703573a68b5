"""An input file decoded, what its metadata say and whether the model has seen it: one way for all jobs."""

from typing import NamedTuple

import numpy as np

from ray_birds.data import decode, exif, seen, walk
from ray_birds.data.walk import UNKNOWN, Stamp
from ray_birds.model.bundle import Bundle


class Image(NamedTuple):
    """What decoding gives, see `decode.Decoded`; `seen` is None where it cannot be known; `facts` of EXIF.

    `stamp` is unknown where the file could not be read: without its bytes it says nothing of them.
    """

    pixels: np.ndarray | None
    width: int
    height: int
    error: str
    seen: bool | None
    facts: exif.Facts = exif.Facts()
    stamp: Stamp = UNKNOWN


def load(
    uri: str,
    model: Bundle,
    max_pixels: int,
    max_bytes: int,
    *,
    metadata: bool = False,
    stamp: Stamp = UNKNOWN,
) -> Image:
    """Read a file once, for the model's input, for its digest and, where `metadata` are asked for, for its facts.

    Its `stamp`, where it is unknown, is looked at before: what changes meanwhile is not taken for the same later.
    Never raises on what the file is or is not; the facts of an image that cannot be decoded are read all the same.
    """
    stamp = walk.stamp(uri) if stamp == UNKNOWN else stamp
    data, reason = decode.read(uri, max_bytes)
    if reason:
        return Image(None, 0, 0, reason, None)
    variant = model.variant
    decoded = decode.decode(data, variant.image_size, max_pixels, variant.resize)
    image = Image(*decoded, seen.holds(model.seen, data), stamp=stamp)
    return image._replace(facts=exif.read(data)) if metadata else image
