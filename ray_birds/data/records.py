"""Image records kept between sweeps: a file is not read again to be inspected where it has not changed.

One Parquet file for a data set's folder and the size that its images are decoded to. A record counts as long as
its file has the size and the time of change that it had before it was read. What could not be read is not kept: it
may have been the network.
"""

import io
from contextlib import suppress

import pyarrow as pa
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
Kept = dict[str, tuple[Stamp, ImageRecord]]  # by path


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


def read(uri: str) -> Kept:
    """What is kept there; nothing where there is no such file, or a damaged one."""
    try:
        rows = pq.read_table(io.BytesIO(storage.read(uri)), schema=_SCHEMA).to_pydict()
    except (OSError, pa.ArrowException):
        return {}
    columns = (rows[name] for name in _SCHEMA.names)
    return {
        path: ((count, modified), ImageRecord(*record))
        for path, count, modified, *record in zip(*columns, strict=True)
    }


def unchanged(kept: Kept, stamps: dict[str, Stamp]) -> dict[str, ImageRecord]:
    """The records that still count."""
    return {path: kept[path][1] for path, stamp in stamps.items() if path in kept and kept[path][0] == stamp}


def write(uri: str, kept: Kept, records: dict[str, ImageRecord], stamps: dict[str, Stamp]) -> None:
    """Keep `records`, read after the `stamps` were taken, and what is kept of other files."""
    new = {path: (stamp, records[path]) for path, stamp in stamps.items() if not records[path].error}
    rows = ((path, *stamp, *record) for path, (stamp, record) in (kept | new).items())
    table = pa.Table.from_pylist([dict(zip(_SCHEMA.names, row, strict=True)) for row in rows], _SCHEMA)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    with suppress(OSError):  # on a full disk they are read again next time
        storage.write(uri, buffer.getvalue())
