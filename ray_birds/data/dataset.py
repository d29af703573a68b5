"""The folder contract: train/, valid/ and test/ with one folder per class; class names and file lists."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import DataError, first_line
from ray_birds.data import decode, walk
from ray_birds.data.labels import class_name, class_of, fold, label, nearest

SPLIT_FOLDERS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class Split:
    """The images of one split, sorted by path.

    `paths` are relative to the data set's root; `labels` (n,) int32 are indices into the classes; `numbers`
    (n,) int64 are the images' indices in the complete list, which stay theirs when bad files are left out.
    """

    name: str
    paths: tuple[str, ...]
    labels: np.ndarray
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, keep: np.ndarray) -> "Split":
        """The images where `keep` (n,) bool is true."""
        chosen = tuple(path for path, wanted in zip(self.paths, keep, strict=True) if wanted)
        return dataclasses.replace(self, paths=chosen, labels=self.labels[keep], numbers=self.numbers[keep])


@dataclass(frozen=True)
class Dataset:
    """A labelled folder. `notes` are findings that do not stop a sweep, one line each; no file of more than
    `max_bytes` is read."""

    root: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...] = field(default=())
    max_bytes: int = decode.MAX_BYTES

    def uri(self, path: str) -> str:
        """Absolute URI or path of an image of a split."""
        return storage.join(self.root, path)


def scan(root: str, exclude: tuple[str, ...] = (), max_bytes: int = decode.MAX_BYTES) -> Dataset:
    """The labelled data set in a folder, without the classes to `exclude`. Raises DataError, one line, where the
    folder breaks the contract. A missing valid/ does not: `splits.make` takes one from train."""
    dataset, problems = survey(root, exclude, max_bytes)
    if problems:
        raise DataError(problems[0])
    return dataset


def survey(
    root: str, exclude: tuple[str, ...] = (), max_bytes: int = decode.MAX_BYTES
) -> tuple[Dataset, list[str]]:
    """As `scan`, with all breaches of the contract that leave something to look at, one line each.

    Classes that train/ does not have are left out. Raises DataError where there is nothing to look at.
    """
    root = storage.resolve(root)
    folders, twins = _split_folders(root)
    tree = walk.walk(root, folders.values())
    for closed in (one for one in tree.aside if one.path == folders["train"]):
        raise DataError(f"{root}/{closed.path}: {closed.reason}; mend this")
    images, others = walk.sort(tree)
    found, notes = _images_by_class(tree, images, folders)
    _exclude(root, found, exclude)
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        raise DataError(f"{root}/train: {len(classes)} class folder(s); a classifier needs at least two")
    if not any(found["train"].values()):
        raise DataError(f"{root}/train: no images in its class folders; expected .jpg, .png and the like")
    aside = [*tree.aside, *others]
    problems = [
        *twins,
        *(f"{root}/{path}: {why}; mend this, images may be missing" for path, why, lost in aside if lost),
        *_problems(root, classes, found),
    ]
    splits = {name: _split(name, by_class, classes) for name, by_class in found.items()}
    notes = [*notes, *walk.aside_notes(aside), *walk.litter_note(tree.litter), *_notes(found)]
    return Dataset(root, classes, splits, tuple(notes), max_bytes), problems


def _split_folders(root: str) -> tuple[dict[str, str], list[str]]:
    """Split -> its folder, and a line for each split that has several. Raises DataError where train is missing."""
    try:
        kind = storage.kind(root)
        names = storage.folders(root) if kind == fs.FileType.Directory else []
    except OSError as error:
        raise DataError(
            f"{root}: cannot be listed ({first_line(error)}); mend this, or give another --data"
        ) from error
    if kind == fs.FileType.File:
        raise DataError(
            f"{root}: a file; expected a folder with train/ (of an archive: ray-birds download --from {root})"
        )
    if kind != fs.FileType.Directory:
        raise DataError(f"{root}: no such folder; expected one with train/, valid/ and test/ in it")
    names = [name for name in names if not walk.is_litter(name)]
    spelled = {split: [n for n in names if n.strip().lower() in some] for split, some in SPLIT_FOLDERS.items()}
    if not spelled["train"]:
        raise DataError(f"{root}: has no folder train/ (found: {', '.join(names) or 'no folders'})")
    twins = [
        f"{root}: {' and '.join(f'{name}/' for name in several)} are both {split}; join them, or rename one"
        for split, several in spelled.items()
        if len(several) > 1
    ]
    # Of several the one that is spelled as it should be, for what is left to look at.
    best = {split: max(some, key=lambda name: name == split) for split, some in spelled.items() if some}
    return best, twins


Found = dict[str, dict[str, list[str]]]  # split -> class -> paths of its images below the root


def _images_by_class(tree: walk.Tree, images: list[str], folders: dict[str, str]) -> tuple[Found, list[str]]:
    """The images of each class, and notes; classes without images are there too.

    The folders directly below train/ are the classes. An image belongs to the nearest folder above it that is one;
    in valid/ and test/, where none is, to a class of the name of the outermost folder, which train/ does not have.
    """
    split_of = {folder: split for split, folder in folders.items()}
    tops: dict[str, list[str]] = {split: [] for split in folders}  # names of the folders directly below
    for path in tree.folders:
        parts = path.split("/")
        if len(parts) == 2 and parts[1]:
            tops[split_of[parts[0]]].append(parts[1])
    classes = frozenset(map(class_name, tops["train"]))
    found: Found = {split: {name: [] for name in classes} if split == "train" else {} for split in folders}
    holding: set[tuple[str, str]] = set()
    taken: dict[tuple[str, str, str], None] = {}  # (split, spelling, class), in order
    loose: list[str] = []
    for path in images:
        top, *inner, _ = path.split("/")
        if not inner:
            loose.append(path)
            continue
        split = split_of[top]
        holding.add((split, inner[0]))
        name = label(inner, classes)
        if name is None:
            name = class_name(inner[0])
        elif (spelled := _spelling(inner, classes)) != name:
            taken[split, spelled, name] = None
        found[split].setdefault(name, []).append(path)
    for split, names in tops.items():
        for empty in (folder for folder in names if (split, folder) not in holding):
            found[split].setdefault(class_of(empty, classes) or class_name(empty), [])
    notes = [f"class {was!r} of {split}/ is taken for {name!r} of train/" for split, was, name in taken]
    if loose:
        notes.append(f"{len(loose):,} images in no class folder are left out, such as {loose[0]}")
    return found, [*notes, *_merged(tops)]


def _spelling(folders: list[str], classes: frozenset[str]) -> str:
    """The name, as a class's, of the nearest folder that is one."""
    return next(class_name(folder) for folder in reversed(folders) if class_of(folder, classes) is not None)


def _merged(tops: dict[str, list[str]]) -> list[str]:
    """Folders of one split whose names are those of one class, written in several ways."""
    notes = []
    for split, names in tops.items():
        by_name: dict[str, list[str]] = {}
        for name in names:
            by_name.setdefault(class_name(name), []).append(name)
        several = {name: folders for name, folders in by_name.items() if len(folders) > 1}
        notes += [
            f"{len(folders)} folders of {split}/ are one class, {name!r}: they differ in spaces or Unicode form"
            for name, folders in several.items()
        ]
    return notes


def _exclude(root: str, found: Found, exclude: tuple[str, ...]) -> None:
    """Take classes out of all splits. Raises DataError for one that no split has."""
    known = {name for by_class in found.values() for name in by_class}
    for given in exclude:
        wanted = {class_name(given)} & known or {name for name in known if fold(name) == fold(given)}
        if not wanted:
            near = f" (nearest: {nearest(given, sorted(known))!r})" if known else ""
            raise DataError(f"--exclude-class {given!r}: {root} has no such class{near}; correct the name")
        for by_class in found.values():
            for name in wanted:
                by_class.pop(name, None)


def _problems(root: str, classes: tuple[str, ...], found: Found) -> list[str]:
    """Empty classes and splits, and classes that train/ does not have, which are left out here."""
    problems = [
        f"{root}/train/{name}: has no images; add some, remove the folder or give --exclude-class {name!r}"
        for name in classes
        if not found["train"][name]
    ]
    for split, by_class in found.items():
        for name in sorted(set(by_class) - set(classes)):
            problems.append(
                f"{root}: class {name!r} is in {split}/ but not in train/ (nearest there: "
                f"{nearest(name, classes)!r}); rename the folder, or leave it out with --exclude-class {name!r}"
            )
            del by_class[name]
        if not any(by_class.values()):
            problems.append(f"{root}: {split}/ has no images in class folders; add some or remove the folder")
    return problems


def _split(name: str, by_class: dict[str, list[str]], classes: tuple[str, ...]) -> Split:
    index = {label: number for number, label in enumerate(classes)}
    rows = sorted((path, index[label]) for label, paths in by_class.items() for path in paths)
    labels = np.array([label for _, label in rows], dtype=np.int32)
    return Split(name, tuple(path for path, _ in rows), labels, np.arange(len(rows), dtype=np.int64))


def _notes(found: Found) -> tuple[str, ...]:
    """Names so alike that one of them may be a slip, and classes that a split does not have."""
    classes = sorted(found["train"])
    notes = []
    folded: dict[str, str] = {}
    for name in classes:
        twin = folded.setdefault(fold(name), name)
        if twin != name:
            notes.append(
                f"classes {twin!r} and {name!r} differ in case, spaces, hyphens or _ only: the same bird?"
            )
    for split, by_class in found.items():
        missing = [name for name in classes if not by_class.get(name)]
        if missing and split != "train":
            notes.append(f"{split}/ has no image of {len(missing)} class(es), such as {missing[0]!r}")
    return tuple(notes)
