"""Images in a Parquet file of Hugging Face's form (see `image_columns`): a member is a row's number, from 0."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import islice
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from ray_birds.core import storage
from ray_birds.core.errors import first_line
from ray_birds.data import image_columns

_ROOM = 64_000_000  # bytes of images, by what the file says, that are read and kept at a time
_ROWS = 256  # and rows, for one image may stand for many rows
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

    def read(self, member: str, most: int) -> bytes:
        """The bytes of an image. Raises TooLargeError, or OSError where they are not there."""
        if not member.isdecimal() or int(member) >= len(self.names):
            raise FileNotFoundError(f"{self.uri}: has no row {member}")
        data: bytes | None = _reader(self).at(int(member))
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

    def step(self, group: int) -> int:
        """How many rows of a group are read at a time."""
        assert self.metadata
        found = self.metadata.row_group(group)
        columns = (found.column(number) for number in range(found.num_columns))
        size = sum(one.total_uncompressed_size for one in columns if one.path_in_schema == self.column)
        return max(1, min(_ROWS, found.num_rows * _ROOM // max(size, 1)))


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
    width = len(str(count - 1))  # so that they are sorted as they lie in the file
    names = pa.array([f"{row:0{width}}" for row in range(count)], pa.string())
    texts = _labels(file, labels[0]) if len(labels) == 1 else pa.nulls(count, pa.string())
    return Rows(uri, size, names, texts, f"{images[0]}.bytes", file.metadata)


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
        self._lots: dict[tuple[int, int], pa.Array | Exception] = {}
        self._next = -1, -1
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._turn = Lock()

    def at(self, row: int) -> bytes | None:
        group = int(np.searchsorted(self._rows.starts, row, "right")) - 1
        lot, within = divmod(row - int(self._rows.starts[group]), self._rows.step(group))
        with self._turn:
            found = self._lots.get((group, lot))
            if found is None:
                found = self._read(group, lot)
                self._lots = dict([*self._lots.items(), ((group, lot), found)][-2:])
        if isinstance(found, Exception):
            raise found
        return found[within].as_py()

    def _read(self, group: int, lot: int) -> pa.Array | Exception:
        if self._next != (group, lot):
            column = self._rows.column
            batches = self._file.iter_batches(self._rows.step(group), row_groups=[group], columns=[column])
            self._batches = islice(batches, lot, None)
        try:
            images = next(self._batches).column(0)
            self._next = group, lot + 1
            return pc.struct_field(images, "bytes")
        except Exception as error:  # on damaged content it raises whatever it meets
            self._next = -1, -1
            return OSError(f"damaged rows of a Parquet file: {first_line(error)}")


@lru_cache(maxsize=2)
def _reader(rows: Rows) -> _Reader:
    return _Reader(rows)
