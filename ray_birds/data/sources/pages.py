"""What a Parquet file's pages take in memory, by the headers before them.

pyarrow tells what a file says of its row groups and columns, not of its pages, and makes room for a page as its
header asks. Headers are Thrift structs in the compact protocol (thrift/doc/specs/thrift-compact-protocol.md); of
parquet.thrift's PageHeader the fields 2 and 3 are the page's sizes, unpacked and packed.
"""

import mmap
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pyarrow import parquet

_UNPACKED, _PACKED = 2, 3
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _BINARY, _STRUCT = 1, 2, 3, 4, 5, 6, 8, 12
_DEEPEST = 4  # structs within structs: a page's header has three


def largest(
    file: Path, metadata: parquet.FileMetaData, columns: Collection[str], row_groups: Iterable[int] | None = None
) -> int:
    """Bytes of the largest page, unpacked, of some columns, in all row groups or in those of these numbers. Raises
    ValueError or LookupError on damage."""
    numbers = range(metadata.num_row_groups) if row_groups is None else row_groups
    groups = (metadata.row_group(number) for number in numbers)
    chunks = (group.column(number) for group in groups for number in range(group.num_columns))
    wanted = (chunk for chunk in chunks if any(f"{chunk.path_in_schema}.".startswith(f"{c}.") for c in columns))
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return max((size for chunk in wanted for size in _pages(data, chunk)), default=0)


def _pages(data: mmap.mmap, chunk: parquet.ColumnChunkMetaData) -> Iterator[int]:
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < at:
        at = chunk.dictionary_page_offset
    end = at + chunk.total_compressed_size
    while at < end:
        header, at = _struct(data, at)
        if min(header.get(_UNPACKED, -1), header.get(_PACKED, -1)) < 0:
            raise ValueError("a page without a size")
        yield header[_UNPACKED]
        at += header[_PACKED]


def _struct(data: mmap.mmap, at: int, depth: int = 1) -> tuple[dict[int, int], int]:
    """The whole numbers among a struct's fields, by field, and where it ends."""
    found: dict[int, int] = {}
    field = 0
    while head := data[at]:
        at += 1
        kind, step = head & 15, head >> 4
        if step:
            field += step
        else:
            field, at = _number(data, at)
        if kind in (_I16, _I32, _I64):
            found[field], at = _number(data, at)
        elif kind == _BYTE:
            at += 1
        elif kind == _BINARY:
            length, at = _varint(data, at)
            at += length
        elif kind == _STRUCT and depth < _DEEPEST:
            _, at = _struct(data, at, depth + 1)
        elif kind not in (_TRUE, _FALSE):  # which are told by their kind
            raise ValueError("a page whose header cannot be read")
    return found, at + 1


def _number(data: mmap.mmap, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        part = data[at]
        at += 1
        value |= (part & 127) << shift
        if part < 128:
            return value, at
    raise ValueError("a number without an end")
