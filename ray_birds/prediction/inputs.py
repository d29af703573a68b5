"""The files to score: folders, single files and patterns -> a list of images, and what was left aside."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from fsspec.utils import glob_translate
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import DataError, first_line
from ray_birds.data import formats, labels, walk
from ray_birds.data.table import SPLIT_FOLDERS
from ray_birds.data.walk import Aside, Stamp

_WILDCARD = re.compile(r"[*?\[]")
_ARCHIVE = re.compile(rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|.{257}ustar", re.DOTALL)
_SPLITS = {name for names in SPLIT_FOLDERS.values() for name in names}
_PEOPLE = {"home", "Users"}  # folders of people, whose names say nothing of images
_NEAR = 0.8  # likeness of a folder's name to a class, from which on it may be meant for it
_SHOWN = 3  # folders in a note
_COMPARED = 1000  # folders whose names are compared with those of all classes


@dataclass(frozen=True)
class Found:
    """Images as (input, path) pairs, `path` below the input's root; what is no image: (URI, why); notes.

    `stamps` are the images' sizes and times.
    """

    images: tuple[tuple[str, str], ...]
    ignored: tuple[tuple[str, str], ...]
    roots: dict[str, str]  # input -> absolute folder
    notes: tuple[str, ...] = ()
    stamps: tuple[Stamp, ...] = ()


def find(inputs: Iterable[str]) -> Found:
    """All images of all inputs, sorted within each; one that several inputs lead to belongs to the first.

    An image of a kind that is not read is among them, for it gets a row. Raises DataError where an input leads
    nowhere, is an archive or a list of files, or there is no image at all.
    """
    inputs = tuple(dict.fromkeys(inputs))
    wanted: dict[str, tuple[str, str]] = {}
    stamps: list[Stamp] = []
    ignored: dict[str, str] = {}
    litter = Counter[str]()
    roots = {given: root(given) for given in inputs}
    for given, folder in roots.items():
        tree, images, aside = _list(given, folder)
        litter += tree.litter
        for path in images:
            real = tree.real(path)
            if real not in wanted:
                wanted[real] = (given, path)
                stamps.append(tree.stamp(path))
        for path, reason, _ in aside:
            ignored.setdefault(walk.readable(storage.join(folder, path)), reason)
    if not wanted:
        raise DataError(_no_image(inputs, ignored, walk.litter_note(litter)))
    notes = tuple(walk.litter_note(litter))
    return Found(tuple(wanted.values()), tuple(ignored.items()), roots, notes, tuple(stamps))


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
    split = max((number for number, part in enumerate(parts) if part.strip().lower() in _SPLITS), default=0)
    return [*parts[split:], *path.split("/")[:-1]]


def notes(found: Found, classes: Sequence[str]) -> list[str]:
    """What a person should know of the files before the model, whose classes these are, scores them."""
    return [*found.notes, *_label_notes(found, classes)]


def _label_notes(found: Found, classes: Sequence[str]) -> list[str]:
    """What to say of images whose folders are no class though they look as if they should be.

    That is so where other folders of the job are classes, and where the folder's name is like one. Else the images
    are taken for unlabelled, as those of a folder of new ones are, and nothing is said.
    """
    known = frozenset(classes)
    counts = Counter((given, path.rpartition("/")[0]) for given, path in found.images)
    lost = Counter[str]()
    alike: set[str] = set()
    for (given, folder), count in counts.most_common():
        if label(found.roots[given], f"{folder}/", known) is None:
            inner = folder.split("/") if folder else []
            names = [PurePosixPath(storage.path(found.roots[given])).name, *inner]
            meant = next((name for name in reversed(names) if len(lost) < _COMPARED and _is_near(name, known)), "")
            alike |= {meant} - {""}
            lost[meant or names[-1]] += count
    if lost.total() == len(found.images):  # nothing has a label
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


def _list(given: str, folder: str) -> tuple[walk.Tree, list[str], list[Aside]]:
    """What an input leads to below `folder`: its images, and what is none, with the reason."""
    uri = storage.resolve(given)
    if uri == folder:
        tree = walk.walk(folder)
        images, others = walk.sort(tree)
        return tree, images, [*tree.aside, *others]
    if storage.exists(uri):
        return _single(given, uri, folder)
    tree = walk.walk(folder)
    matched, aside = _matching(uri, tree)
    if not matched.files and not aside:
        raise DataError(f"--input {given}: no file matches; looked below {folder}")
    images, others = walk.sort(matched)
    return matched, images, [*aside, *others]


def _single(given: str, uri: str, folder: str) -> tuple[walk.Tree, list[str], list[Aside]]:
    """A file given by itself: it gets its row, damaged or not, where its name or its content is an image's."""
    name = PurePosixPath(storage.path(uri)).name
    tree = walk.Tree(folder, [name], links={"": _real(folder)})
    if not storage.is_local(uri):
        tree.stamps[name] = walk.stamp_of(storage.info(uri))
    if storage.is_local(uri) and not storage.local(uri).is_file():
        return tree, [], [Aside(name, "not a regular file", True)]
    reason = "" if formats.by_name(name) else walk.look(uri)
    if reason == walk.NOT_AN_IMAGE:
        raise DataError(f"--input {given}: {_what_instead(uri)}")
    return tree, [name], []


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

    def matches(path: str) -> bool:
        file = PurePosixPath(base, path)
        return any(whole.match(str(part)) for part in (file, *file.parents))

    files = [path for path in tree.files if matches(path)]
    aside = [one for one in tree.aside if matches(one.path)]
    return replace(tree, files=files, aside=aside), aside


def reasons(found: Found) -> Iterator[str]:
    """Why files are not scored, a line for each reason, the most frequent first."""
    for reason, count in Counter(reason for _, reason in found.ignored).most_common():
        yield f"{count:,} x {reason}"
