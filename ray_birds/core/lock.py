"""One job at a time for what it writes: a lock beside that, which says who holds it and since when.

On a disk the kernel keeps the lock and lets go of it with its process. An object store has no locks, and Arrow no
conditional writes: there the owner's file is the lock. It is written, read again to see whose it is, and written
anew every few seconds; one that is not counts for nothing after a while.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ray_birds.core import storage
from ray_birds.core.errors import OutputError, first_line

_BEAT = 10.0  # seconds between two writes of the owner's file
_GONE = 60.0  # seconds after which an owner that is silent is no more
_SETTLE = 1.0  # seconds after which the last of two writers that met has written


@contextmanager
def held(uri: str) -> Iterator[None]:
    """Hold the lock of a folder, which need not exist. Raises OutputError where another job does."""
    with (_on_disk if storage.is_local(uri) else _on_object_store)(uri):
        yield


def _beside(uri: str, extension: str) -> str:
    """A hidden file beside the folder at `uri`, named for it."""
    name = (uri if storage.is_local(uri) else uri.partition("?")[0]).rpartition("/")[2]
    return storage.join(storage.parent(uri), f".{name}.{extension}")


@contextmanager
def _on_disk(uri: str) -> Iterator[None]:
    lock, owner = FileLock(storage.local(_beside(uri, "lock"))), _beside(uri, "owner.json")
    with storage.kept_as_it_was(storage.parent(uri)):
        try:
            storage.local(uri).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise _taken(uri, _read(owner)) from None
        except OSError as error:
            raise OutputError(f"{uri}: cannot be written ({first_line(error)}); choose another folder") from error
        try:
            storage.write_json(owner, _me())
            yield
        finally:
            storage.remove_file(owner)
            with suppress(PermissionError):  # Windows keeps a file that is open; there `release` removes it
                Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


@contextmanager
def _on_object_store(uri: str) -> Iterator[None]:
    owner, me = _beside(uri, "owner.json"), _me()
    if time.time() - (other := _read(owner)).get("seen", 0.0) < _GONE:
        raise _taken(uri, other)
    storage.write_json(owner, me)
    time.sleep(_SETTLE)
    if (other := _read(owner)).get("token") != me["token"]:
        raise _taken(uri, other)
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(owner, me, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        storage.remove_file(owner)


def _beat(owner: str, me: dict[str, Any], done: threading.Event) -> None:
    while not done.wait(_BEAT):
        with suppress(OSError):  # the next one may get through
            storage.write_json(owner, me | {"seen": time.time()})


def _me() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": since,
        "token": secrets.token_hex(8),
        "seen": time.time(),
    }


def _read(owner: str) -> dict[str, Any]:
    """What the owner's file says; nothing where there is none, or where it is being written."""
    try:
        return dict(storage.read_json(owner))
    except (OSError, ValueError):
        return {}


def _taken(uri: str, owner: dict[str, Any]) -> OutputError:
    who = f"process {owner['process']} on {owner['host']}, since {owner['since']}" if owner else "another process"
    return OutputError(
        f"{uri}: another job is at work on it ({who}); wait for that, stop it, or choose another name"
    )
