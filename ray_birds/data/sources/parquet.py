"""Image data sets in Hugging Face's Parquet form (see `shards/image_columns`), turned into the folder contract.

The split is in the file's name.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.core.terminal import progress
from ray_birds.data import formats, walk
from ray_birds.data.shards import image_columns
from ray_birds.data.sources import disk, pages
from ray_birds.data.sources.disk import check_cap, check_room, on_disk
from ray_birds.data.table import split_of

ROWS = 16  # rows in memory at a time, the most
ROOM = 128_000_000  # bytes of memory for them, and the most of one page: an image has 100 MB at most
BUFFER = 1 << 20  # bytes of a file read at a time, or Arrow would read all of a column
UNLABELLED = "images to test"


class Columns(NamedTuple):
    """Where images and classes are; `names` of the classes by number, empty where labels are texts."""

    image: str
    label: str
    names: tuple[str, ...]


def is_parquet(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"PAR1"


def convert(files: list[Path], folder: Path, cap: int) -> None:
    """Write the images of Parquet files to a new folder as SPLIT/CLASS/NUMBER.ENDING, bytes unchanged.

    Rows without a label go to `images to test`. `cap` is the most bytes that the folder may take.
    Raises DataError where a file is damaged or holds no labelled images, OutputError where it does not fit.
    """
    try:
        opened = [(_split(file), parquet.ParquetFile(file, buffer_size=BUFFER)) for file in files]
        size = sum(_size(table) for _, table in opened)
        check_cap(size, cap, "the Parquet files, as images,")
        check_room(folder.parent, size, "the Parquet files, as images,")
        folder.mkdir()
        written: Counter[str] = Counter()
        taken = 0  # counted while writing too: a dictionary of one image may stand for a million rows
        with progress("unpacking", sum(table.metadata.num_rows for _, table in opened), "images") as meter:
            for file, (split, table) in zip(files, opened, strict=True):
                columns = find_columns(table.schema_arrow, file)
                for batch in table.iter_batches(_rows(file, table, columns), columns=list(columns[:2])):
                    for row in batch.to_pylist():
                        written[split] += 1
                        stem = f"{split}-{written[split]:06}"
                        taken += _write(row, columns, folder / split, stem, file)
                        check_cap(taken, cap, "the Parquet files, as images,")
                    meter.advance(batch.num_rows)
    except (pa.ArrowException, ValueError, LookupError, RecursionError) as error:  # the last two: of its metadata
        raise DataError(_damaged(files, error)) from error
    except OSError as error:
        if error.errno is None:  # pyarrow's, on damaged pages
            raise DataError(_damaged(files, error)) from error
        raise


def _damaged(files: list[Path], error: Exception) -> str:
    return f"{files[0].parent}: damaged Parquet file ({' '.join(str(error).split())[:200]}); fetch it again"


def _size(table: parquet.ParquetFile) -> int:
    rows = table.metadata.num_rows
    groups = [table.metadata.row_group(number) for number in range(table.metadata.num_row_groups)]
    return sum(group.total_byte_size for group in groups) + rows * on_disk(1) * 3 // 4  # a last block half full


def _rows(file: Path, table: parquet.ParquetFile, columns: Columns) -> int:
    """Rows to read at a time, so that they fit in memory: one page may hold what all of them stand for.

    Raises DataError where a single page would not fit.
    """
    largest = pages.largest(file, table.metadata, columns[:2])
    if largest > ROOM:
        raise DataError(
            f"{file.name}: a page unpacks to {largest:,} bytes, expected {ROOM:,} at most; do not trust this "
            "file, or write it anew in smaller pages"
        )
    return max(1, min(ROWS, ROOM // max(largest, 1)))


def _split(file: Path) -> str:
    """train, valid or test, from `train-00000-of-00004.parquet` or `train/0000.parquet`. Raises DataError."""
    if split := split_of(f"{file.parent.name}/{file.stem}"):
        return split
    raise DataError(f"{file.name}: no split in its name; rename it to train-..., valid-... or test-...")


def find_columns(schema: pa.Schema, file: Path) -> Columns:
    """The columns of images and labels. Raises DataError where they are not one of each."""
    found = image_columns.find(schema)
    if [len(names) for names in found] != [1, 1]:
        raise DataError(
            f"{file.name}: expected a column of images and one of labels, found {', '.join(schema.names)[:200]}; "
            "this is not an image classification data set of Hugging Face"
        )
    (image,), (label,) = found
    try:
        names = image_columns.class_names(schema, label)
    except ValueError as error:
        raise DataError(f"{file.name}: {error}; fetch it again") from error
    return Columns(image, label, tuple(folder_name(name, file) for name in names))


def folder_name(label: str, file: Path) -> str:
    """A class name as a folder's name. Raises DataError for one that would lead elsewhere, be passed over, or that
    no disk takes."""
    name = re.sub(r"[/\\\0]", "_", label)
    if name.strip() in ("", ".", "..") or walk.is_litter(name) or not disk.takes(name):
        raise DataError(f"{file.name}: class name {label[:100]!r} cannot be the name of a folder")
    return name


def _write(row: dict[str, Any], columns: Columns, folder: Path, stem: str, file: Path) -> int:
    """Write one image as `folder`/CLASS/`stem`.ENDING; returns the bytes it takes on the disk."""
    image, label = row[columns.image] or {}, row[columns.label]
    data = image.get("bytes")
    if not isinstance(data, bytes):
        raise DataError(f"{file.name}: holds paths instead of images; fetch a copy with images embedded")
    if label is None or (isinstance(label, int) and label < 0):
        uri = folder.parent / UNLABELLED
    elif isinstance(label, int) and columns.names:
        if label >= len(columns.names):
            raise DataError(
                f"{file.name}: label {label}, but only {len(columns.names)} class names; fetch it again"
            )
        uri = folder / storage.to_os(columns.names[label])
    else:
        uri = folder / storage.to_os(folder_name(str(label), file))
    uri.mkdir(parents=True, exist_ok=True)
    (uri / (stem + _ending(data, image.get("path")))).write_bytes(data)
    return on_disk(len(data))


def _ending(data: bytes, path: object) -> str:
    """The extension of an image's recorded path, else that of its kind; .jpg for what is no image, so that it is
    found and named as damaged."""
    if isinstance(path, str) and formats.by_name(path):
        return Path(path).suffix.lower()
    return formats.extension(formats.by_content(data)) or ".jpg"
