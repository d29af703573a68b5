"""An input file decoded, and whether the model has seen it: one way for the batch job and for one photo."""

from typing import NamedTuple

import numpy as np

from ray_birds.data import decode, seen
from ray_birds.model.bundle import Bundle


class Image(NamedTuple):
    """What decoding gives, see `decode.Decoded`; `seen` is None where it cannot be known."""

    pixels: np.ndarray | None
    width: int
    height: int
    error: str
    seen: bool | None


def load(uri: str, model: Bundle, max_pixels: int, max_bytes: int) -> Image:
    """Read a file once, for the model's input and for its digest. Never raises on what the file is or is not."""
    data, reason = decode.read(uri, max_bytes)
    if reason:
        return Image(None, 0, 0, reason, None)
    variant = model.variant
    decoded = decode.decode(data, variant.image_size, max_pixels, variant.resize)
    return Image(*decoded, seen.holds(model.seen, data))
