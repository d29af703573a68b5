"""TIFF files by the tags of their first page: which are a camera's raw ones, and which Pillow would misread."""

import io
from contextlib import suppress

from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

# Tags of TIFF 6.0, its supplements, and DNG.
_SUBFILE, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR = 254, 258, 262, 277, 284
_TILE_WIDTH, _TILE_LENGTH, _SUB_IFDS, _DNG = 322, 323, 330, 50706
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _COLOUR_FILTERS, _LINEAR_RAW = 0, 1, 32803, 34892

ODD = (
    "a TIFF image of unusual numbers, colours or compression, which is not read (convert it to 8 or 16 bits of "
    "grey or RGB, with LZW or deflate)"
)


def is_raw(data: bytes) -> bool:
    """Whether a TIFF file is a camera's raw one, of which Pillow would take a small preview for the image.

    It says that it is a DNG, has the colours of a sensor, or begins with the preview of an image further inside.
    """
    with suppress(Exception):  # on damaged content Pillow raises whatever it meets
        tags = ImageFileDirectory_v2(data[: 16 if b"+" in data[2:4] else 8])  # BigTIFF or TIFF
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        preview = tags.get(_SUBFILE, 0) & 1 and _SUB_IFDS in tags
        return _DNG in tags or tags.get(_PHOTOMETRIC) in (_COLOUR_FILTERS, _LINEAR_RAW) or bool(preview)
    return False


def is_odd(image: TiffImageFile) -> bool:
    """Whether Pillow gives other pixels than the file's, or numbers whose range no standard gives.

    Tried on Pillow 13: it does not invert 16 bits of white-is-zero, mixes up 16 bits in separate planes, and takes
    any channels beside grey for colours. Numbers of 32 bits, or signed ones, have no value that is white.
    """
    tags = image.tag_v2
    bits, photometric = max(tags.get(_BITS, (1,))), tags.get(_PHOTOMETRIC)
    grey = photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
    return bool(
        image.mode in ("I", "F")
        or bits not in (1, 2, 4, 8, 16)
        or (bits == 16 and (photometric == _WHITE_IS_ZERO or tags.get(_PLANAR) == 2))
        or (grey and tags.get(_SAMPLES, 1) > 2)
    )


def tile(image: TiffImageFile) -> int:
    """Pixels of one tile, which may be more than those of the image; 0 where there are none."""
    return int(image.tag_v2.get(_TILE_WIDTH, 0) * image.tag_v2.get(_TILE_LENGTH, 0))
