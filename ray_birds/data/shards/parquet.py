"""Images in a Parquet file of Hugging Face's form (see `image_columns`): a member is a row's number, from 0."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from ray_birds.core import storage
from ray_birds.core.errors import first_line
from ray_birds.data.shards import image_columns
from ray_birds.data.sources import pages

_ROOM = 64_000_000  # bytes of images that are read and kept at a time
_ROWS = 256  # and rows: one image may stand for many
_LARGEST_PAGE = 128_000_000  # bytes, unpacked: an image has 100 MB at most
_NUMBER = re.compile("[0-9]{1,18}")
_BUFFER = 4 << 20  # bytes of a file read at a time, or Arrow would read all of a column


@dataclass(frozen=True, eq=False)
class Rows:
    """The images of a Parquet file: `names` sorted, their `labels`, null for none. A `fault` says why there are
    none, where there should be."""

    uri: str
    size: int
    names: pa.StringArray = field(default_factory=partial(pa.array, [], pa.string()))
    labels: pa.StringArray = field(default_factory=partial(pa.array, [], pa.string()))
    column: str = ""
    metadata: parquet.FileMetaData | None = None
    others: tuple[tuple[str, str], ...] = ()
    fault: str = ""

    def place(self, member: str) -> int:
        """The number of a row; -1 where there is none of this name."""
        return int(member) if _NUMBER.fullmatch(member) and int(member) < len(self.names) else -1

    def read(self, member: str, most: int) -> bytes:
        """The bytes of an image. Raises TooLargeError, or OSError where they are not there."""
        if (row := self.place(member)) < 0:
            raise FileNotFoundError(f"{self.uri}: has no row {member}")
        data = _reader(self).at(row)
        if data is None:
            raise OSError("its row holds no bytes of an image; one with embedded images is read")
        if len(data) > most:
            raise storage.TooLargeError(len(data))
        return data

    @cached_property
    def starts(self) -> np.ndarray:
        """The first row of each row group, and behind them the number of rows."""
        assert self.metadata
        groups = [self.metadata.row_group(number).num_rows for number in range(self.metadata.num_row_groups)]
        return np.cumsum([0, *groups])


def index(uri: str) -> Rows:
    """What is in a Parquet file. Never raises on what it holds; raises OSError where it cannot be read."""
    system, path = storage.filesystem(uri)
    with system.open_input_file(path) as file:
        size = file.size()
        try:
            return _index(uri, size, parquet.ParquetFile(file))
        except Exception as error:  # on damaged content it raises whatever it meets
            if isinstance(error, OSError) and error.errno is not None:  # pyarrow's, on damaged content, have none
                raise
            return Rows(uri, size, fault=f"a damaged Parquet file: {first_line(error)}")


def _index(uri: str, size: int, file: parquet.ParquetFile) -> Rows:
    images, labels = image_columns.find(file.schema_arrow)
    if not images:
        return Rows(uri, size)
    if len(images) > 1:
        return Rows(uri, size, fault=f"a Parquet file with several columns of images: {', '.join(images)[:200]}")
    count = file.metadata.num_rows
    if not 0 <= count <= size:
        return Rows(uri, size, fault=f"a damaged Parquet file: {count:,} rows in {size:,} bytes")
    column = f"{images[0]}.bytes"
    width = len(str(count - 1))  # so that they are sorted as they lie in the file
    names = pa.array([f"{row:0{width}}" for row in range(count)], pa.string())
    texts = _labels(file, labels[0]) if len(labels) == 1 else pa.nulls(count, pa.string())
    if len(texts) != count:
        raise ValueError(f"{len(texts):,} labels of {count:,} rows")
    return Rows(uri, size, names, texts, column, file.metadata)


def _labels(file: parquet.ParquetFile, column: str) -> pa.StringArray:
    """The labels of all rows by name; null for none, and for numbers that have no name where others have."""
    given = file.read(columns=[column])[column].combine_chunks()
    names = image_columns.class_names(file.schema_arrow, column)
    if names and pa.types.is_integer(given.type):
        numbers = [one if one is not None and 0 <= one < len(names) else None for one in given.to_pylist()]
        return pa.array(names, pa.string()).take(pa.array(numbers, pa.int64()))
    texts = [None if one is None or (isinstance(one, int) and one < 0) else str(one) for one in given.to_pylist()]
    return pa.array(texts, pa.string())


class _Reader:
    """Rows of a Parquet file, a lot at a time: the last two are kept, and the next one follows without a jump."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        system, path = storage.filesystem(rows.uri)
        self._opened = system.open_input_file(path)
        if self._opened.size() != rows.size:
            raise OSError("its shard has changed since it was listed")
        self._file = parquet.ParquetFile(self._opened, metadata=rows.metadata, buffer_size=_BUFFER)
        self._steps: dict[int, int | OSError] = {}
        self._lots: dict[tuple[int, int], pa.Array | OSError] = {}
        self._next = -1, -1
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._turn = Lock()

    def at(self, row: int) -> bytes | None:
        """The bytes of a row. Raises OSError where they cannot be had."""
        group = int(np.searchsorted(self._rows.starts, row, "right")) - 1
        with self._turn:
            if group not in self._steps:
                self._steps[group] = self._step(group)
            lot, within = divmod(row - int(self._rows.starts[group]), _sound(self._steps[group]))
            if (group, lot) not in self._lots:
                found = self._read(group, lot)
                self._lots = dict([*self._lots.items(), ((group, lot), found)][-2:])
            return _sound(self._lots[group, lot])[within].as_py()

    def _step(self, group: int) -> int | OSError:
        """How many rows of a group are read at a time; why none is, where one of its pages would not fit."""
        uri, metadata, column = self._rows.uri, self._rows.metadata, self._rows.column
        about = self._file.metadata.row_group(group)
        chunks = (about.column(number) for number in range(about.num_columns))
        size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)
        try:
            page = pages.largest(storage.local(uri), metadata, [column], [group]) if storage.is_local(uri) else 0
        except (ValueError, LookupError) as error:
            return OSError(f"damaged rows of a Parquet file: {first_line(error)}")
        if page > _LARGEST_PAGE:
            return OSError(f"a page of its Parquet file unpacks to {page:,} bytes")
        return max(1, min(_ROWS, about.num_rows * _ROOM // max(size, 1), _ROOM // max(page, 1)))

    def _read(self, group: int, lot: int) -> pa.Array | OSError:
        if self._next != (group, lot):
            rows, column = _sound(self._steps[group]), self._rows.column
            self._batches = islice(self._file.iter_batches(rows, row_groups=[group], columns=[column]), lot, None)
        try:
            images = next(self._batches).column(0)
            self._next = group, lot + 1
            return pc.struct_field(images, "bytes")
        except Exception as error:  # on damaged content it raises whatever it meets
            self._next = -1, -1
            return OSError(f"damaged rows of a Parquet file: {first_line(error)}")


def _sound(found: Any) -> Any:
    """What was found, where it is no reason why not. Raises that."""
    if isinstance(found, OSError):
        raise found
    return found


@lru_cache(maxsize=2)
def _reader(rows: Rows) -> _Reader:
    return _Reader(rows)
