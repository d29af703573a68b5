"""Bytes of an image -> (size, size, 3) uint8, or the reason why not: one decoder for training and prediction."""

import importlib.util
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ray_birds.core import storage
from ray_birds.core.errors import DataError, first_line
from ray_birds.data import colour, formats, jpeg_xl, metadata, square, tiff
from ray_birds.data.shards import members
from ray_birds.sweep.factors import Resize

VERSION = 3  # part of the key of stored features: raise it when a file gives other pixels. A test compares.
MAX_PIXELS = 50_000_000  # that must lie in memory at once: 200 MB, four times that of a WebP
MAX_BYTES = 100_000_000  # of a file: a photograph of 100 megapixels in the best quality has some 80 MB

# Opened by class: Image.open has a limit of its own, a global one that is not ours to change.
_CLASSES: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
    "TIFF": TiffImageFile,
    "AVIF": AvifImageFile,
}
# Bytes of memory that a pixel takes while it is decoded: Pillow's own four; beside them libwebp's two canvases and
# a copy, the planes of AVIF, HEIC and JPEG XL with copies, a TIFF's only strip; the coefficients of a JPEG held
# whole.
_PIXEL = {"JPEG": 4, "PNG": 4, "GIF": 4, "BMP": 4} | dict.fromkeys(("WEBP", "TIFF", "AVIF", "HEIC", "JPEG XL"), 16)
_PIXEL_WHOLE_JPEG = 6
_ALONE = 256_000_000  # bytes above which images are decoded one at a time on a machine
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """A decoded image: `pixels` (size, size, 3) uint8, or None and the reason in `error`.

    `width` and `height` are those of the file after EXIF rotation, 0 where they are unknown.
    """

    pixels: np.ndarray | None
    width: int
    height: int
    error: str


def read(uri: str, max_bytes: int = MAX_BYTES) -> tuple[bytes, str]:
    """The bytes of a file or of an image inside of a shard, or none and the reason why they cannot be had. Never
    raises on what the file is."""
    try:
        return members.read_up_to(uri, max_bytes), ""
    except storage.TooLargeError as error:
        return b"", f"too large: {error.size:,} bytes, over {max_bytes:,}"
    except Exception as error:  # an OSError, or a key that Arrow's file system does not take
        return b"", formats.unread(error)


def load(
    uri: str,
    size: int,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    resize: Resize = "stretch",
) -> Decoded:
    """Read and decode a file. Never raises on what the file is or is not."""
    data, reason = read(uri, max_bytes)
    return Decoded(None, 0, 0, reason) if reason else decode(data, size, max_pixels, resize)


def load_known(uri: str, size: int, resize: Resize = "stretch") -> np.ndarray:
    """(size, size, 3) uint8 of an image that could be read before. Raises DataError where it no longer can."""
    image = load(uri, size, max_bytes=sys.maxsize, resize=resize)  # --max-bytes was obeyed then
    if image.pixels is None:
        raise DataError(f"{uri}: {image.error} since the sweep began; bring it back and continue with --resume")
    return image.pixels


def decode(data: bytes, size: int, max_pixels: int = MAX_PIXELS, resize: Resize = "stretch") -> Decoded:
    """The first frame of an encoded image as RGB, resized to size x size (bilinear, antialiased), see `square`.

    Metadata do not cost an image: where it cannot be decoded with them, it is decoded without. Never raises.
    """
    try:
        image = _decode(data, size, max_pixels, resize)
        if image.error.startswith("damaged"):
            bare = metadata.without(data)
            again = image if bare is data else _decode(bare, size, max_pixels, resize)
            return image if again.error else again
        return image
    except MemoryError:
        return Decoded(None, 0, 0, "too large for memory")


def _decode(data: bytes, size: int, max_pixels: int, how: Resize) -> Decoded:
    if not data:
        return Decoded(None, 0, 0, "empty file")
    kind = format_of(data)
    opened = reader(kind)
    if opened is None:
        return Decoded(None, 0, 0, formats.not_read(kind) if kind else f"not a {formats.READ_TEXT} image")
    width = height = 0
    try:
        if kind == "JPEG XL":  # opening it decodes it
            width, height = jpeg_xl.size(data)
            if width * height > max_pixels:
                return _too_large(width, height, max_pixels)
        with opened(io.BytesIO(data)) as image:
            width, height = image.size
            image.draft(None, (2 * size, 2 * size))  # a JPEG far too large is decoded at a fraction of its size
            whole = kind == "JPEG" and metadata.is_held_whole(data)
            held = width * height if whole else image.width * image.height
            if isinstance(image, TiffImageFile):
                if tiff.is_odd(image):
                    return Decoded(None, width, height, tiff.ODD)
                held = max(held, tiff.tile(image))
            if held > max_pixels:
                return _too_large(width, height, max_pixels)
            if kind == "JPEG XL" and image.mode == "F":
                return Decoded(None, width, height, jpeg_xl.FLOATS)
            with _alone(held * (_PIXEL_WHOLE_JPEG if whole else _PIXEL[kind])):
                image.load()
                # Of a TIFF none is left: Pillow has turned it. So has the plugin a JPEG XL, but not a JPEG inside.
                orientation = 1 if kind == "JPEG XL" and not getattr(image, "jpeg", False) else _orientation(image)
                large = image.width * image.height > square.LARGE
                fit = square.fit(image, size, how)
                small = square.shrink_by_strips(image, fit, colour.flat) if large else colour.flat(image)
            if orientation >= 5:  # stored lying on its side
                width, height = height, width
            upright = small.transpose(_TURNS[orientation]) if orientation in _TURNS else small
            shown = upright if large else square.shrink(upright, square.fit(upright, size, how))
            rgb = colour.srgb(shown, image.info.get("icc_profile"))
            return Decoded(np.asarray(square.framed(rgb, size)), width, height, "")
    except MemoryError:
        return Decoded(None, width, height, "too large for memory")
    except Image.DecompressionBombError:  # some of Pillow's readers ask for it again
        return Decoded(
            None, width, height, "too large: over the limit of this process, PIL.Image.MAX_IMAGE_PIXELS"
        )
    except SyntaxError as error:  # Pillow's word for a beginning that it does not take
        odd = kind == "TIFF" and ("pixel mode" in str(error) or str(error).isdecimal())  # a compression's number
        return Decoded(None, width, height, tiff.ODD if odd else f"damaged: {first_line(error)}")
    except Exception as error:  # on damaged content Pillow's decoders raise whatever they meet
        return Decoded(None, width, height, f"damaged: {first_line(error)}")


def _too_large(width: int, height: int, max_pixels: int) -> Decoded:
    return Decoded(None, width, height, f"too large: {width}x{height}, over {max_pixels} pixels")


@cache
def reader(kind: str) -> type[ImageFile] | None:
    """Pillow's class for a kind of image; None for one that is not read, or not without an extra."""
    if kind == "HEIC" and importlib.util.find_spec("pillow_heif"):
        from pillow_heif.as_plugin import HeifImageFile

        return HeifImageFile
    if kind == "JPEG XL" and importlib.util.find_spec("pillow_jxl"):
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile

        return JXLImageFile
    return _CLASSES.get(kind)


def format_of(data: bytes) -> str:
    """The kind of image that the bytes announce, see `formats`, or ""."""
    found = formats.by_content(data)
    if found == "TIFF" and tiff.is_raw(data):
        return formats.RAW
    return "BMP" if not found and re.match(rb"BM.{12}[\x0c-\x7f]\0\0\0", data, re.DOTALL) else found


@contextmanager
def _alone(size: int) -> Iterator[None]:
    """Wait until no other process or thread of this machine decodes an image as large as this one, in bytes.

    The lock is on this file, which all of them have; where it cannot be had (some network disks, Windows)
    nobody waits.
    """
    if size <= _ALONE:
        yield
        return
    with Path(__file__).open("rb") as file:
        if sys.platform != "win32":
            import fcntl

            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the EXIF block is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block says nothing about the image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
