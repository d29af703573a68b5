"""What is in a tar file, kept on the node: one process reads its headers, all others there what that one found."""

import io
import json
from contextlib import suppress

import numpy as np
import pyarrow as pa
from pyarrow import feather

from ray_birds.core import node_folder, storage
from ray_birds.core.errors import OutputError
from ray_birds.data.shards import webdataset
from ray_birds.data.shards.webdataset import Tar

_VERSION = "1"  # raise it when `webdataset` finds something else in the same bytes


def of(uri: str, stamp: tuple[int | None, int | None]) -> Tar:
    """As `webdataset.index`, of a file of this size and time; where the node keeps nothing, that alone."""
    key = storage.digest([_VERSION, uri, *map(str, stamp)])
    try:
        folder = node_folder.own("shards")
        with node_folder.locked(folder / f"{key[:2]}.lock"):
            kept = str(folder / f"{key}.arrow")
            if (found := _read(kept)) is None:
                found = webdataset.index(uri)
                _write(kept, found)
            return found
    except OutputError:
        return webdataset.index(uri)


def _read(path: str) -> Tar | None:
    try:
        table = feather.read_table(path).combine_chunks()
        about = json.loads(table.schema.metadata[b"about"])
    except (OSError, pa.ArrowException):
        return None
    names, labels, offsets, sizes = (column.chunk(0) if len(table) else [] for column in table.columns)
    return Tar(
        names=pa.array(names, pa.string()),
        labels=pa.array(labels, pa.string()),
        offsets=np.array(offsets, np.int64),
        sizes=np.array(sizes, np.int64),
        others=tuple((name, why) for name, why in about.pop("others")),
        **about,
    )


def _write(path: str, found: Tar) -> None:
    about = {"uri": found.uri, "size": found.size, "others": found.others, "fault": found.fault}
    columns = {"name": found.names, "label": found.labels, "offset": found.offsets, "size": found.sizes}
    table = pa.table(columns).replace_schema_metadata({"about": json.dumps(about)})
    buffer = io.BytesIO()
    feather.write_feather(table, buffer, compression="uncompressed")
    with suppress(OSError):  # on a full disk the next process reads the headers again
        storage.write(path, buffer.getvalue())
