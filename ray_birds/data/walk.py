"""What lies below a folder: one answer for the sweep, check, prediction and download.

Links to folders are followed; each real folder is entered once, under its own name rather than a link's where it
has both. Names that systems leave behind are passed over and counted. A file is an image by the extension of its
name, else by its first bytes; a tar or Parquet file is a shard, a folder of the images inside of it.
"""

import bisect
import os
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from ray_birds.core import storage, text
from ray_birds.core.errors import DataError, first_line
from ray_birds.core.prefetch import prefetch
from ray_birds.data import formats
from ray_birds.data.shards import members

# Beside names that begin with a dot (macOS, Jupyter, Git, desktops of Linux): Windows, archives of macOS, network
# disks of Synology and QNAP, file system checks, Office's locks.
_LITTER = {
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler"),
    *("system volume information", "found.000", "picasa.ini", "zbthumbnail.info"),
    *("__macosx", "icon\r", "network trash folder", "temporary items", "temporaryitems"),
    *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@__thumb", "@tmp"),
    *("lost+found", "__pycache__"),
}
_SHOWN = 5  # names in a note
_REQUESTS = 16  # to an object store at a time
_CHUNK = 65_536  # names that are Python's own at a time: as such they take five times the memory

Stamp = tuple[int | None, int | None]  # size in bytes, last change in microseconds since 1970 (UTC)
UNKNOWN: Stamp = None, None
IMAGE_FOLDER = "a folder with an image's name"


class Aside(NamedTuple):
    """What is no file to read. Images may be `lost` with it, or it is of no interest."""

    path: str
    reason: str
    lost: bool


@dataclass(frozen=True)
class Tree:
    """What lies below a folder, all paths relative to it and sorted. `folders` are those that were entered.

    `names` are those of each folder's files, sorted: some 20 bytes a file. The folder stands there as its paths
    begin, such as "a/b/" or, for the root, ""; of what `sort` finds also a shard, "a/b.tar::" or "a/b.tar::c/".
    """

    root: str
    names: dict[str, pa.StringArray] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)
    litter: Counter[str] = field(default_factory=Counter)
    links: dict[str, str] = field(default_factory=dict)  # a folder reached by a link -> its real path
    stamps: dict[str, Stamp] = field(default_factory=dict)  # of files on an object store, by its listing

    @property
    def files(self) -> list[str]:
        """The paths of all files."""
        return [folder + name for folder, names in self.runs() for name in texts(names)]

    def runs(self) -> Iterator[tuple[str, pa.StringArray]]:
        """Folders and names of files in them, in the order of the paths: one with folders among its files comes
        several times."""
        above: list[tuple[str, pa.StringArray]] = []  # the next one, each with the names that are left
        for folder in sorted(self.names):
            while above and not folder.startswith(above[-1][0]):
                yield above.pop()
            if above:
                outer, names = above[-1]
                child = folder[len(outer) : folder.find("/", len(outer)) + 1] or folder[len(outer) :]
                place = bisect.bisect_left(names, child, key=lambda name: name.as_py())
                yield outer, names[:place]
                above[-1] = outer, names[place:]
            above.append((folder, self.names[folder]))
        yield from reversed(above)

    def uri(self, path: str) -> str:
        return storage.join(self.root, path)

    def labels(self, folder: str, names: pa.StringArray) -> tuple[str | None, ...] | None:
        """The labels that a shard gives images of it; None where it gives none, or the folder is no shard's."""
        shard, inner = storage.split_member(folder)
        if shard == folder:
            return None
        return members.labels(self.uri(shard), pc.binary_join_element_wise(inner, names, ""))

    def only(self, names: dict[str, pa.StringArray]) -> "Tree":
        """The same with these files alone."""
        return replace(self, names={folder: some for folder, some in names.items() if len(some)})

    def real(self, path: str) -> str:
        """Where a file lies when links to folders are resolved: the same for all ways that lead to it."""
        if not storage.is_local(self.root):
            return self.uri(path)
        folder = path.rpartition("/")[0]
        while folder and folder not in self.links:
            folder = folder.rpartition("/")[0]
        return f"{self.links[folder]}/{path[len(folder) :].lstrip('/')}"


def texts(array: pa.StringArray) -> Iterator[str]:
    """The texts of an array, a chunk of them at a time."""
    for start in range(0, len(array), _CHUNK):
        yield from array[start : start + _CHUNK].to_pylist()


class _Names:
    """Names of one folder's files, as they come."""

    def __init__(self) -> None:
        self._chunks: list[pa.StringArray] = []
        self._last: list[str] = []

    def add(self, name: str) -> None:
        self._last.append(name)
        if len(self._last) == _CHUNK:
            self._chunks.append(pa.array(self._last))
            self._last.clear()

    def sorted(self) -> pa.StringArray:
        if not self._chunks:
            return pa.array(sorted(self._last), pa.string())
        names = pa.concat_arrays([*self._chunks, pa.array(self._last, pa.string())])
        return names.take(pc.sort_indices(names))


def is_litter(name: str) -> bool:
    """Whether systems leave such a name behind; no folder of this name is a class, no file an image."""
    return (name.startswith((".", "~$")) and name not in (".", "..")) or name.casefold() in _LITTER


def litter_note(litter: Counter[str]) -> list[str]:
    """What was passed over, as a line; no line where there was nothing."""
    if not litter:
        return []
    most = sorted(litter.items(), key=lambda one: (-one[1], one[0]))[:_SHOWN]
    shown = ", ".join(f"{name} ({count:,})" for name, count in most)
    more = f" and {len(litter) - _SHOWN:,} more names" if len(litter) > _SHOWN else ""
    return [f"{litter.total():,} files and folders that systems leave behind were passed over: {shown}{more}"]


def aside_notes(aside: Iterable[Aside]) -> list[str]:
    """What else lies there and is left out, a line for each reason; what is `lost` is more than a note."""
    paths: dict[str, list[str]] = {}
    for path, reason, lost in aside:
        if not lost and reason != IMAGE_FOLDER:
            paths.setdefault(reason, []).append(path)
    return [f"{len(some):,} left out, {reason}: such as {some[0]}" for reason, some in paths.items()]


def walk(root: str, tops: Collection[str] | None = None) -> Tree:
    """What lies below the folder `root`; of what is in it directly only the folders `tops`, where these are given.

    Raises DataError where an object store cannot be listed.
    """
    tree = Tree(root)
    if storage.is_local(root):
        _Local(tree, tops).go()
    else:
        _remote(tree, tops)
    tree.folders.sort()
    tree.aside.sort()
    return tree


class _Local:
    """A walk over a local disk. No file is looked at: what an entry is stands in the listing of its folder."""

    def __init__(self, tree: Tree, tops: Collection[str] | None) -> None:
        self._tree, self._tops = tree, tops
        self._real = os.path.realpath(storage.to_os(tree.root))
        tree.links[""] = storage.from_os(self._real)
        self._seen: set[str] = set()
        self._todo = deque([("", self._real)])
        self._links: deque[tuple[str, str]] = deque()  # after all else: a folder's own name goes before a link's

    def go(self) -> None:
        while self._todo or self._links:
            if self._todo:
                self._enter(*self._todo.popleft())
            else:
                self._follow(*self._links.popleft())

    def _follow(self, under: str, real: str) -> None:
        if real in self._seen:
            self._aside(under, "a link to a folder that is listed already")
        elif self._real.startswith(real.rstrip(os.sep) + os.sep):
            self._aside(under, "a link to a folder above")
        else:
            self._tree.links[under] = storage.from_os(real)
            self._enter(under, real)

    def _enter(self, under: str, real: str) -> None:
        if real in self._seen:
            return
        self._seen.add(real)
        files = _Names()
        folders: list[tuple[str, os.DirEntry[str]]] = []
        above = f"{under}/" if under else ""
        try:
            with os.scandir(real) as found:
                for entry in found:
                    name = storage.from_os(entry.name)
                    if under or self._tops is None or name in self._tops:
                        self._take(entry, name, above + name, files, folders)
        except OSError as error:
            self._aside(under, f"cannot be listed: {error.strerror}", lost=True)
            return
        if under:
            self._tree.folders.append(under)
        for path, entry in sorted(folders, key=lambda one: one[0]):
            if entry.is_symlink():
                self._links.append((path, os.path.realpath(entry.path)))
            else:
                self._todo.append((path, entry.path))
        if len(names := files.sorted()):
            self._tree.names[above] = names

    def _take(
        self,
        entry: os.DirEntry[str],
        name: str,
        path: str,
        files: _Names,
        folders: list[tuple[str, os.DirEntry[str]]],
    ) -> None:
        if is_litter(name):
            self._tree.litter["._*" if name.startswith("._") else name] += 1
            return
        if not text.is_utf8(name):
            self._aside(readable(path), formats.NOT_UTF8, lost=True)
            return
        try:
            if entry.is_dir():
                if formats.by_name(name):
                    self._aside(path, IMAGE_FOLDER)
                folders.append((path, entry))
            elif self._is_file(entry, name):
                files.add(name)
            else:
                self._aside(path, "not a regular file")
        except OSError as error:
            self._aside(path, f"cannot be followed: {error.strerror}")

    def _is_file(self, entry: os.DirEntry[str], name: str) -> bool:
        """Whether there are bytes to read; a link that leads nowhere is a file, whose row says so, by its name."""
        if entry.is_file():
            return True
        return entry.is_symlink() and bool(formats.by_name(name)) and not Path(entry.path).exists()

    def _aside(self, path: str, reason: str, *, lost: bool = False) -> None:
        self._tree.aside.append(Aside(path, reason, lost))


def _remote(tree: Tree, tops: Collection[str] | None) -> None:
    passed: set[str] = set()
    files: dict[str, _Names] = {}
    for top in [""] if tops is None else sorted(tops):
        try:
            found = storage.listing(storage.join(tree.root, top) if top else tree.root)
        except OSError as error:
            raise DataError(f"{tree.root}: cannot be listed ({first_line(error)})") from error
        if top:
            tree.folders.append(top)
        for info in found:
            path = storage.relative(info, tree.root)
            parts = path.split("/")
            odd = next((number for number, part in enumerate(parts) if is_litter(part)), None)
            if odd is not None:
                passed.add("/".join(parts[: odd + 1]))
            elif info.type == fs.FileType.File:
                files.setdefault(path[: len(path) - len(parts[-1])], _Names()).add(parts[-1])
                tree.stamps[path] = stamp_of(info)
            elif path.strip("/"):
                tree.folders.append(path)
    tree.names.update({folder: names.sorted() for folder, names in files.items()})
    names = (path.rpartition("/")[2] for path in passed)
    tree.litter.update("._*" if name.startswith("._") else name for name in names)


def stamp(uri: str) -> Stamp:
    """Size and time of a file, of an image inside of a shard those of this; unknown where they cannot be had."""
    uri = storage.split_member(uri)[0]
    try:
        if not storage.is_local(uri):
            return stamp_of(storage.info(uri))
        found = os.stat(storage.to_os(uri))  # noqa: PTH116
    except (OSError, ValueError):
        return UNKNOWN
    return found.st_size, found.st_mtime_ns // 1000


def stamp_of(info: fs.FileInfo) -> Stamp:
    """Size and time of a file by a listing of Arrow."""
    return info.size, None if info.mtime_ns is None else info.mtime_ns // 1000


def readable(path: str) -> str:
    """A path whose name may not be UTF-8, as text that can be written to any file."""
    return os.fsencode(storage.to_os(path)).decode(errors="backslashreplace")


def sort(tree: Tree) -> tuple[Tree, list[Aside]]:
    """The images among a tree's files, and the others. Only a file whose name does not tell is opened.

    Images of kinds that are not read are among the images: decoding says so. So are those inside of shards, and a
    damaged shard: reading it says why it, or more of it, cannot be had.
    """
    unsure = [folder + name for folder, names in tree.names.items() for name in formats.unsure(names)]
    unclear = [path for path in unsure if not members.is_shard(path)]
    threads = 1 if storage.is_local(tree.root) else _REQUESTS
    looked = zip(unclear, prefetch(look, map(tree.uri, unclear), threads), strict=True)
    others = [Aside(path, reason, reason != formats.NOT_AN_IMAGE) for path, reason in looked if reason]
    opened, inside, none = _open_shards(tree, list(filter(members.is_shard, unsure)))
    left = _left_out(tree, [*opened, *(path for path, *_ in others)])
    return tree.only(tree.names | left | inside), others + none


def _open_shards(tree: Tree, paths: list[str]) -> tuple[list[str], dict[str, pa.StringArray], list[Aside]]:
    """The shards in whose place their images are, all but damaged ones; these images; and what is no image."""
    opened: list[str] = []
    inside: dict[str, pa.StringArray] = {}
    others: list[Aside] = []
    for path, shard in zip(paths, prefetch(contents, map(tree.uri, paths), _REQUESTS), strict=True):
        if isinstance(shard, str):
            opened.append(path)
            others.append(Aside(path, shard, True))
            continue
        if not shard.fault:
            opened.append(path)
            others += [] if len(shard.names) else [Aside(path, formats.NOT_AN_IMAGE, False)]
        others += [Aside(f"{path}::{name}", why, why != formats.NOT_AN_IMAGE) for name, why in shard.others]
        inside |= _by_folder(f"{path}::", shard.names, tree)
    return opened, inside, others


def contents(uri: str) -> members.Shard | str:
    """What is in a shard, or why it cannot be read."""
    try:
        return members.contents(uri)
    except OSError as error:
        return formats.unread(error)


def _by_folder(shard: str, names: pa.StringArray, tree: Tree) -> dict[str, pa.StringArray]:
    """The names of a shard's images by the folders inside of it, without what systems leave behind."""
    found: dict[str, _Names] = {}
    for path in texts(names):
        *folders, name = path.split("/")
        odd = next((part for part in (*folders, name) if is_litter(part)), "")
        if odd:
            tree.litter["._*" if odd.startswith("._") else odd] += 1
        else:
            found.setdefault(shard + path[: len(path) - len(name)], _Names()).add(name)
            if shard[:-2] in tree.stamps:
                tree.stamps[shard + path] = tree.stamps[shard[:-2]]
    return {folder: some.sorted() for folder, some in found.items()}


def _left_out(tree: Tree, paths: Iterable[str]) -> dict[str, pa.StringArray]:
    """The names that are left of folders without some paths."""
    left_out: dict[str, list[str]] = {}
    for path in paths:
        name = path.rpartition("/")[2]
        folder = path[: len(path) - len(name)]
        if folder in tree.names:
            left_out.setdefault(folder, []).append(name)
    return {folder: _without(tree.names[folder], some) for folder, some in left_out.items()}


def _without(names: pa.StringArray, some: list[str]) -> pa.StringArray:
    return names.filter(pc.invert(pc.is_in(names, pa.array(some, pa.string()))))


def look(uri: str) -> str:
    """Why a file is no image by its first bytes, or ""."""
    try:
        if storage.is_local(uri):
            with storage.local(uri).open("rb") as file:
                beginning = file.read(formats.BEGINNING)
        else:
            beginning = storage.read(uri, formats.BEGINNING)
    except (OSError, ValueError) as error:
        return formats.unread(error)
    return "" if formats.by_content(beginning) else formats.NOT_AN_IMAGE
