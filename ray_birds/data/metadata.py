"""The parts of image files: one without its metadata, its EXIF block, and what decoding must hold in memory."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}  # chunks of a PNG that decide what it shows
_ADOBE, _APPS, _COMMENT, _SCAN = 0xEE, range(0xE0, 0xF0), 0xFE, 0xDA
_EXIF = 0xE1
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length


class _Part(NamedTuple):
    """A chunk or segment: data[start:end], its content from `content` on."""

    kind: bytes | int
    start: int
    content: int
    end: int


def without(data: bytes) -> bytes:
    """The same image without what it can be decoded without: profiles, texts, EXIF; `data` where it has none."""
    if data.startswith(b"\x89PNG"):
        parts, begin = list(_chunks(data)), 8
        kept = [part for part in parts if part.kind in _PIXELS]
    elif data.startswith(b"\xff\xd8"):
        parts, begin = list(_segments(data)), 2
        kept = [part for part in parts if _decides(part)]
    else:
        return data
    if len(kept) == len(parts):
        return data
    end = parts[-1].end
    return b"".join([data[:begin], *(data[part.start : part.end] for part in kept), data[end:]])


def exif(data: bytes) -> bytes:
    """The EXIF block of a JPEG, PNG or WebP, without the word before it; b"" where there is none.

    Of a TIFF that is the file itself.
    """
    if data.startswith((b"II*\0", b"MM\0*")):
        return data
    if data.startswith(b"\xff\xd8"):
        parts: Iterator[_Part] = (part for part in _segments(data) if part.kind == _EXIF)
    elif data.startswith(b"\x89PNG"):
        parts = (part._replace(end=part.end - 4) for part in _chunks(data) if part.kind == b"eXIf")
    elif data.startswith(b"RIFF"):
        parts = (part for part in _riff(data) if part.kind == b"EXIF")
    else:
        return b""
    for part in parts:
        block = data[part.content : part.end].removeprefix(b"Exif\0\0")
        if block.startswith((b"II", b"MM")):  # a JPEG has XMP under the same marker
            return block
    return b""


def is_held_whole(data: bytes) -> bool:
    """Whether all of a JPEG must lie in memory to be decoded, at a fraction of its size too.

    So it is where the image comes in several scans: in a progressive one, and where each colour has its own.
    """
    colours = 0
    for part in _segments(data):
        if part.kind in _FRAMES:
            if part.kind in _PROGRESSIVE:
                return True
            colours = data[part.content + 5] if part.content + 5 < part.end else 0
        elif part.kind == _SCAN:
            return part.content < part.end and data[part.content] < colours
    return False


def _chunks(data: bytes) -> Iterator[_Part]:
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = min(at + 12 + length, len(data))
        yield _Part(kind, at, at + 8, end)
        at = end


def _riff(data: bytes) -> Iterator[_Part]:
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        end = min(at + 8 + length, len(data))
        yield _Part(kind, at, at + 8, end)
        at = end + length % 2


def _segments(data: bytes) -> Iterator[_Part]:
    """Those up to the first scan, which is the last one."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _BARE:  # 0xFF fills
            at += 1 if marker == 0xFF else 2
            continue
        end = min(at + 2 + struct.unpack_from(">H", data, at + 2)[0], len(data))
        yield _Part(marker, at, at + 4, end)
        if marker == _SCAN:
            return
        at = end


def _decides(part: _Part) -> bool:
    """Whether a segment decides a JPEG's pixels; Adobe's says how its colours are written."""
    if part.kind == _ADOBE:
        return part.end - part.content >= 12
    return part.kind not in _APPS and part.kind != _COMMENT
