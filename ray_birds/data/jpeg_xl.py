"""JPEG XL files, before anything of them is decoded: how large an image is, and its EXIF block.

The plugin for Pillow decodes a whole image when it is opened. Layout: ISO/IEC 18181-1 (codestream: signature,
SizeHeader) and 18181-2 (boxes).
"""

import struct
from collections.abc import Iterator

FLOATS = "a JPEG XL image of floating-point grey, which is not read (convert it to 8 or 16 bits)"
_SIGNATURE = b"\xff\x0a"
_HEADER = 12  # bytes: the signature, and 68 bits of sizes at most
_SIDE_BITS = (9, 13, 18, 30)
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height, from 1 on


def size(data: bytes) -> tuple[int, int]:
    """Width and height, as stored. Raises ValueError where there is no codestream, or too little of it."""
    stream = _codestream(data)
    if not stream.startswith(_SIGNATURE) or len(stream) < _HEADER:
        raise ValueError("no codestream")
    bits = _Bits(stream[len(_SIGNATURE) :])
    is_small = bits.take(1)
    height = bits.side(is_small)
    ratio = bits.take(3)
    if not ratio:
        return bits.side(is_small), height
    wide, high = _RATIOS[ratio - 1]
    return height * wide // high, height


class _Bits:
    """Numbers of some bits each, one after the other, their lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")

    def take(self, bits: int) -> int:
        value = self._left & ((1 << bits) - 1)
        self._left >>= bits
        return value

    def side(self, is_small: int) -> int:
        """Of an image whose sides are multiples of 8 up to 256, or of another one."""
        return 8 * (1 + self.take(5)) if is_small else 1 + self.take(_SIDE_BITS[self.take(2)])


def exif(data: bytes) -> bytes:
    """The EXIF block; b"" where there is none, or one that is compressed."""
    block = next((data[begin:end] for kind, begin, end in _boxes(data) if kind == b"Exif"), b"")
    return block if block.startswith((b"II", b"MM")) else block[4:].removeprefix(b"Exif\0\0")  # behind an offset


def _codestream(data: bytes) -> bytes:
    """How the codestream begins: in its box, or in the first of several, where a number comes before it."""
    if not data.startswith(b"\0\0\0\x0cJXL "):
        return data[:_HEADER]
    begins = (begin + 4 * (kind == b"jxlp") for kind, begin, _ in _boxes(data) if kind in (b"jxlc", b"jxlp"))
    return next((data[begin : begin + _HEADER] for begin in begins), b"")


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box, and where its content begins and ends."""
    at = 0
    while at + 16 <= len(data):
        length, kind, long = struct.unpack_from(">I4sQ", data, at)
        begin = at + (16 if length == 1 else 8)
        end = {0: len(data), 1: at + long}.get(length, at + length)
        if end < begin:
            return
        yield kind, begin, min(end, len(data))
        at = end
