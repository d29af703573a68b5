"""Files and directories by path or URI: one set of verbs for local disks and object stores (pyarrow.fs).

A *place* is a string: a local path or `scheme://bucket/key`. Places are made absolute by `resolve` before
they leave the driver, because trials and workers run in other directories.
"""

import hashlib
import json
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pyarrow import fs

from ray_birds.core.errors import DataError, SettingsError

_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
_QUERY = re.compile(r"\?[A-Za-z_]+=.*$")  # options of an address; a ? without them belongs to a name


def is_local(uri: str) -> bool:
    return _SCHEME.match(uri) is None


def resolve(uri: str) -> str:
    """`uri` made absolute. Raises SettingsError where a URI carries credentials or cannot be used."""
    if uri.startswith("file://"):
        uri = uri.removeprefix("file://")
    if is_local(uri):
        return str(Path(uri).expanduser().absolute())
    if _has_credentials(uri):
        scheme = uri.partition("://")[0]
        raise SettingsError(f"{scheme}://...: leave credentials out of the address; give them by the environment")
    filesystem(uri)
    return uri.rstrip("/")


def _has_credentials(uri: str) -> bool:
    """Whether a URI may carry a secret. A secret may hold a /, so the first part of the path is what counts."""
    scheme, _, rest = uri.partition("://")
    address, _, query = rest.partition("?")
    bucket = address.partition("/")[0]
    secret = re.search(r"(key|secret|token|password)[^=&]*=", query, re.IGNORECASE)
    return "@" in bucket or (scheme in ("s3", "gs", "gcs") and ":" in bucket) or secret is not None


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of an absolute place, and the path to give it."""
    if is_local(uri):
        return fs.LocalFileSystem(), uri
    address, query = _split(uri)
    scheme, _, path = address.partition("://")
    bucket, _, key = path.partition("/")
    try:
        system, root = _remote(f"{scheme}://{bucket}{query}")
    except (ValueError, OSError) as error:
        raise SettingsError(f"{uri}: not an address that can be read; expected a path, s3:// or gs://") from error
    return system, f"{root}/{key}".rstrip("/")


@cache
def _remote(root: str) -> tuple[fs.FileSystem, str]:
    """The file system of a bucket and its path there; made once, for finding a bucket's region is a request.

    Only the bucket is given to Arrow as a URI: in one, a space or a # in a file's name would mean something else.
    """
    return fs.FileSystem.from_uri(root)


def _split(uri: str) -> tuple[str, str]:
    """An address without its options, and these, such as `?region=eu-west-1`."""
    query = _QUERY.search(uri)
    return (uri[: query.start()], query[0]) if query else (uri, "")


def join(uri: str, *names: str) -> str:
    """`uri` with `names` below it; a query such as `?endpoint_override=...` stays at the end."""
    if is_local(uri):
        return str(Path(uri, *names))
    address, query = _split(uri)
    return "/".join([address.rstrip("/"), *names]) + query


def beside(uri: str, extension: str) -> str:
    """The place whose name is that of `uri` with `ending` added."""
    if is_local(uri):
        return uri + extension
    address, query = _split(uri)
    return address.rstrip("/") + extension + query


def parent(uri: str) -> str:
    """The folder that a place lies in."""
    if is_local(uri):
        return str(Path(uri).parent)
    address, query = _split(uri)
    return address.rstrip("/").rpartition("/")[0] + query


def kind(uri: str) -> fs.FileType:
    system, path = filesystem(uri)
    return system.get_file_info(path).type


def exists(uri: str) -> bool:
    return kind(uri) != fs.FileType.NotFound


def read(uri: str, limit: int | None = None) -> bytes:
    """The bytes of a file, or the first `limit` of them. Raises OSError."""
    system, path = filesystem(uri)
    with system.open_input_stream(path) as stream:
        return bytes(stream.read(limit))


def write(uri: str, data: bytes) -> None:
    """Write a file whole: on a local disk a reader sees the old one or the new one, never a part."""
    system, path = filesystem(uri)
    if is_local(uri):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # The dot hides what a killed process leaves behind from readers of the folder.
        part = Path(path).with_name(f".{Path(path).name}.{secrets.token_hex(4)}.part")
        try:
            part.write_bytes(data)
            part.replace(path)
        except OSError:  # a full disk above all, where what was written should not stay
            part.unlink(missing_ok=True)
            raise
        return
    with system.open_output_stream(path) as stream:
        stream.write(data)


def read_json(uri: str) -> Any:
    return json.loads(read(uri))


def write_json(uri: str, value: Any) -> None:
    write(uri, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def find(uri: str) -> list[fs.FileInfo]:
    """All files below a directory, sorted by path; `relative` turns one into a path below `uri`."""
    system, path = filesystem(uri)
    found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    with _utf8_names(uri):
        return sorted((info for info in found if info.type == fs.FileType.File), key=lambda info: info.path)


def folders(uri: str) -> list[str]:
    """Names of the directories directly below `uri`, sorted."""
    system, path = filesystem(uri)
    found = system.get_file_info(fs.FileSelector(path, recursive=False))
    with _utf8_names(uri):
        return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)


@contextmanager
def _utf8_names(uri: str) -> Iterator[None]:
    """Arrow decodes a found name when it is looked at, and takes none but UTF-8."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{uri}: holds a name that is not UTF-8 ({error.object!r}); rename it") from error


def relative(info: fs.FileInfo, uri: str) -> str:
    """Path of a found file below `uri`."""
    _, root = filesystem(uri)
    return info.path[len(root) :].lstrip("/")


def remove(uri: str) -> None:
    """Delete a directory and all below it; nothing happens where there is none."""
    system, path = filesystem(uri)
    if system.get_file_info(path).type == fs.FileType.Directory:
        system.delete_dir(path)


def remove_file(uri: str) -> None:
    """Delete a file; nothing happens where there is none."""
    system, path = filesystem(uri)
    if system.get_file_info(path).type == fs.FileType.File:
        system.delete_file(path)


def copy(source: str, target: str) -> None:
    """Copy a file or a directory tree, from anywhere to anywhere."""
    from_system, from_path = filesystem(source)
    to_system, to_path = filesystem(target)
    parent = to_path if from_system.get_file_info(from_path).is_file is False else str(Path(to_path).parent)
    to_system.create_dir(parent, recursive=True)
    fs.copy_files(from_path, to_path, source_filesystem=from_system, destination_filesystem=to_system)


def publish(staging: str, uri: str) -> None:
    """Make a finished directory appear at `uri` in one step (one rename; on object stores, file by file)."""
    system, source = filesystem(staging)
    _, target = filesystem(uri)
    if is_local(uri):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(source).rename(target)
        return
    copy(staging, uri)
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
