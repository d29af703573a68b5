"""Image records kept between sweeps: a file is not read again to be inspected where it has not changed.

One Parquet file for a data set's folder and the size that its images are decoded to. A record counts as long as
its file has the size and the time of change that it had before it was read. What could not be read is not kept: it
may have been the network.
"""

import io
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ray_birds.core import storage
from ray_birds.data import decode, walk
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import ImageRecord
from ray_birds.data.walk import Stamp

VERSION = 1  # raise it when a record says something else of the same bytes
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("bytes", pa.int64()),
        ("modified", pa.int64()),
        ("digest", pa.string()),
        ("error", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("constant", pa.bool_()),
        ("codes", pa.string()),
        ("taken", pa.float64()),
        ("camera", pa.string()),
    ]
)
_ROWS = 1 << 16  # made or looked at at a time


def location(folder: str, dataset: Dataset, size: int) -> str:
    """The file in `folder` for these images at this size, with times where these make the groups."""
    facts = (VERSION, decode.VERSION, dataset.root, size, dataset.max_bytes, bool(dataset.burst))
    key = storage.digest(map(str, facts))
    return storage.join(folder, f"inspected-{key[:16]}.parquet")


def stamps(dataset: Dataset) -> dict[str, Stamp]:
    """Of each path that can be asked for them; on an object store by one listing of the data set's folder."""
    paths = [path for split in dataset.splits.values() for path in split.paths]
    if storage.is_local(dataset.root):
        uris = {path: dataset.uri(path) for path in paths}
        found = {path: walk.stamp(uri) for path, uri in uris.items() if storage.is_local(uri)}
    else:
        listed = {storage.relative(info, dataset.root): info for info in storage.listing(dataset.root)}
        files = {path: storage.split_member(path)[0] for path in paths}
        found = {path: walk.stamp_of(listed[file]) for path, file in files.items() if file in listed}
    return {path: stamp for path, stamp in found.items() if None not in stamp}


def read(uri: str) -> pa.Table:
    """What is kept there, a row for each file; none where there is no such table, or a damaged one."""
    try:
        return pq.read_table(io.BytesIO(storage.read(uri)), schema=_SCHEMA)
    except (OSError, pa.ArrowException):
        return _SCHEMA.empty_table()


def unchanged(kept: pa.Table, stamps: dict[str, Stamp]) -> dict[str, ImageRecord]:
    """The records that still count, by path."""
    found = {}
    for batch in kept.to_batches(max_chunksize=_ROWS):  # of all rows at a time the objects would be 1 kB an image
        columns = (column.to_pylist() for column in batch.columns)
        for path, count, modified, *record in zip(*columns, strict=True):
            if stamps.get(path) == (count, modified):
                found[path] = ImageRecord(*record)
    return found


def write(uri: str, kept: pa.Table, records: dict[str, ImageRecord], stamps: dict[str, Stamp]) -> None:
    """Keep `records`, read after the `stamps` were taken, and what is `kept` of other files."""
    new = [path for path in stamps if not records[path].error]
    parts = (new[start : start + _ROWS] for start in range(0, len(new), _ROWS))
    rows = ([(path, *stamps[path], *records[path]) for path in part] for part in parts)
    tables = (map(pa.array, zip(*part, strict=True), _SCHEMA.types) for part in rows)
    added = [pa.Table.from_arrays(list(columns), schema=_SCHEMA) for columns in tables]
    others = kept.filter(pc.invert(pc.is_in(kept["path"], pa.array(new, pa.string()))))
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables([others, *added]), buffer)
    with suppress(OSError):  # on a full disk they are read again next time
        storage.write(uri, buffer.getvalue())
