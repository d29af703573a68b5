"""A node's own copy of stored features that lie elsewhere, in the temporary directory, for all its processes.

What is in a copy is compared with its digests before it is used.
"""

import shutil
from pathlib import Path

from ray_birds.core import node_folder, storage
from ray_birds.core.errors import OutputError
from ray_birds.features import shards


def of(uri: str, name: str) -> Path:
    """This node's copy, called `name`, of the feature's folder at `uri`: one process makes it, the others wait.

    Raises OutputError where the folder of copies is not this user's alone, where the disk has no room, and where
    a shard at `uri` is not what its name says.
    """
    cache = node_folder.own("features")
    with node_folder.locked(cache / f"{name}.lock"):
        if not _is_complete(cache / name):
            _make(uri, cache / name)
    return cache / name


def _is_complete(folder: Path) -> bool:
    """Whether a copy is there with all its shards: temporary directories are tidied up by others."""
    try:
        names = shards.listed(str(folder))
    except (OSError, OutputError):
        return False
    return shards.whole(str(folder), names) == names


def _make(uri: str, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    for old in (target, part):  # a copy that lost something, and one of a process that was killed while copying
        shutil.rmtree(old, ignore_errors=True)
    try:
        storage.copy(uri, str(part))
        _check(uri, part)
        part.rename(target)
    except OSError as error:
        raise OutputError(
            f"{uri}: cannot be copied to {target.parent} ({error}); give the node's TMPDIR more room and continue "
            "with --resume, or start another sweep with --features none"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check(uri: str, copy: Path) -> None:
    names = shards.listed(str(copy))
    damaged = sorted({*names} - {*shards.whole(str(copy), names, again=True)})
    if damaged:
        raise OutputError(
            f"{storage.join(uri, damaged[0])}: its content is not what its name says (so with {len(damaged)} of "
            f"{len(names)} shards); continue with --resume --verify-features, which makes these again"
        )
