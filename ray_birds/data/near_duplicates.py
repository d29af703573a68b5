"""Which images look the same: perceptual hashes, the pairs that are close, the groups that these make.

A code is the signs of an image's 16 x 16 lowest frequencies (256 bits of its discrete cosine transform; C. Zauner,
Implementation and Benchmarking of Perceptual Image Hash Functions, 2010), the 8 x 8 lowest first. These 64 bits
find candidates without comparing all with all, the whole code confirms them. Turning an image over changes signs
and transposes, so the codes of all eight orientations follow from one. An image with borders of one colour has
another code without them. All limits were chosen on photographs: benchmarks/duplicates.py.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from PIL import Image
from scipy import fft
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIZE = 128  # pixels a side that an image should at least have been decoded to
BYTES = 32  # of a code
_SAME = 48  # bits of 256 that may differ; benchmarks/duplicates.py measures what this finds
_CLOSE = 7  # bits that may differ of the 64 lowest frequencies
_AGREE = 2  # blocks of bits that candidates have in common
_CHUNK = 1 << 22  # candidates looked at a time
_ALIKE = 24  # grey levels: as far from a border's colour as its pixels may be
# So much of a border's line has that colour, border after border: a frame, then one with a screenshot's clock.
_MOSTLY = (0.95, 0.8, 0.8)
_LEAST = 0.2  # of a side must be left between borders
_ODD = np.arange(16) % 2 == 1

_Box = tuple[float, float, float, float]  # left, top, right, bottom; a pixel has a side of 1


def codes(pixels: np.ndarray) -> bytes:
    """The codes of an image (h, w, 3) uint8, of BYTES each: as it is, then without borders if it has any."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    return b"".join(_code(grey, box) for grey, box in _views(grey))


def _views(grey: np.ndarray) -> Iterator[tuple[np.ndarray, _Box]]:
    """The image (h, w), and what is left of it each time that borders of one colour are taken off."""
    yield grey, (0.0, 0.0, grey.shape[1], grey.shape[0])
    least = _LEAST * min(grey.shape)
    for share in _MOSTLY:
        edges = [_border(lines, share) for lines in (grey, grey[::-1], grey.T, grey.T[::-1])]
        top, bottom, left, right = (lines for lines, _ in edges)
        height, width = grey.shape[0] - top - bottom, grey.shape[1] - left - right
        if min(height, width) < least:
            return
        if top + bottom + left + right:
            grey = grey[top : top + height, left : left + width]
            above, below, before, after = (part for _, part in edges)
            yield grey, (before, above, width - after, height - below)


def _border(lines: np.ndarray, share: float) -> tuple[int, float]:
    """Number of lines from the first on of which `share` at least has one colour, that of the first.

    And which part of the next line belongs to them: an image made smaller has both in it, and where the rest is a
    few dozen lines high, as on a screenshot, half a line moves the code.
    """
    away = np.abs(lines.astype(np.int16) - np.median(lines[0]))
    of_border = (away <= _ALIKE).mean(axis=1) >= share
    if of_border.all():
        return len(lines), 0.0
    number = int(of_border.argmin())
    if number == 0 or number + 1 == len(lines):
        return number, 0.0
    mixed, inner = away[number : number + 2].mean(axis=1)
    return number, max(0.0, 1 - float(mixed / inner)) if inner else 0.0


def _code(grey: np.ndarray, box: _Box) -> bytes:
    small = Image.fromarray(grey).resize((64, 64), Image.Resampling.LANCZOS, box)
    low = fft.dctn(np.asarray(small, dtype=np.float32))[:16, :16]
    bits = low > 0
    bits[0, 0] = False  # brightness
    return _packed(bits[None]).tobytes()


def _packed(bits: np.ndarray) -> np.ndarray:
    """(n, 16, 16) bool, the lowest frequencies at the top left -> (n, 4) uint64, the first of the 8 x 8 lowest."""
    blocks = bits.reshape(-1, 2, 8, 2, 8).transpose(0, 1, 3, 2, 4)
    return np.packbits(blocks.reshape(-1, 256), axis=1).view("<u8")


def _turned(straight: np.ndarray) -> np.ndarray:
    """(n, 4) codes -> (7 * n, 4): as they are, and of the images turned over.

    Left out is one of the two quarter turns: it is found by the other, from the other image of a pair.
    """
    blocks = np.unpackbits(straight.view(np.uint8), axis=1).astype(bool).reshape(-1, 2, 2, 8, 8)
    bits = blocks.transpose(0, 1, 3, 2, 4).reshape(-1, 16, 16)
    across, down = _ODD[None, None, :], _ODD[None, :, None]
    flips = [bits, bits ^ across, bits ^ down, bits ^ across ^ down]
    quarters = [flip.transpose(0, 2, 1) for flip in (flips[0], flips[1], flips[3])]
    return np.concatenate([_packed(one) for one in [*flips, *quarters]])


def pairs(codes: list[bytes]) -> np.ndarray:
    """(m, 2) int64: images i < j that look the same, in any orientation, by the `codes` of each.

    Of images with one and the same code, each is paired with the first of them alone.
    """
    views = np.array([len(own) // BYTES for own in codes], np.int64)
    if not views.any():
        return np.empty((0, 2), np.int64)
    image = np.repeat(np.arange(len(codes)), views)
    straight = np.frombuffer(b"".join(codes), "<u8").reshape(-1, 4)
    unique, first, inverse = np.unique(straight, axis=0, return_index=True, return_inverse=True)
    found = [np.stack([image[first[inverse.ravel()]], image], axis=1)]
    for left, right in _near(unique, _turned(unique)):
        found.append(np.stack([image[first[left]], image[first[right % len(unique)]]], axis=1))
    both = np.sort(np.concatenate(found), axis=1)
    return np.unique(both[both[:, 0] < both[:, 1]], axis=0).astype(np.int64)


def _near(codes: np.ndarray, targets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of `codes` (n, 4) and of `targets` (k * n, 4) that are close, but no row with itself.

    Of _CLOSE + _AGREE blocks of the 64 bits, _AGREE at least are equal in two codes that differ in _CLOSE bits:
    sorting by each choice of _AGREE blocks brings them together (Manku, Jain and Das Sarma, "Detecting
    near-duplicates for web crawling", WWW 2007).
    """
    low, low_targets = codes[:, 0], targets[:, 0]
    for mask in _masks():
        order = np.argsort(low_targets & mask, kind="stable")
        keys = (low_targets & mask)[order]
        start = np.searchsorted(keys, low & mask, "left")
        count = np.searchsorted(keys, low & mask, "right") - start
        for left, place in _expand(start, count):
            right = order[place]
            close = (np.bitwise_count(low[left] ^ low_targets[right]) <= _CLOSE) & (left != right % len(codes))
            left, right = left[close], right[close]
            same = np.bitwise_count(codes[left] ^ targets[right]).sum(axis=1) <= _SAME
            yield left[same], right[same]


def _masks() -> Iterator[np.uint64]:
    bits = np.array_split(np.arange(64), _CLOSE + _AGREE)
    blocks = [sum(1 << int(bit) for bit in block) for block in bits]
    for chosen in combinations(blocks, _AGREE):
        yield np.uint64(sum(chosen))


def _expand(start: np.ndarray, count: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every (row, place) with start[row] <= place < start[row] + count[row], some _CHUNK at a time."""
    ends = np.cumsum(count)
    edges = np.searchsorted(ends, _CHUNK * np.arange(1, ends[-1] // _CHUNK + 2), "right")
    for low, high in zip([0, *edges[:-1]], edges, strict=True):
        rows = np.repeat(np.arange(low, high), count[low:high])
        before = np.repeat(ends[low:high] - count[low:high], count[low:high])
        yield rows, start[rows] + np.arange(len(rows)) + (ends[low - 1] if low else 0) - before


def groups(number: int, links: np.ndarray) -> np.ndarray:
    """(number,) int: images that `links` (m, 2) connect, directly or through others, get the same number."""
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(number, number))
    return connected_components(graph, directed=False)[1]
