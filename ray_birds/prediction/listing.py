"""The files of a prediction job, a row each: Parquet in pieces, which are written and read one at a time.

A part's files are a row group: whoever makes a part reads these alone, and no process holds more than a piece.
"""

import io
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ray_birds.core import storage
from ray_birds.core.errors import OutputError

_PIECE = 128  # parts whose files are in a piece


class File(NamedTuple):
    """An image to score, at `path` below the root of its `input`.

    `label` is the class of the model that its folder or a table says it is. `size` in bytes and last change, in
    microseconds since 1970 (UTC), are None where they were not looked at. The row of one that is `kept` is that of
    an earlier job.
    """

    input: str
    path: str
    label: str | None = None
    size: int | None = None
    modified: int | None = None
    kept: bool = False


_TYPES = (pa.string(), pa.string(), pa.string(), pa.int64(), pa.int64(), pa.bool_())
SCHEMA = pa.schema(zip(File._fields, _TYPES, strict=True))


def table(files: Iterable[File]) -> pa.Table:
    """The columns of SCHEMA, a row for each file."""
    return pa.Table.from_pylist([file._asdict() for file in files], schema=SCHEMA)


def rows(tables: Iterable[pa.Table]) -> Iterator[File]:
    """The files of tables with the columns of SCHEMA."""
    for some in tables:
        yield from map(File, *(column.to_pylist() for column in some.columns))


class Stream:
    """Tables as one stream of rows."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self._tables = iter(tables)
        self._left: list[pa.Table] = []

    def take(self, count: int) -> pa.Table:
        """The next `count` rows, or as many as there are; a table of no columns where there are none."""
        there = sum(map(len, self._left))
        while there < count and (some := next(self._tables, None)) is not None:
            self._left.append(some)
            there += len(some)
        found = pa.concat_tables(self._left) if self._left else pa.table({})
        self._left = [found.slice(count)] if there > count else []
        return found.slice(0, min(count, there))  # of no columns a slice has as many rows as are asked for


@dataclass(frozen=True)
class Listing:
    """`count` files, in order, of which `unit` make a part; the pieces lie in the folder `uri`."""

    uri: str
    count: int
    unit: int

    @property
    def parts(self) -> int:
        return math.ceil(self.count / self.unit)

    def size(self, part: int) -> int:
        """How many files a part has."""
        return min(self.unit, self.count - part * self.unit)

    def read(self, part: int) -> pa.Table:
        """The files of one part, with the columns of File. Raises OutputError where their piece is damaged."""
        with self._piece(part // _PIECE) as piece:
            return piece.read_row_group(part % _PIECE)

    def __iter__(self) -> Iterator[pa.Table]:
        """The files of all parts. Raises OutputError where a piece is missing or damaged."""
        for number in range(math.ceil(self.parts / _PIECE)):
            with self._piece(number) as piece:
                yield from map(piece.read_row_group, range(piece.num_row_groups))

    @contextmanager
    def _piece(self, number: int) -> Iterator[pq.ParquetFile]:
        uri = _uri(self.uri, number)
        try:
            system, path = storage.filesystem(uri)
            with system.open_input_file(path) as file:
                yield pq.ParquetFile(file, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise OutputError(
                f"{uri}: the job's list of files is missing or damaged; --overwrite starts anew"
            ) from error


def write(uri: str, files: Iterable[pa.Table], unit: int) -> Listing:
    """Write the list of a job, tables with the columns of SCHEMA, into the folder `uri`. Raises OSError."""
    count, stream = 0, Stream(files)
    while len(piece := stream.take(_PIECE * unit)):
        buffer = io.BytesIO()
        pq.write_table(piece, buffer, row_group_size=unit, compression="zstd", write_page_checksum=True)
        storage.write(_uri(uri, count // (_PIECE * unit)), buffer.getvalue())
        count += len(piece)
    return Listing(uri, count, unit)


def _uri(folder: str, number: int) -> str:
    return storage.join(folder, f"{number:06d}.parquet")
