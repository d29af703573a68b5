"""Small damage to small valid files, the same for one seed: bits, lengths, pieces lost, doubled or exchanged."""

import random
import re
from collections.abc import Sequence

NUMBERS = (0, 1, 2, 255, 256, 32767, 65535, 65536, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
VALUES = (
    "-1",
    "0",
    "1e400",
    "1000000000",
    "0.5",
    "null",
    "true",
    "NaN",
    '"x"',
    "[]",
    "{}",
    '"\\ud800"',
    "[" * 3000,
)


class Mutator(random.Random):
    """Damages bytes; `corpus` is what pieces are taken from."""

    def __init__(self, seed: int, corpus: Sequence[bytes]) -> None:
        super().__init__(seed)
        self._corpus = corpus

    def damaged(self, data: bytes) -> bytes:
        """`data` after one to four changes."""
        changes = (
            self._flip,
            self._flip,
            self._set,
            self._length,
            self._length,
            self._cut,
            self._drop,
            self._double,
        )
        for _ in range(self.randint(1, 4)):
            data = self.choice((*changes, self._insert, self._splice))(data)
        return data

    def damaged_text(self, data: bytes) -> bytes:
        """JSON with one of its values exchanged, or damaged like any bytes."""
        values = list(re.finditer(rb'-?\d+(\.\d+)?|"[^"]*"|null|true|false', data))
        if not values or self.random() < 0.4:
            return self.damaged(data)
        chosen = self.choice(values)
        return data[: chosen.start()] + self.choice(VALUES).encode() + data[chosen.end() :]

    def _flip(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.choice((1, 1, 2, 8)) if data else 0):
            changed[self.randrange(len(data))] ^= 1 << self.randrange(8)
        return bytes(changed)

    def _set(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + bytes([self.choice((0, 1, 127, 128, 255))]) + data[at + 1 :]

    def _length(self, data: bytes) -> bytes:
        """Another number where one may stand: of 1, 2, 4 or 8 bytes, in either order."""
        at, width = self._at(data), self.choice((1, 2, 2, 4, 4, 4, 8))
        number = self.choice((*NUMBERS, len(data), len(data) - at)) % (1 << 8 * width)
        return data[:at] + number.to_bytes(width, self.choice(("little", "big"))) + data[at + width :]

    def _cut(self, data: bytes) -> bytes:
        return data[: self._at(data)]

    def _drop(self, data: bytes) -> bytes:
        start, end = self._slice(data)
        return data[:start] + data[end:]

    def _double(self, data: bytes) -> bytes:
        start, end = self._slice(data)
        return data[:end] + data[start:end] * self.choice((1, 2, 20)) + data[end:]

    def _insert(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + self.randbytes(self.randint(1, 16)) + data[at:]

    def _splice(self, data: bytes) -> bytes:
        """From somewhere on another file's bytes, or a piece of them in between."""
        other = self.choice(self._corpus)
        start, end = self._slice(other)
        at = self._at(data)
        return data[:at] + (other[start:] if self.random() < 0.5 else other[start:end] + data[at:])

    def _at(self, data: bytes) -> int:
        """Anywhere, half of the time among the first or last hundred bytes: headers and directories are there."""
        if not data:
            return 0
        near = min(len(data), 100)
        place = self.choice(("first", "last", "any", "any"))
        at = self.randrange(near if place == "first" or place == "last" else len(data))
        return len(data) - 1 - at if place == "last" else at

    def _slice(self, data: bytes) -> tuple[int, int]:
        start = self._at(data)
        return start, min(len(data), start + self.choice((1, 2, 4, 8, 64, 512)))
