"""The files to score: folders, single files and patterns -> a list of images, and what was left aside."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fsspec.utils import glob_translate
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data import decode
from ray_birds.data.labels import class_of

_WILDCARD = re.compile(r"[*?\[]")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,6}$")  # "St. Louis" has none


@dataclass(frozen=True)
class Found:
    """Images as (input, path) pairs, `path` below the input's root; what is no image: (place, why)."""

    images: tuple[tuple[str, str], ...]
    ignored: tuple[tuple[str, str], ...]
    roots: dict[str, str]  # input -> absolute folder


def find(inputs: Iterable[str]) -> Found:
    """All images of all inputs, sorted within each; one that several inputs lead to belongs to the first.

    Raises DataError where an input leads nowhere or there is no image at all.
    """
    inputs = tuple(inputs)
    wanted: dict[str, tuple[str, str]] = {}
    ignored: dict[str, str] = {}
    roots = {given: root(given) for given in inputs}
    for given, folder in roots.items():
        for path, reason in _list(given, folder):
            uri = storage.join(folder, path)
            if reason:
                ignored.setdefault(os.fsencode(uri).decode(errors="backslashreplace"), reason)
            else:
                wanted.setdefault(uri, (given, path))
    if not wanted:
        aside = f" ({len(ignored)} other files, such as {next(iter(ignored))})" if ignored else ""
        raise DataError(
            f"no image found in {', '.join(map(repr, inputs))}{aside}; expected folders or image files"
        )
    return Found(tuple(wanted.values()), tuple(ignored.items()), roots)


def root(given: str) -> str:
    """The absolute folder that the paths of an input's images are below.

    That is a folder itself, the folder of a file, or what of a pattern stands before its first wildcard.
    Raises DataError where there is nothing.
    """
    uri = storage.resolve(given)
    try:
        kind = storage.kind(uri)
        if kind == fs.FileType.NotFound and _WILDCARD.search(given):
            while _WILDCARD.search(uri):
                uri = storage.parent(uri)
            kind = storage.kind(uri)
    except OSError as error:
        raise DataError(f"--input {given}: cannot be reached ({str(error).splitlines()[0][:200]})") from error
    if kind == fs.FileType.NotFound:
        raise DataError(
            f"--input {given}: nothing there; expected a folder, an image file or a pattern that matches"
        )
    return uri if kind == fs.FileType.Directory else storage.parent(uri)


def label(folder: str, path: str, classes: frozenset[str]) -> str | None:
    """The class whose folder the image at `path` below `folder` lies in; None where it is in no class's."""
    return class_of(PurePosixPath(_path(folder), path).parent.name, classes)


def _list(given: str, folder: str) -> Iterator[tuple[str, str]]:
    """Paths below `folder` that an input leads to, each with the reason why it is not scored, or ""."""
    uri = storage.resolve(given)
    if uri == folder:
        yield from _below(folder)
    elif storage.exists(uri):  # a file given by itself gets its row, whatever it is
        yield PurePosixPath(_path(uri)).name, _special(uri)
    else:
        found = list(_matches(uri, folder))
        if not found:
            raise DataError(f"--input {given}: no file matches; looked below {folder}")
        yield from found


def _matches(pattern: str, folder: str) -> Iterator[tuple[str, str]]:
    """As `_list`, for a pattern; of a folder that it matches, all files.

    Python's `glob` would follow links to folders, round in circles too.
    """
    whole = re.compile(glob_translate(_path(pattern)))
    for path, why in _below(folder):
        file = PurePosixPath(_path(folder), path)
        if any(whole.match(str(part)) for part in (file, *file.parents)):
            yield path, why


def _below(folder: str) -> Iterator[tuple[str, str]]:
    """As `_list`, for a folder."""
    if not storage.is_local(folder):
        for info in storage.find(folder):
            path = storage.relative(info, folder)
            yield path, _reason(storage.join(folder, path))
        return
    unseen: list[OSError] = []
    paths = []
    for at, folders, names in os.walk(folder, onerror=unseen.append):
        odd = [name for name in folders if decode.has_image_extension(name) or Path(at, name).is_symlink()]
        under = at[len(folder) :].lstrip("/")
        paths += [f"{under}/{name}" if under else name for name in [*names, *odd]]
    for path in sorted(paths):
        yield path, _reason(storage.join(folder, path))
    for error in unseen:
        yield os.path.relpath(error.filename, folder), f"cannot be listed: {error.strerror}"


def _reason(uri: str) -> str:
    """Why a file is not scored, or ""; only a file without ending is opened, for its first bytes."""
    reason = _special(uri)
    if reason or decode.has_image_extension(_path(uri)):
        return reason
    return "not an image" if _EXTENSION.search(_path(uri)) or not decode.looks_like_image(uri) else ""


def _special(uri: str) -> str:
    """Why something on a local disk is not read, or "" for a file; its row says so where one cannot be had."""
    if not storage.is_local(uri):
        return ""
    try:
        uri.encode()
        mode = Path(uri).stat().st_mode
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    except (FileNotFoundError, PermissionError):
        return ""
    except OSError as error:
        return f"cannot be followed: {error.strerror}"
    if stat.S_ISDIR(mode):
        return "a link to a folder" if Path(uri).is_symlink() else "a folder with an image's name"
    return "" if stat.S_ISREG(mode) else "not a regular file"


def _path(uri: str) -> str:
    """A place without scheme and options."""
    return uri if storage.is_local(uri) else storage.filesystem(uri)[1]
