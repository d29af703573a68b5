"""Bytes of an image -> (size, size, 3) uint8, or the reason why not: one decoder for training and prediction."""

import io
import re
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ray_birds.core import storage
from ray_birds.core.errors import DataError

# A JPEG with a second image behind it (MPO), as many telephones make it, opens as a JPEG.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
MAX_PIXELS = 100_000_000
VERSION = 1  # part of the key of stored features: raise it when a file gives other pixels. A test compares.

# BMP with its four reserved zero bytes, for texts too may begin with BM.
_BEGINNING = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<GIF>GIF8[79]a)|(?P<WEBP>RIFF....WEBP)"
    rb"|(?P<BMP>BM....\0\0\0\0)",
    re.DOTALL,
)


class Decoded(NamedTuple):
    """A decoded image: `pixels` (size, size, 3) uint8, or None and the reason in `error`.

    `width` and `height` are those of the file after EXIF rotation, 0 where they are unknown.
    """

    pixels: np.ndarray | None
    width: int
    height: int
    error: str


def has_image_extension(path: str) -> bool:
    return path.lower().endswith(EXTENSIONS)


def looks_like_image(uri: str) -> bool:
    """Whether the first bytes of a file are those of a known format; false where it cannot be read."""
    try:
        return format_of(storage.read(uri, limit=16)) != ""
    except OSError:
        return False


def format_of(data: bytes) -> str:
    """The one of FORMATS that the first bytes announce, or ""."""
    found = _BEGINNING.match(data)
    return found.lastgroup or "" if found else ""


def read(uri: str) -> tuple[bytes, str]:
    """The bytes of a file, or none and the reason why they cannot be had. Never raises on what the file is."""
    try:
        return storage.read(uri), ""
    except FileNotFoundError:
        return b"", "file has vanished"
    except PermissionError:
        return b"", "no permission to read the file"
    except UnicodeEncodeError:
        return b"", "the file's name is not UTF-8"
    except OSError as error:
        return b"", f"cannot be read: {_first_line(error)}"


def load(uri: str, size: int, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Read and decode a file. Never raises on what the file is or is not."""
    data, reason = read(uri)
    return Decoded(None, 0, 0, reason) if reason else decode(data, size, max_pixels)


def load_known(uri: str, size: int) -> np.ndarray:
    """(size, size, 3) uint8 of an image that could be read before. Raises DataError where it no longer can."""
    image = load(uri, size)
    if image.pixels is None:
        raise DataError(f"{uri}: {image.error} since the sweep began; bring it back and continue with --resume")
    return image.pixels


def decode(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The first frame of an encoded image as RGB, stretched to size x size (bilinear, antialiased)."""
    if not data:
        return Decoded(None, 0, 0, "empty file")
    # Our own limit, checked before decoding, takes the place of Pillow's, which is global and only warns.
    Image.MAX_IMAGE_PIXELS = None
    width = height = 0
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                return Decoded(None, width, height, f"too large: {width}x{height}, over {max_pixels} pixels")
            if _orientation(image) >= 5:  # stored lying on its side
                width, height = height, width
            image.draft(None, (2 * size, 2 * size))  # a JPEG far too large is decoded at a fraction of its size
            image.load()
            rgb = _rgb(_upright(image)).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
            return Decoded(np.asarray(rgb), width, height, "")
    except UnidentifiedImageError:
        return Decoded(None, 0, 0, "not a JPEG, PNG, GIF, BMP or WebP image")
    except MemoryError:
        return Decoded(None, width, height, "too large for memory")
    except Exception as error:  # on damaged content Pillow's decoders raise whatever they meet
        return Decoded(None, width, height, f"damaged: {_first_line(error)}")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the EXIF block is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block says nothing about the image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as above: show the image as it is stored
        return image


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: 16-bit grey scaled to 8 bits, transparency laid over white."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image, dtype=np.float32)
        scale = 255.0 / 65535.0 if grey.max(initial=0) > 255 or image.mode.startswith("I;16") else 1.0
        return Image.fromarray((grey.clip(0) * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
