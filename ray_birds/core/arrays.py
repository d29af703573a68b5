"""Named arrays as the bytes of an .npz file and back: nothing is pickled or packed, and the types are told."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from ray_birds.core.errors import first_line


def to_bytes(values: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as an .npz file; the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **values)  # members have a fixed date
    return buffer.getvalue()


def from_bytes(data: bytes, expected: Mapping[str, tuple[str, int]]) -> dict[str, np.ndarray]:
    """What `to_bytes` wrote, where it has just the `expected` arrays: name -> type and number of axes.

    Raises ValueError where it is something else, or would unpack to more than the bytes there are.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
            if packed or sum(member.file_size for member in archive.infolist()) > len(data):
                raise ValueError("its arrays are packed")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            values = {name: np.asarray(file[name]) for name in expected} if {*file} == {*expected} else {}
    except Exception as error:  # NumPy raises what its parser of headers does, and MemoryError for their sizes
        raise ValueError(f"not arrays ({first_line(error)})") from error
    kinds = {name: (array.dtype.name, array.ndim) for name, array in values.items()}
    if kinds != dict(expected):
        raise ValueError(f"not the arrays {', '.join(expected)}")
    return values
