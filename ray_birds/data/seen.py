"""Which images a model has seen: eight bytes of each one's content, in one sorted list that its bundle carries.

It finds a file that is the same byte for byte; one in 2**64 pairs of different files is taken for the same.
"""

import io
from collections.abc import Iterable

import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import first_line

NONE = np.zeros(0, np.uint64)
_DIGITS = 16  # of a hexadecimal digest: 8 bytes


def listed(digests: Iterable[str]) -> np.ndarray:
    """(n,) uint64, sorted, each once: from the hexadecimal digests of images' content (`storage.digest`)."""
    return np.unique(np.array([_number(digest) for digest in digests], np.uint64))


def holds(known: np.ndarray, content: bytes) -> bool | None:
    """Whether a file of this content is on the list `known`; None where that is empty, for then none was kept."""
    if not len(known):
        return None
    number = np.uint64(_number(storage.digest([content])))
    place = int(np.searchsorted(known, number))
    return bool(place < len(known) and known[place] == number)


def to_bytes(known: np.ndarray) -> bytes:
    """The list as an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, known, allow_pickle=False)
    return buffer.getvalue()


def from_bytes(data: bytes) -> np.ndarray:
    """What `to_bytes` wrote. Raises ValueError where it is something else."""
    try:
        known = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # NumPy raises what its parser of the header does, and MemoryError for its sizes
        raise ValueError(f"not a list of 8-byte digests ({first_line(error)})") from error
    if known.dtype != np.uint64 or known.ndim != 1:
        raise ValueError(f"a list of {known.dtype}; expected one of 8-byte digests")
    return np.asarray(known)


def _number(digest: str) -> int:
    return int(digest[:_DIGITS], 16)
