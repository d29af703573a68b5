"""A compact list of the images that a model was trained on: 8 bytes of each file's digest, sorted.

That one of a million other files is taken for one of a million listed has a chance of 5 in 100 million.
"""

from collections.abc import Iterable, Sequence

import numpy as np

BYTES = 8


def pack(digests: Iterable[str]) -> bytes:
    """The list of these files, from their digests as `storage.digest` gives them."""
    return np.unique(_numbers(list(digests))).tobytes()


def listed(packed: bytes, digests: Sequence[str]) -> np.ndarray:
    """(n,) bool: which of the files are in the list. Raises ValueError where `packed` is no such list."""
    return np.isin(_numbers(digests), np.frombuffer(packed, ">u8"))


def _numbers(digests: Sequence[str]) -> np.ndarray:
    return np.frombuffer(b"".join(bytes.fromhex(one)[:BYTES] for one in digests), ">u8")
