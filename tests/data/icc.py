"""ICC profiles written by hand, after ICC.1:2001-04: of RGB, grey and CMYK."""

import struct
from collections.abc import Mapping

import numpy as np

# Primaries adapted to D50, as columns, and gammas: Adobe RGB (1998); Display P3 with a plain gamma.
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
GAMMA = 563 / 256
_WHITE = (0.9642, 1.0, 0.8249)


def rgb(primaries: np.ndarray) -> bytes:
    columns = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), (_xyz(*column) for column in primaries.T), strict=True))
    return _profile(b"RGB ", b"XYZ ", columns | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(GAMMA)))


def grey(gamma: float) -> bytes:
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _gamma(gamma)})


def cmyk() -> bytes:
    """Of inks that are no pure colours, which mix by the table of their sixteen corners."""
    inks = np.array([[bits >> shift & 1 for shift in (3, 2, 1, 0)] for bits in range(16)], float)
    c, m, y, k = inks.T
    lab = [100 * (1 - 0.3 * c - 0.4 * m - 0.1 * y) * (1 - 0.9 * k), (-60 * c + 70 * m) * (1 - k)]
    lab += [(-40 * c - 10 * m + 80 * y) * (1 - k)]
    corners = np.stack([lab[0] * 2.55, lab[1] + 128, lab[2] + 128], axis=1).clip(0, 255).astype(np.uint8)
    unit = struct.pack(">9i", *(65536 * (place % 4 == 0) for place in range(9)))
    straight = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + unit + straight * 4 + corners.tobytes() + straight * 3
    return _profile(b"CMYK", b"Lab ", {b"A2B0": table})


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(256 * value), 0)


def _profile(space: bytes, pcs: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    tags = {b"wtpt": _xyz(*_WHITE), **tags}
    index, content, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        index += struct.pack(">4sII", name, at + len(content), len(data))
        content += data
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", at + len(content), bytes(4), 0x02400000, kind, space, pcs)
    head += struct.pack(">6H4s28x", 2026, 1, 1, 0, 0, 0, b"acsp") + _xyz(*_WHITE)[8:]
    return head.ljust(128, b"\0") + index + content
