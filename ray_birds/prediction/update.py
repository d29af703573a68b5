"""An output brought up to date: which of its rows stay, and the parts that they and the new rows make.

A file is the same where its path, size and time are; the model and the options are those of the earlier job, or
there is no update. Both the earlier rows and the new ones are in the order of the files, so they are merged as
they stream by.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.prediction.inputs import Found
from ray_birds.prediction.output import Output

_KEYS = ["input", "path", "size", "modified"]
_NAMES = ("new", "changed", "vanished")


@dataclass(frozen=True)
class Changes:
    """`kept` (files,) bool: whose rows stay. `changed` counts those that could not be read before, too."""

    kept: np.ndarray
    new: int
    changed: int
    vanished: int

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.vanished)

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, name):,} {name}" for name in _NAMES)

    def counts(self) -> dict[str, int]:
        return {"kept": int(self.kept.sum())} | {name: getattr(self, name) for name in _NAMES}

    def to_json(self) -> dict[str, Any]:
        return self.counts() | {"kept": self.kept.astype(int).tolist()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**values | {"kept": np.array(values["kept"], bool)})

    def todo(self, found: Found) -> Found:
        """Of the files those without a row that stays."""
        numbers = np.flatnonzero(~self.kept)
        images, stamps = tuple(found.images[n] for n in numbers), tuple(found.stamps[n] for n in numbers)
        return Found(images, (), found.roots, stamps=stamps)


def compare(output: Output, found: Found) -> Changes:
    """What of the files is new, changed or gone since the output was made."""
    before: dict[tuple[str, str], tuple[int | None, int | None]] = {}
    for part in output.published(_KEYS):
        times = part["modified"].cast(pa.int64())
        given, path, size, modified = (column.to_pylist() for column in (*part.columns[:3], times))
        before.update(zip(zip(given, path, strict=True), zip(size, modified, strict=True), strict=True))
    pairs = zip(found.images, found.stamps, strict=True)
    kept = np.array([None not in stamp and before.get(image) == stamp for image, stamp in pairs], bool)
    known = sum(image in before for image in found.images)
    return Changes(kept, len(found.images) - known, known - int(kept.sum()), len(before) - known)


def fresh(output: Output) -> Output:
    """The output, inside of the staging folder, that the new rows are made in."""
    return Output(storage.join(output.staging, "_fresh"))


def merge(output: Output, new: Iterator[pa.Table], found: Found, changes: Changes, unit: int) -> None:
    """Write the parts of all files, `unit` in each: rows that stay from the output, the others from `new`.

    Raises OutputError where the output no longer holds them.
    """
    stay = (image for image, kept in zip(found.images, changes.kept, strict=True) if kept)
    rows, made = _Rows(_staying(output.published(), stay)), _Rows(new)
    for number, start in enumerate(range(0, len(found.images), unit)):
        kept = changes.kept[start : start + unit]
        tables = [rows.take(int(kept.sum())), made.take(int((~kept).sum()))]
        if sum(map(len, tables)) < len(kept):
            raise OutputError(
                f"{output.uri}: no longer holds the rows that this update began with; --overwrite starts anew"
            )
        order = np.concatenate([np.flatnonzero(kept), np.flatnonzero(~kept)]).argsort()
        output.write_table(number, pa.concat_tables(filter(len, tables)).take(pa.array(order)))


def _staying(parts: Iterable[pa.Table], stay: Iterator[tuple[str, str]]) -> Iterator[pa.Table]:
    """The rows of files `stay`, which come in the same order."""
    wanted = next(stay, None)
    for part in parts:
        mask = []
        for image in zip(part["input"].to_pylist(), part["path"].to_pylist(), strict=True):
            mask.append(image == wanted)
            wanted = next(stay, None) if mask[-1] else wanted
        yield part.filter(pa.array(mask, pa.bool_()))


class _Rows:
    """Tables as one stream of rows."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._left: list[pa.Table] = []

    def take(self, count: int) -> pa.Table:
        """The next `count` rows, or as many as there are; a table of no columns where there are none."""
        while sum(map(len, self._left)) < count and (table := next(self._tables, None)) is not None:
            self._left.append(table)
        table = pa.concat_tables(self._left) if self._left else pa.table({})
        self._left = [table.slice(count)] if len(table) > count else []
        return table.slice(0, count)
