"""Files and directories by path or URI: one set of verbs for local disks and object stores (pyarrow.fs).

A URI is a string: a local path or `scheme://bucket/key`, made absolute by `resolve` before it leaves the driver,
because trials and workers run in other directories. A key is text of any kind (spaces, # and % mean themselves).
Options of an object store, such as `?region=eu-west-1`, follow the *last* ? of a URI; where a key has a ? in it,
one more follows the key, with options behind it or without. `join` sees to that: no key is read as an option.

`shard.tar::folder/1.jpg` and `shard.parquet::17` are images inside of files, see `split_member`.

Local paths are UTF-8 in every locale and divided by / on every system (C:/birds/1.jpg), as Arrow takes them;
`to_os` and `from_os` are for Python's own calls.
"""

import hashlib
import json
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote

from pyarrow import fs

from ray_birds.core import stores
from ray_birds.core.errors import DataError, OutputError, SettingsError, first_line

_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
_UTF8 = sys.getfilesystemencoding() == "utf-8"
_WINDOWS = sys.platform == "win32"
# What Arrow takes as options (s3fs.h, gcsfs.h, azurefs.h); anything else behind a ? belongs to a key.
_OPTIONS = {
    *("region", "scheme", "endpoint_override", "access_key", "secret_key", "session_token", "tls_ca_file_path"),
    *("allow_bucket_creation", "allow_bucket_deletion", "allow_delayed_open", "background_writes", "external_id"),
    *("force_virtual_addressing", "smart_defaults", "tls_verify_certificates", "default_metadata", "role_arn"),
    *("check_directory_existence_before_creation", "retry_limit_seconds", "project_id", "load_frequency"),
    *stores.AZURE_OPTIONS,
}
_MEMBER = re.compile(r"(.+?\.(?:tar|parquet))::(.*)", re.IGNORECASE | re.DOTALL)
_SECRET = re.compile(r"(key|secret|token|passw|credential|signature|\bsig)[^=&]*=|://[^/]*@", re.IGNORECASE)


def is_local(uri: str) -> bool:
    return _SCHEME.match(uri) is None


def resolve(uri: str) -> str:
    """`uri` made absolute. Raises SettingsError where it is empty, carries credentials or cannot be used."""
    if not uri.strip():
        raise SettingsError("an empty path; expected a folder, a file or an address (is a variable not set?)")
    uri = without_file_scheme(uri)
    if is_local(uri):
        try:
            return _as_text(Path(uri).expanduser().absolute().as_posix())
        except RuntimeError as error:
            raise SettingsError(f"{uri}: {error}; set HOME, or give the whole path") from error
        except FileNotFoundError as error:
            raise SettingsError(f"{uri}: the current folder is no more; change to another one") from error
    if _has_credentials(uri):
        scheme = uri.partition("://")[0]
        raise SettingsError(f"{scheme}://...: leave credentials out of the address; give them by the environment")
    filesystem(uri)
    address, options = _split(uri)
    return _whole(address if options is not None else address.rstrip("/"), options)


def without_file_scheme(uri: str) -> str:
    """`file:///data/birds` as a local path, and any other path or URI as it is."""
    if not uri.startswith("file://"):
        return uri
    path = uri.removeprefix("file://")
    return path[1:] if _pure(path[1:]).drive else path  # file:///C:/birds


def is_absolute(path: str) -> bool:
    """Whether a local path needs no folder before it."""
    return path.startswith("/") or (_WINDOWS and _pure(path).is_absolute())


def _pure(*parts: str) -> PurePath:
    """A path of this system."""
    return (PureWindowsPath if _WINDOWS else PurePosixPath)(*parts)


def to_os(path: str) -> str:
    """A local path as Python's own calls take it in this locale; the same where that is UTF-8."""
    return path if _UTF8 else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def from_os(path: str) -> str:
    """A local path or name that Python gave, as it is in all of ray_birds."""
    text = path if _UTF8 else os.fsencode(path).decode("utf-8", "surrogateescape")
    return with_slashes(text)


def with_slashes(path: str) -> str:
    """A local path with / between its parts: \\ divides them too, but on Windows alone."""
    return path.replace("\\", "/") if _WINDOWS else path


def local(uri: str) -> Path:
    """A local path for Python's own calls: open, rename and the like."""
    return Path(to_os(uri))


def _as_text(path: str) -> str:
    """As `from_os` of a path that a person gave; one that is `from_os`'s already stays as it is."""
    try:
        return path if _UTF8 else os.fsencode(path).decode("utf-8")
    except UnicodeError:
        return path


def _has_credentials(uri: str) -> bool:
    """Whether a URI may carry a secret. A secret may hold a /, so the first part of the path is what counts."""
    scheme, _, rest = uri.partition("://")
    address, _, query = rest.partition("?")
    bucket = unquote(address.partition("/")[0])
    if scheme in stores.AZURE and bucket.count("@") == 1 and ":" not in bucket:  # CONTAINER@ACCOUNT
        bucket = ""
    return (
        "@" in bucket
        or (scheme in ("s3", "gs", "gcs") and ":" in bucket)
        or _SECRET.search(unquote(query)) is not None
    )


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of an absolute URI or path, and the path to give it."""
    if is_local(uri):
        return fs.LocalFileSystem(), uri
    address, options = _split(uri)
    scheme, _, path = address.partition("://")
    bucket, _, key = path.partition("/")
    try:
        system, root = _remote(f"{scheme}://{bucket}" + (f"?{options}" if options else ""))
    except (ValueError, OSError) as error:
        raise SettingsError(
            f"{uri}: not an address that can be read; expected a path, s3://, gs://, abfs:// or hf://datasets/"
        ) from error
    return system, f"{root}/{key}".rstrip("/")


@cache
def _remote(root: str) -> tuple[fs.FileSystem, str]:
    """The file system of a bucket and its path there; made once, for finding a bucket's region is a request.

    Only the bucket is given to Arrow as a URI: in one, a space or a # in a file's name would mean something else.
    """
    scheme, _, rest = root.partition("://")
    bucket, _, options = rest.partition("?")
    if scheme in stores.AZURE:
        return stores.azure(bucket, options)
    if scheme == stores.HUB:
        return stores.hub(), bucket
    return fs.FileSystem.from_uri(root)


def _split(uri: str) -> tuple[str, str | None]:
    """An address without its options, and these: "" where a ? alone ends it, None where there is none."""
    address, mark, options = uri.rpartition("?")
    names = {option.partition("=")[0] for option in options.split("&")}
    if mark and (not options or names <= _OPTIONS):
        return address, options
    return uri, None


def _whole(address: str, options: str | None) -> str:
    """An address with its options; a ? ends one that has a ? of its own, so that `_split` finds the same again."""
    return f"{address}?{options or ''}" if options or "?" in address else address


def join(uri: str, *names: str) -> str:
    """`uri` with `names` below it; options such as `?endpoint_override=...` stay at the end."""
    if is_local(uri):
        return _pure(uri, *names).as_posix()
    address, options = _split(uri)
    return _whole("/".join([address.rstrip("/"), *names]), options)


def at(root: str, path: str) -> str:
    """Where `path` lies: below `root`, unless it is absolute or a URI of its own."""
    return path if is_absolute(path) or not is_local(path) else join(root, path)


def beside(uri: str, extension: str) -> str:
    """The URI whose name is that of `uri` with `extension` added."""
    if is_local(uri):
        return uri + extension
    address, options = _split(uri)
    return _whole(address.rstrip("/") + extension, options)


def parent(uri: str) -> str:
    """The folder that a URI lies in."""
    if is_local(uri):
        return _pure(uri).parent.as_posix()
    address, options = _split(uri)
    return _whole(address.rstrip("/").rpartition("/")[0], options)


def path(uri: str) -> str:
    """The path of a URI: without scheme and options, on an object store with the bucket first."""
    return uri if is_local(uri) else _split(uri)[0].partition("://")[2].rstrip("/")


def split_member(uri: str) -> tuple[str, str]:
    """The shard that a member such as `birds.tar::owls/1.jpg` lies in, and its name there; another URI and ""."""
    address, options = (uri, None) if is_local(uri) else _split(uri)
    found = _MEMBER.fullmatch(address)
    if not found:
        return uri, ""
    return found[1] if is_local(uri) else _whole(found[1], options), found[2]


def folders_of(path: str) -> list[str]:
    """Names of the folders that a relative path lies in, the outermost first; the name of a shard is none."""
    shard, member = split_member(path)
    return [*shard.split("/")[:-1], *member.split("/")[:-1]]


def info(uri: str) -> fs.FileInfo:
    """Type, size and time of what is at a URI."""
    system, path = filesystem(uri)
    return system.get_file_info(path)


def kind(uri: str) -> fs.FileType:
    return info(uri).type


def exists(uri: str) -> bool:
    return kind(uri) != fs.FileType.NotFound


def read(uri: str, limit: int | None = None) -> bytes:
    """The bytes of a file, or the first `limit` of them. Raises OSError."""
    system, path = filesystem(uri)
    with system.open_input_stream(path, compression=None) as stream:  # Arrow would go by the name: x.jpg.gz
        return bytes(stream.read(limit))


class TooLargeError(OSError):
    """A file has more bytes than are to be read."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size:,} bytes")
        self.size = size


def read_up_to(uri: str, most: int) -> bytes:
    """The bytes of a file. Raises TooLargeError before reading where there are more than `most`, or OSError."""
    system, path = filesystem(uri)
    with system.open_input_file(path) as file:
        if file.size() > most:
            raise TooLargeError(file.size())
        return bytes(file.read())


def write(uri: str, data: bytes) -> None:
    """Write a file whole: on a local disk a reader sees the old one or the new one, never a part."""
    system, path = filesystem(uri)
    if is_local(uri):
        target = local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # The dot hides what a killed process leaves behind from readers of the folder.
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            part.write_bytes(data)
            part.replace(target)
        except OSError:  # a full disk above all, where what was written should not stay
            part.unlink(missing_ok=True)
            raise
        return
    with system.open_output_stream(path, compression=None) as stream:
        stream.write(data)


@contextmanager
def kept_as_it_was(folder: str) -> Iterator[None]:
    """Remove afterwards the folders on the way to a local `folder` that were made within, where they are empty."""
    above = [local(folder), *local(folder).parents] if is_local(folder) else []
    made = [path for path in above if not path.exists()]
    try:
        yield
    finally:
        with suppress(OSError):  # not empty, as it should be
            for path in made:
                path.rmdir()


def check_writable(folder: str, option: str, instead: str = "give a folder that can") -> None:
    """Write a file in a folder, which may be new, and remove both again.

    Raises OutputError where that fails, which names the `option` that asks for it and says what to do `instead`.
    """
    token = join(folder, f".seen-{secrets.token_hex(8)}")
    try:
        with kept_as_it_was(folder):
            write(token, b"")
            remove_file(token)
    except OSError as error:
        raise OutputError(f"{option} {folder}: cannot be written ({first_line(error)}); {instead}") from error


def read_json(uri: str) -> Any:
    return json.loads(read(uri))


def write_json(uri: str, value: Any) -> None:
    write(uri, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def find(uri: str) -> list[fs.FileInfo]:
    """All files below a directory, sorted by path; `relative` turns one into a path below `uri`."""
    with _utf8_names(uri):
        return sorted((info for info in listing(uri) if info.type == fs.FileType.File), key=lambda info: info.path)


def listing(uri: str) -> list[fs.FileInfo]:
    """All files and directories below a directory, in no order. Raises OSError."""
    system, path = filesystem(uri)
    return list(system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True)))


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
    return info.path[len(root) :].removeprefix("/")


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
    parent = (
        to_path if from_system.get_file_info(from_path).is_file is False else to_path.rpartition("/")[0] or "/"
    )
    to_system.create_dir(parent, recursive=True)
    fs.copy_files(from_path, to_path, source_filesystem=from_system, destination_filesystem=to_system)


def publish(staging: str, uri: str) -> None:
    """Make a finished directory appear at `uri` in one step (one rename; on object stores, file by file)."""
    system, source = filesystem(staging)
    _, target = filesystem(uri)
    if is_local(uri):
        local(target).parent.mkdir(parents=True, exist_ok=True)
        local(source).rename(local(target))
        return
    copy(staging, uri)
    system.delete_dir(source)


@contextmanager
def temporary_file(data: bytes, suffix: str) -> Iterator[str]:
    """A local file with these bytes, for libraries that take a path only. Raises OutputError where none can be
    written."""
    with ExitStack() as stack:
        try:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory()), f"file{suffix}")
            path.write_bytes(data)
        except OSError as error:
            raise OutputError(
                f"TMPDIR={os.environ.get('TMPDIR', '/tmp')}: no room for a temporary file of {len(data):,} bytes "
                f"({error.strerror or error}); set TMPDIR to a folder that has it"
            ) from error
        yield str(path)


def digest(parts: Iterable[bytes | str]) -> str:
    """A 32-digit hexadecimal digest (BLAKE2b, 128 bits) of a sequence of texts and bytes."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()
