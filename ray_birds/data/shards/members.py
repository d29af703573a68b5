"""Images inside of shards, tar and Parquet files, read where they lie: `a.tar::owls/1.jpg`, `a.parquet::17`.

A shard is listed when an image of it is first asked for, and again where it has changed.
"""

from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.data.shards import parquet, tar_index, webdataset
from ray_birds.data.shards.parquet import Rows
from ray_birds.data.shards.webdataset import Tar

_EXTENSIONS = (".tar", ".parquet")
_LOCKS = [Lock() for _ in range(64)]

Shard = Tar | Rows
_Stamp = tuple[int | None, int | None]
_known: dict[str, tuple[_Stamp, Shard]] = {}  # by URI


def is_shard(uri: str) -> bool:
    """Whether a file is a shard, by its name."""
    return storage.path(uri).lower().endswith(_EXTENSIONS)


def contents(uri: str) -> Shard:
    """What is in a shard now. Raises OSError where it cannot be read."""
    info = storage.info(uri)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(uri)
    stamp = info.size, info.mtime_ns
    with _LOCKS[hash(uri) % len(_LOCKS)]:
        if uri not in _known or _known[uri][0] != stamp:
            is_tar = storage.path(uri).lower().endswith(".tar")
            _known[uri] = stamp, tar_index.of(uri, stamp) if is_tar else parquet.index(uri)
        return _known[uri][1]


def labels(shard: str, names: pa.StringArray) -> tuple[str | None, ...] | None:
    """The labels that a shard gives images of it, by name; None where it gives none at all."""
    found = _at_hand(shard)
    if found.labels.null_count == len(found.labels):
        return None
    texts = found.labels.take(pc.index_in(names, found.names)).to_pylist()
    if isinstance(found, Tar) and any(text is not None and text.isdecimal() for text in texts):
        known = dict(enumerate(webdataset.class_names(shard)))
        texts = [known.get(int(text), text) if text and text.isdecimal() else text for text in texts]
    return tuple(texts)


def holds(uri: str) -> bool:
    """Whether a shard has an image of this URI or path. Raises OSError."""
    shard, name = storage.split_member(uri)
    return bool(name) and _at_hand(shard).place(name) >= 0


def read_up_to(uri: str, most: int) -> bytes:
    """As `storage.read_up_to`, of files and of images inside of shards."""
    shard, name = storage.split_member(uri)
    if not name:
        if is_shard(uri):  # a row of its own: it is damaged
            raise OSError(contents(uri).fault or "a shard and no image")
        return storage.read_up_to(uri, most)
    try:
        return _at_hand(shard).read(name, most)
    except FileNotFoundError:
        return storage.read_up_to(uri, most)  # a file whose name has a :: in it


def _at_hand(uri: str) -> Shard:
    """As `contents`, on an object store as it was last: to ask for its time takes as long as to read an image."""
    known = None if storage.is_local(uri) else _known.get(uri)
    return known[1] if known else contents(uri)
