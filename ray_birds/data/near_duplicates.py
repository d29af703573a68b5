"""Which images look the same: perceptual hashes, the pairs that are close, the groups that these make.

An image's code is its 256-bit DCT hash (imagehash.phash, after http://www.hackerfactor.com/blog, "Looks Like
It"), with the 8 x 8 lowest frequencies first. These 64 bits find candidates without comparing all with all, the
whole code confirms them. Both limits were chosen on photographs: benchmarks/duplicates.py.
"""

from collections.abc import Iterator
from itertools import combinations

import imagehash
import numpy as np
from PIL import Image, ImageOps
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIZE = 64  # pixels a side that an image should at least have been decoded to
_SAME = 48  # bits of 256 that may differ: copies differ in 16 at most, images of different birds in 76 or more
_CLOSE = 6  # bits that may differ of the 64 lowest frequencies: copies differ in 4 at most
_AGREE = 2  # blocks of bits that candidates have in common
_CHUNK = 1 << 22  # candidates looked at a time


def codes(pixels: np.ndarray) -> tuple[bytes, bytes]:
    """The codes (32 bytes each) of an image (h, w, 3) uint8 and of its mirror image."""
    grey = Image.fromarray(pixels).convert("L")
    return _code(grey), _code(ImageOps.mirror(grey))


def _code(image: Image.Image) -> bytes:
    bits = imagehash.phash(image, hash_size=16).hash  # (16, 16), the lowest frequencies at the top left
    blocks = bits.reshape(2, 8, 2, 8).transpose(0, 2, 1, 3)
    return np.packbits(blocks.ravel()).tobytes()


def pairs(own: list[bytes], mirrored: list[bytes]) -> np.ndarray:
    """(m, 2) int64: images i < j that look the same, as they are or mirrored, by their codes.

    Of images with one and the same code, each is paired with the first of them alone.
    """
    if not own:
        return np.empty((0, 2), np.int64)
    straight, turned = (np.frombuffer(b"".join(some), "<u8").reshape(-1, 4) for some in (own, mirrored))
    unique, first, inverse = np.unique(straight, axis=0, return_index=True, return_inverse=True)
    leader = first[inverse.ravel()]
    equal = np.flatnonzero(leader != np.arange(len(leader)))
    found = [np.stack([leader[equal], equal], axis=1)]
    targets = np.concatenate([unique, turned[first]])
    for left, right in _near(unique, targets):
        found.append(np.sort(np.stack([first[left], first[right % len(unique)]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0).astype(np.int64)


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
