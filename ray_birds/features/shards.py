"""A stored feature's files: shards named after their content, the manifest that lists them, which are whole.

    00000-<digest>.npy      rows 0..n of the split; its name carries its content's digest
    manifest.json           written last: the shards of a complete feature
    verified.json           size and time of change of the shards that were found whole

Reading a store to compare it with its digests takes as long as the disk takes: it is done once. A shard that has
changed since, by its size or its time of change, is compared again.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.core.prefetch import prefetch

MANIFEST = "manifest.json"
_VERIFIED = "verified.json"
_READERS = 4  # shards in memory at a time while they are compared
_NAME = re.compile(r"(\d{5,})-([0-9a-f]{32})\.npy")


def name(shard: int, data: bytes) -> str:
    return f"{shard:05d}-{storage.digest([data])}.npy"


def number(name: str) -> int | None:
    """The number in a shard's name; None where the name is not one."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def listed(uri: str) -> list[str]:
    """Names of a complete feature's shards, in order. Raises FileNotFoundError, or OutputError on other names."""
    where = storage.join(uri, MANIFEST)
    try:
        names = [str(name) for name in storage.read_json(where)["shards"]]
    except (ValueError, KeyError, TypeError):
        names = [""]
    if not all(map(_NAME.fullmatch, names)):
        raise OutputError(f"{where}: does not name shards; remove its folder and continue with --resume")
    return names


def whole(uri: str, names: Iterable[str], *, again: bool = False) -> list[str]:
    """Those of the shards `names` whose content is what their name says.

    Shards that were found whole before and have not changed since are not read, unless `again`; nor are those in
    an object store, which checks its content itself.
    """
    if storage.is_local(uri):
        return _whole_here(uri, names, again)
    return _compared(uri, names) if again else list(names)


def _whole_here(uri: str, names: Iterable[str], again: bool) -> list[str]:
    known = {} if again else _read(uri)
    seen = {name: stamp for name in names if (stamp := _stamp(storage.local(storage.join(uri, name)))) is not None}
    unknown = [name for name, stamp in seen.items() if known.get(name) != stamp]
    damaged = {*unknown} - {*_compared(uri, unknown)}
    found = {name: stamp for name, stamp in seen.items() if name not in damaged}
    if found != known:
        with suppress(OSError):  # on a full disk they are compared again next time
            storage.write_json(storage.join(uri, _VERIFIED), found)
    return list(found)


def _compared(uri: str, names: Iterable[str]) -> list[str]:
    names = list(names)
    digests = prefetch(lambda name: storage.digest([storage.read(storage.join(uri, name))]), names, _READERS)
    return [name for name, digest in zip(names, digests, strict=True) if name.endswith(f"-{digest}.npy")]


def _read(uri: str) -> dict[str, list[int]]:
    try:
        known = storage.read_json(storage.join(uri, _VERIFIED))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _stamp(path: Path) -> list[int] | None:
    """Size and time of change in nanoseconds; None where there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns]
