"""The files to score: folders, single files and patterns -> a list of images, and what was left aside."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fsspec.utils import glob_translate
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import DataError, first_line
from ray_birds.data import formats, labels, walk
from ray_birds.data.shards import members
from ray_birds.data.table import SPLIT_BY_NAME
from ray_birds.data.walk import UNKNOWN, Aside, Stamp
from ray_birds.prediction import listing
from ray_birds.prediction.listing import File

_WILDCARD = re.compile(r"[*?\[]")
_ARCHIVE = re.compile(rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|.{257}ustar", re.DOTALL)
_PEOPLE = {"home", "Users"}  # folders of people, whose names say nothing of images
_NEAR = 0.8  # likeness of a folder's name to a class, from which on it may be meant for it
_SHOWN = 3  # folders in a note
_COMPARED = 1000  # folders whose names are compared with those of all classes
_TABLE = 32_768  # images in a table


class Run(NamedTuple):
    """Images of one folder of an input that follow each other: `folder` is what their paths begin with, or "".

    Without `labels` of their own, one an image, they have the one that the folder gives. Those of a table are
    classes of the model, those of a shard what is written there.
    """

    input: str
    folder: str
    names: pa.StringArray
    stamps: dict[str, Stamp]  # by path, where the listing tells them
    labels: tuple[str | None, ...] | None = None


@dataclass(frozen=True)
class Found:
    """Images, each below the root of its input; what is no image: (URI, why); notes."""

    runs: tuple[Run, ...]
    ignored: tuple[tuple[str, str], ...]
    roots: dict[str, str]  # input -> absolute folder
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(len(run.names) for run in self.runs)

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """Pairs of input and path, all at once: for a few images."""
        return tuple((file.input, file.path) for file in self.files(()))

    def files(self, classes: Iterable[str]) -> Iterator[File]:
        """The images, each with its label, or that which its folder gives it for a model of these classes."""
        return listing.rows(self.tables(classes))

    def tables(self, classes: Iterable[str]) -> Iterator[pa.Table]:
        """The same as tables, with the columns of listing.SCHEMA."""
        known = frozenset(classes)
        for runs in _some(self.runs):
            place = pa.array(np.repeat(np.arange(len(runs)), [len(run.names) for run in runs]))
            given = pa.array([run.input for run in runs]).take(place)
            folders = pa.array([run.folder for run in runs]).take(place)
            paths = pc.binary_join_element_wise(folders, pa.concat_arrays([run.names for run in runs]), "")
            named = [label for run in runs for label in self._labels(run, known)]
            columns = [given, paths, named, *self._stamps(runs, paths), pa.array(np.zeros(len(paths), bool))]
            yield pa.table(columns, schema=listing.SCHEMA)

    @staticmethod
    def _stamps(runs: Sequence[Run], paths: pa.StringArray) -> list[pa.Array]:
        """Size and time of each image, null where the listing does not tell them."""
        if not any(run.stamps for run in runs):
            return [pa.nulls(len(paths), pa.int64())] * 2
        stamps = [run.stamps for run in runs for _ in range(len(run.names))]
        found = [one.get(path, UNKNOWN) for one, path in zip(stamps, paths.to_pylist(), strict=True)]
        return [pa.array(column, pa.int64()) for column in zip(*found, strict=True)]

    def _labels(self, run: Run, known: frozenset[str]) -> Iterable[str | None]:
        if run.labels is None:
            return repeat(label(self.roots[run.input], run.folder, known), len(run.names))
        class_of = {one: labels.class_of(one, known) for one in set(run.labels) if one is not None}
        return (one if one is None else class_of[one] for one in run.labels)


def _some(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """The runs, long ones in pieces, as many at a time as have some `_TABLE` images."""
    some: list[Run] = []
    count = 0
    for run in runs:
        for start in range(0, len(run.names), _TABLE):
            names = run.names.slice(start, _TABLE)
            some.append(run._replace(names=names, labels=run.labels and run.labels[start : start + _TABLE]))
            count += len(names)
            if count >= _TABLE:
                yield some
                some, count = [], 0
    if some:
        yield some


def find(inputs: Iterable[str]) -> Found:
    """All images of all inputs, sorted within each; one that several inputs lead to belongs to the first.

    An image of a kind that is not read is among them, for it gets a row. Raises DataError where an input leads
    nowhere, is an archive or a list of files, or there is no image at all.
    """
    inputs = tuple(dict.fromkeys(inputs))
    runs: list[Run] = []
    taken = _Taken()
    ignored: dict[str, str] = {}
    litter = Counter[str]()
    roots = {given: root(given) for given in inputs}
    for given, folder in roots.items():
        tree, images, aside = _list(given, folder)
        litter += tree.litter
        for under, names in images.runs():
            fresh = names if len(inputs) == 1 else taken.fresh(images.real(under), names)
            runs += [Run(given, under, fresh, images.stamps, images.labels(under, fresh))] if len(fresh) else []
        for path, reason, _ in aside:
            ignored.setdefault(walk.readable(storage.join(folder, path)), reason)
    if not runs:
        raise DataError(_no_image(inputs, ignored, walk.litter_note(litter)))
    notes = tuple(walk.litter_note(litter))
    return Found(tuple(runs), tuple(ignored.items()), roots, notes)


class _Taken:
    """Names that inputs have led to, by real folder: as they are or, where a folder comes again, in a set."""

    def __init__(self) -> None:
        self._first: dict[str, pa.StringArray] = {}
        self._all: dict[str, set[str]] = {}

    def fresh(self, folder: str, names: pa.StringArray) -> pa.StringArray:
        """The names that are new in a folder; from now on they are not."""
        if self._first.setdefault(folder, names) is names:
            return names
        known = self._all.setdefault(folder, set(walk.texts(self._first[folder])))
        new = [name for name in walk.texts(names) if name not in known]
        known.update(new)
        return pa.array(new, pa.string())


def _no_image(inputs: Sequence[str], ignored: dict[str, str], notes: list[str]) -> str:
    first = next(iter(ignored.items()), None)
    aside = f" ({len(ignored):,} other files, such as {first[0]}: {first[1]})" if first else ""
    passed = "".join(f" ({note})" for note in notes)
    return f"no image found in {', '.join(map(repr, inputs))}{aside}{passed}; expected folders or image files"


def root(given: str) -> str:
    """The absolute folder that the paths of an input's images are below.

    That is a folder itself, the folder of a file, or what of a pattern stands before its first wildcard.
    Raises DataError where there is nothing.
    """
    if not given.strip():
        raise DataError(f"--input {given!r}: is empty; expected a folder, an image file or a pattern")
    uri = storage.resolve(given)
    try:
        kind = storage.kind(uri)
        if kind == fs.FileType.NotFound and storage.split_member(uri)[1]:
            uri = storage.split_member(uri)[0]
            kind = storage.kind(uri)
        if kind == fs.FileType.NotFound and _WILDCARD.search(storage.path(uri)):
            while _WILDCARD.search(storage.path(uri)):
                uri = storage.parent(uri)
            kind = storage.kind(uri)
    except OSError as error:
        raise DataError(f"--input {given}: cannot be reached ({first_line(error)})") from error
    if kind == fs.FileType.NotFound:
        raise DataError(
            f"--input {given}: nothing there; expected a folder, an image file or a pattern that matches"
        )
    return uri if kind == fs.FileType.Directory else storage.parent(uri)


def label(folder: str, path: str, classes: frozenset[str]) -> str | None:
    """The class of the image at `path` below `folder`: the nearest folder above that is one; None if none is."""
    return labels.label(_folders(folder, path), classes)


def _folders(folder: str, path: str) -> list[str]:
    """Names of the folders above an image that may be classes, the outermost first.

    A folder train/, valid/ or test/ that lies above the input ends them, and so does whoever's home it lies in.
    """
    parts = PurePosixPath(storage.path(folder)).parts[1:]  # without the disk's /, or the bucket
    if parts and parts[0] in _PEOPLE:
        parts = parts[2:]
    split = max((number for number, part in enumerate(parts) if part.strip().lower() in SPLIT_BY_NAME), default=0)
    return [*parts[split:], *storage.folders_of(path)]


def notes(found: Found, classes: Sequence[str]) -> list[str]:
    """What a person should know of the files before the model, whose classes these are, scores them."""
    return [*found.notes, *_label_notes(found, classes)]


def _label_notes(found: Found, classes: Sequence[str]) -> list[str]:
    """What to say of images whose folders are no class though they look as if they should be.

    That is so where other folders of the job are classes, and where the folder's name is like one. Else the images
    are taken for unlabelled, as those of a folder of new ones are, and nothing is said.
    """
    known = frozenset(classes)
    counts = Counter[tuple[str, str]]()
    for run in (one for one in found.runs if one.labels is None):
        counts[run.input, run.folder] += len(run.names)
    lost = Counter[str]()
    alike: set[str] = set()
    for (given, folder), count in counts.most_common():
        if label(found.roots[given], folder, known) is None:
            names = [PurePosixPath(storage.path(found.roots[given])).name, *storage.folders_of(folder)]
            meant = next((name for name in reversed(names) if len(lost) < _COMPARED and _is_near(name, known)), "")
            alike |= {meant} - {""}
            lost[meant or names[-1]] += count
    if lost.total() == len(found):  # nothing has a label
        lost = Counter({name: lost[name] for name in alike})
    if not lost:
        return []
    shown = ", ".join(
        f"{name} (nearest {labels.nearest(name, classes)!r})" for name, _ in lost.most_common(_SHOWN)
    )
    more = f" and {len(lost) - _SHOWN:,} more" if len(lost) > _SHOWN else ""
    return [f"{lost.total():,} files lie in folders that are no class: {shown}{more}"]


def _is_near(name: str, known: frozenset[str]) -> bool:
    return bool(difflib.get_close_matches(labels.fold(name), map(labels.fold, known), 1, _NEAR))


def _list(given: str, folder: str) -> tuple[walk.Tree, walk.Tree, list[Aside]]:
    """What an input leads to below `folder`: the tree, its images, and what is none, with the reason."""
    uri = storage.resolve(given)
    if uri == folder:
        tree = walk.walk(folder)
        images, others = walk.sort(tree)
        return tree, images, [*tree.aside, *others]
    if storage.exists(uri):
        return _single(given, uri, folder)
    if storage.split_member(uri)[1] and storage.exists(storage.split_member(uri)[0]):
        return _member(given, uri, folder)
    tree = walk.walk(folder)
    matched, aside = _matching(uri, tree)
    if not matched.names and not aside:
        raise DataError(f"--input {given}: no file matches; looked below {folder}")
    images, others = walk.sort(matched)
    return matched, images, [*aside, *others]


def _single(given: str, uri: str, folder: str) -> tuple[walk.Tree, walk.Tree, list[Aside]]:
    """A file given by itself: it gets its row, damaged or not, where its name or its content is an image's."""
    name = PurePosixPath(storage.path(uri)).name
    tree = walk.Tree(folder, {"": pa.array([name])}, links={"": _real(folder)})
    if not storage.is_local(uri):
        tree.stamps[name] = walk.stamp_of(storage.info(uri))
    if storage.is_local(uri) and not storage.local(uri).is_file():
        return tree, tree.only({}), [Aside(name, "not a regular file", True)]
    if members.is_shard(uri):
        images, others = walk.sort(tree)
        if images.names or any(one.lost for one in others):
            return tree, images, others
    reason = "" if formats.by_name(name) else walk.look(uri)
    if reason == formats.NOT_AN_IMAGE:
        raise DataError(f"--input {given}: {_what_instead(uri)}")
    return tree, tree, []


def _member(given: str, uri: str, folder: str) -> tuple[walk.Tree, walk.Tree, list[Aside]]:
    """An image inside of a shard, given by itself."""
    try:
        if not members.holds(uri):
            raise DataError(f"--input {given}: no such image in {storage.split_member(uri)[0]}")
    except OSError as error:
        raise DataError(f"--input {given}: cannot be read ({first_line(error)})") from error
    path = storage.path(uri).removeprefix(storage.path(folder)).lstrip("/")
    end = max(path.rfind("/"), path.rfind("::") + 1) + 1
    tree = walk.Tree(folder, {path[:end]: pa.array([path[end:]])}, links={"": _real(folder)})
    tree.stamps[path] = walk.stamp(uri)
    return tree, tree, []


def _what_instead(uri: str) -> str:
    if _ARCHIVE.match(storage.read(uri, 512)):
        return "an archive; unpack it and give the folder"
    return "not an image; give folders, images or patterns (in place of a list of files, the names that are in it)"


def _real(folder: str) -> str:
    return storage.from_os(str(storage.local(folder).resolve())) if storage.is_local(folder) else folder


def _matching(pattern: str, tree: walk.Tree) -> tuple[walk.Tree, list[Aside]]:
    """What of a tree a pattern matches; of a folder that it matches, all."""
    try:
        whole = re.compile(glob_translate(storage.path(pattern)))
    except ValueError as error:  # "a**", above all
        raise DataError(f"--input {pattern}: {error}") from error
    base = PurePosixPath(storage.path(tree.root))

    def matches(path: PurePosixPath) -> bool:
        return any(whole.match(str(part)) for part in (path, *path.parents))

    def of(folder: str, names: pa.StringArray) -> pa.StringArray:
        above = PurePosixPath(base, folder)
        mask = None if matches(above) else [bool(whole.match(f"{above}/{name}")) for name in walk.texts(names)]
        return names if mask is None else names.filter(pa.array(mask, pa.bool_()))

    aside = [one for one in tree.aside if matches(PurePosixPath(base, one.path))]
    return tree.only({folder: of(folder, names) for folder, names in tree.names.items()}), aside


def reasons(ignored: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Why files are not scored, a line for each reason, the most frequent first."""
    for reason, count in Counter(reason for _, reason in ignored).most_common():
        yield f"{count:,} x {reason}"
