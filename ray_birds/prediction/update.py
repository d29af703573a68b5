"""An output brought up to date: which of its rows stay, and the parts that they and the new rows make.

A file is the same where its path, size and time are; the model and the options are those of the earlier job, or
there is no update. Both the earlier rows and the new ones are in the order of the files, so they are merged as
they stream by.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.core.prefetch import REQUESTS, prefetch
from ray_birds.data import walk
from ray_birds.prediction import listing
from ray_birds.prediction.inputs import Found
from ray_birds.prediction.listing import File, Listing, Stream
from ray_birds.prediction.output import Output

_KEYS = ["input", "path", "size", "modified", "label"]
_LOOKED = 1_000  # files whose size and time one thread looks at in a row


class Changes(NamedTuple):
    """How many rows stay, and how many files are new, changed (or could not be read before) or gone."""

    kept: int
    new: int
    changed: int
    vanished: int

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.vanished)

    def __str__(self) -> str:
        return f"{self.new:,} new, {self.changed:,} changed, {self.vanished:,} vanished"


def compare(output: Output, found: Found, classes: Sequence[str]) -> tuple[Changes, np.ndarray]:
    """What of the files is new, changed or gone since the output was made; and whose rows stay, (files,) bool.

    Both come in the order of the inputs and, of each, of the paths.
    """
    places = {given: place for place, given in enumerate(found.roots)}
    earlier = _earlier(output, places)
    kept = np.zeros(len(found), bool)
    known = vanished = 0
    before = next(earlier, None)
    for number, file in enumerate(_stamped(found, classes)):
        key = places[file.input], file.path
        while before and before[0] < key:
            vanished += 1
            before = next(earlier, None)
        if before and before[0] == key:
            known += 1
            now = file.size, file.modified, file.label
            kept[number] = None not in now[:2] and before[1] == now
            before = next(earlier, None)
    vanished += bool(before) + sum(1 for _ in earlier)
    stay = int(kept.sum())
    return Changes(stay, len(kept) - known, known - stay, vanished), kept


def _earlier(
    output: Output, places: dict[str, int]
) -> Iterator[tuple[tuple[int, str], tuple[int | None, int | None, str | None]]]:
    """Of each row of the output the place of its input with the path, and what must be the same for it to stay."""
    for part in output.published(_KEYS):
        times = part["modified"].cast(pa.int64()).to_pylist()
        given, path, size, label = (part[name].to_pylist() for name in ("input", "path", "size", "label"))
        keys = zip((places[one] for one in given), path, strict=True)
        yield from zip(keys, zip(size, times, label, strict=True), strict=True)


def _stamped(found: Found, classes: Sequence[str]) -> Iterator[File]:
    """The files, with size and time of those that the listing does not tell them of."""

    def look(table: pa.Table) -> list[File]:
        return [_looked_at(found, file) if file.size is None else file for file in listing.rows([table])]

    tables = found.tables(classes)
    some = (table.slice(start, _LOOKED) for table in tables for start in range(0, len(table), _LOOKED))
    for files in prefetch(look, some, REQUESTS):
        yield from files


def _looked_at(found: Found, file: File) -> File:
    size, modified = walk.stamp(storage.at(found.roots[file.input], file.path))
    return file._replace(size=size, modified=modified)


def marked(files: Iterable[pa.Table], kept: np.ndarray) -> Iterator[pa.Table]:
    """The files, with which of them are `kept`."""
    start, place = 0, listing.SCHEMA.get_field_index("kept")
    for table in files:
        stay = pa.array(kept[start : start + len(table)])
        yield table.set_column(place, listing.SCHEMA.field(place), stay)
        start += len(table)


def todo(files: Listing) -> Iterator[pa.Table]:
    """Of the files those without a row that stays."""
    return (table.filter(pc.invert(table["kept"])) for table in files)


def fresh(output: Output) -> Output:
    """The output, inside of the staging folder, that the new rows are made in."""
    return Output(storage.join(output.staging, "_fresh"))


def merge(output: Output, new: Iterator[pa.Table], files: Listing) -> None:
    """Write the parts of all files: rows that stay from the output, the others from `new`.

    Raises OutputError where the output no longer holds them.
    """
    stay = ((file.input, file.path) for file in listing.rows(files) if file.kept)
    rows, made = Stream(_staying(output.published(), stay)), Stream(new)
    for number, part in enumerate(files):
        kept = part["kept"].to_numpy()
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
