"""How an image of any shape becomes a square: stretched, padded or cropped; and how a large one is made small."""

from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from ray_birds.sweep.factors import Resize

PADDING = (128, 128, 128)  # grey: near 0 for the networks, whatever range they scale pixels to
LARGE = 16_000_000  # pixels above which an image is made small strip by strip, without whole copies


class Fit(NamedTuple):
    """The part of an image that is shown, `box` in its pixels, and the width and height that it is shown at."""

    box: tuple[float, float, float, float]
    shown: tuple[int, int]


def fit(image: Image.Image, size: int, resize: Resize) -> Fit:
    """How an image is shown in a square of `size` pixels; the same for one that is turned or mirrored."""
    width, height = image.size
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return Fit((left, top, left + side, top + side), (size, size))
    longest = max(width, height)
    across, down = (max(1, round(size * side / longest)) for side in (width, height))
    return Fit((0, 0, width, height), (across, down) if resize == "pad" else (size, size))


def shrink(image: Image.Image, fit: Fit) -> Image.Image:
    """The part that is shown, as large as it is shown (bilinear, antialiased)."""
    return image.resize(fit.shown, Image.Resampling.BILINEAR, fit.box, reducing_gap=2.0)


def shrink_by_strips(image: Image.Image, fit: Fit, flat: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """As `shrink`, of what `flat` makes of a large image; first it is made some times as large, block by block."""
    left, top, right, bottom = map(int, fit.box)
    width, height = right - left, bottom - top
    across, down = (max(1, side // (4 * shown)) for side, shown in zip((width, height), fit.shown, strict=True))
    rows = max(1, LARGE // 16 // width // down) * down  # of a strip
    reduced = None
    for above in range(top, bottom, rows):
        strip = flat(image.crop((left, above, right, min(above + rows, bottom))))
        reduced = reduced or Image.new(strip.mode, (-(-width // across), -(-height // down)))
        reduced.paste(strip.reduce((across, down)), (0, (above - top) // down))
    assert reduced is not None, image.size
    return shrink(reduced, Fit((0, 0, width / across, height / down), fit.shown))  # the last blocks may be parts


def framed(image: Image.Image, size: int) -> Image.Image:
    """An RGB image in the middle of a square of `size` pixels."""
    if image.size == (size, size):
        return image
    square = Image.new("RGB", (size, size), PADDING)
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square
