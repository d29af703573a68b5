"""A node's own copy of stored features that lie elsewhere, in the temporary directory, for all its processes.

Others can write to the temporary directory too: the copies lie in a folder that is this user's alone, and what is
in a copy is compared with its digests before it is used.
"""

import getpass
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.features import shards


def of(uri: str, name: str) -> Path:
    """This node's copy, called `name`, of the feature's folder at `uri`: one process makes it, the others wait.

    Raises OutputError where the folder of copies is not this user's alone, where the disk has no room, and where
    a shard at `uri` is not what its name says.
    """
    cache = _own_folder()
    with _locked(cache / f"{name}.lock"):
        if not _is_complete(cache / name):
            _make(uri, cache / name)
    return cache / name


def _own_folder() -> Path:
    """The folder of this user's copies. Raises OutputError where it is a link, another's, or open to others."""
    folder = Path(tempfile.gettempdir(), f"ray-birds-features-{_user()}")
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        raise _refusal(folder, f"cannot be made ({error.strerror})") from error
    if not stat.S_ISDIR(status.st_mode):
        raise _refusal(folder, "is a link or a file")
    if sys.platform != "win32" and status.st_uid != os.getuid():
        raise _refusal(folder, f"belongs to user {status.st_uid}")
    if sys.platform != "win32" and stat.S_IMODE(status.st_mode) & 0o077:
        raise _refusal(folder, f"is open to others (mode {stat.S_IMODE(status.st_mode):04o})")
    return folder


def _user() -> str:
    if sys.platform == "win32":
        return getpass.getuser()
    return str(os.getuid())


def _refusal(path: Path, reason: str) -> OutputError:
    return OutputError(
        f"{path}: {reason}; expected a folder that is yours alone (mode 0700): remove it, or set TMPDIR to a "
        "folder of your own, and continue with --resume"
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases when its holder dies; its file is opened without following links."""
    lock = FileLock(path, mode=0o600)
    try:
        lock.acquire()
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be locked ({error.strerror}); remove it and continue with --resume"
        ) from error
    try:
        yield
    finally:
        lock.release()


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
