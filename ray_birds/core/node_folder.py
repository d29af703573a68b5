"""Folders in a node's temporary directory for all processes of one user there: what one makes, the others use.

Others can write to the temporary directory too: such a folder is this user's alone, or it is refused.
"""

import getpass
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from ray_birds.core.errors import OutputError


def own(kind: str) -> Path:
    """This user's folder for things of a kind. Raises OutputError where it is a link, another's, or open to
    others."""
    folder = Path(tempfile.gettempdir(), f"ray-birds-{kind}-{_user()}")
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


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases when its holder dies; its file is opened without following links.

    Raises OutputError where it cannot be had."""
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


def _user() -> str:
    if sys.platform == "win32":
        return getpass.getuser()
    return str(os.getuid())


def _refusal(path: Path, reason: str) -> OutputError:
    return OutputError(
        f"{path}: {reason}; expected a folder that is yours alone (mode 0700): remove it, or set TMPDIR to a "
        "folder of your own, and continue with --resume"
    )
