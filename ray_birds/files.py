"""Files and directories by path or URI: one set of verbs for local disks and object stores (pyarrow.fs).

A *place* is a string: a local path or `scheme://bucket/key`. Places are made absolute by `resolve` before
they leave the driver, because trials and workers run in other directories.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs

from ray_birds.errors import SettingsError

_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")


def is_local(place: str) -> bool:
    return _SCHEME.match(place) is None


def resolve(place: str) -> str:
    """`place` made absolute. Raises SettingsError where a URI carries credentials or cannot be used."""
    if place.startswith("file://"):
        place = place.removeprefix("file://")
    if is_local(place):
        return str(Path(place).expanduser().absolute())
    parts = urlsplit(place)
    if parts.username or parts.password:
        safe = f"{parts.scheme}://{parts.hostname}{parts.path}"
        raise SettingsError(f"{safe}: leave credentials out of the address; give them through the environment")
    filesystem(place)
    return place.rstrip("/")


def filesystem(place: str) -> tuple[fs.FileSystem, str]:
    """The file system of an absolute place, and the path to give it."""
    if is_local(place):
        return fs.LocalFileSystem(), place
    try:
        return fs.FileSystem.from_uri(place)
    except (ValueError, OSError) as error:
        raise SettingsError(f"{place}: not an address that can be read ({error})") from error


def join(place: str, *names: str) -> str:
    """`place` with `names` below it; a query such as `?endpoint_override=...` stays at the end."""
    if is_local(place):
        return str(Path(place, *names))
    base, mark, query = place.partition("?")
    return "/".join([base.rstrip("/"), *names]) + mark + query


def kind(place: str) -> fs.FileType:
    system, path = filesystem(place)
    return system.get_file_info(path).type


def exists(place: str) -> bool:
    return kind(place) != fs.FileType.NotFound


def read(place: str) -> bytes:
    """The bytes of a file. Raises OSError."""
    system, path = filesystem(place)
    with system.open_input_stream(path) as stream:
        return bytes(stream.read())


def write(place: str, data: bytes) -> None:
    """Write a file whole: on a local disk a reader sees the old one or the new one, never a part."""
    system, path = filesystem(place)
    if is_local(place):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        part = Path(f"{path}.{os.getpid()}.part")
        part.write_bytes(data)
        part.replace(path)
        return
    with system.open_output_stream(path) as stream:
        stream.write(data)


def read_json(place: str) -> Any:
    return json.loads(read(place))


def write_json(place: str, value: Any) -> None:
    write(place, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def find(place: str) -> list[fs.FileInfo]:
    """All files below a directory, sorted by path; `relative` turns one into a path below `place`."""
    system, path = filesystem(place)
    found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    return sorted((info for info in found if info.type == fs.FileType.File), key=lambda info: info.path)


def folders(place: str) -> list[str]:
    """Names of the directories directly below `place`, sorted."""
    system, path = filesystem(place)
    found = system.get_file_info(fs.FileSelector(path, recursive=False))
    return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)


def relative(info: fs.FileInfo, place: str) -> str:
    """Path of a found file below `place`."""
    _, root = filesystem(place)
    return info.path[len(root) :].lstrip("/")


def remove(place: str) -> None:
    """Delete a directory and all below it; nothing happens where there is none."""
    system, path = filesystem(place)
    if system.get_file_info(path).type == fs.FileType.Directory:
        system.delete_dir(path)


def remove_file(place: str) -> None:
    """Delete a file; nothing happens where there is none."""
    system, path = filesystem(place)
    if system.get_file_info(path).type == fs.FileType.File:
        system.delete_file(path)


def copy(source: str, target: str) -> None:
    """Copy a file or a directory tree, from anywhere to anywhere."""
    from_system, from_path = filesystem(source)
    to_system, to_path = filesystem(target)
    parent = to_path if from_system.get_file_info(from_path).is_file is False else str(Path(to_path).parent)
    to_system.create_dir(parent, recursive=True)
    fs.copy_files(from_path, to_path, source_filesystem=from_system, destination_filesystem=to_system)


def publish(staging: str, place: str) -> None:
    """Make a finished directory appear at `place` in one step (one rename; on object stores, file by file)."""
    system, source = filesystem(staging)
    _, target = filesystem(place)
    if is_local(place):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(source).rename(target)
        return
    copy(staging, place)
    system.delete_dir(source)


@contextmanager
def temporary_file(data: bytes, suffix: str) -> Iterator[str]:
    """A local file with these bytes, for libraries that take a path only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"file{suffix}")
        path.write_bytes(data)
        yield str(path)


def digest(parts: Iterable[bytes | str]) -> str:
    """A 32-digit hexadecimal digest (BLAKE2b, 128 bits) of a sequence of texts and bytes."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()
