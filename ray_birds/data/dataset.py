"""The folder contract: train/, valid/ and test/ with one folder per class; class names and file lists."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data.decode import has_image_extension
from ray_birds.data.labels import class_name, class_of, fold, nearest

SPLIT_FOLDERS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class Split:
    """The images of one split, sorted by path.

    `paths` are relative to the data set's root; `labels` (n,) int32 are indices into the classes; `numbers`
    (n,) int64 are the images' places in the complete list, which stay theirs when bad files are left out.
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
    """A labelled folder. `notes` are findings that do not stop a sweep, one line each."""

    root: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...] = field(default=())

    def uri(self, path: str) -> str:
        """Absolute place of an image of a split."""
        return storage.join(self.root, path)


def scan(root: str, exclude: tuple[str, ...] = ()) -> Dataset:
    """The labelled data set in a folder, without the classes to `exclude`. Raises DataError, one line, where the
    folder breaks the contract. A missing valid/ does not: `splits.make` takes one from train."""
    dataset, problems = survey(root, exclude)
    if problems:
        raise DataError(problems[0])
    return dataset


def survey(root: str, exclude: tuple[str, ...] = ()) -> tuple[Dataset, list[str]]:
    """As `scan`, with all breaches of the contract that leave something to look at, one line each.

    Classes that train/ does not have are left out. Raises DataError where there is nothing to look at.
    """
    root = storage.resolve(root)
    if storage.kind(root) != fs.FileType.Directory:
        raise DataError(f"{root}: no such folder; expected one with train/, valid/ and test/ in it")
    names = storage.folders(root)
    folders = {
        split: next((n for n in names if n.lower() in spelled), None) for split, spelled in SPLIT_FOLDERS.items()
    }
    if folders["train"] is None:
        raise DataError(f"{root}: has no folder train/ (found: {', '.join(names) or 'no folders'})")
    found = {split: _images_by_class(storage.join(root, name)) for split, name in folders.items() if name}
    _exclude(root, found, exclude)
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        raise DataError(f"{root}/train: {len(classes)} class folder(s); a classifier needs at least two")
    if not any(found["train"].values()):
        raise DataError(f"{root}/train: no images in its class folders; expected .jpg, .png and the like")
    notes = _respell(found, classes)
    problems = _problems(root, classes, found)
    splits = {name: _split(name, str(folders[name]), by_class, classes) for name, by_class in found.items()}
    return Dataset(root, classes, splits, (*notes, *_notes(found))), problems


def _images_by_class(uri: str) -> dict[str, list[str]]:
    """Class name -> paths of its images below the split's folder; classes without images are there too."""
    by_class: dict[str, list[str]] = {class_name(folder): [] for folder in storage.folders(uri)}
    for info in storage.find(uri):
        path = storage.relative(info, uri)
        folder, slash, _ = path.partition("/")
        if slash and has_image_extension(path):
            by_class[class_name(folder)].append(path)
    return by_class


def _exclude(root: str, found: dict[str, dict[str, list[str]]], exclude: tuple[str, ...]) -> None:
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


def _respell(found: dict[str, dict[str, list[str]]], classes: tuple[str, ...]) -> list[str]:
    """Give classes of valid/ and test/ the spelling of train/ where case, spaces or hyphens alone differ."""
    notes = []
    for split, by_class in found.items():
        for name in sorted(set(by_class) - set(classes)):
            if theirs := class_of(name, frozenset(classes)):
                by_class.setdefault(theirs, []).extend(by_class.pop(name))
                notes.append(f"class {name!r} of {split}/ is taken for {theirs!r} of train/")
    return notes


def _problems(root: str, classes: tuple[str, ...], found: dict[str, dict[str, list[str]]]) -> list[str]:
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


def _split(name: str, folder: str, by_class: dict[str, list[str]], classes: tuple[str, ...]) -> Split:
    index = {label: number for number, label in enumerate(classes)}
    rows = sorted((f"{folder}/{path}", index[label]) for label, paths in by_class.items() for path in paths)
    labels = np.array([label for _, label in rows], dtype=np.int32)
    return Split(name, tuple(path for path, _ in rows), labels, np.arange(len(rows), dtype=np.int64))


def _notes(found: dict[str, dict[str, list[str]]]) -> tuple[str, ...]:
    """Names so alike that one of them may be a slip, and classes that a split does not have."""
    classes = sorted(found["train"])
    notes = []
    folded: dict[str, str] = {}
    for name in classes:
        twin = folded.setdefault(fold(name), name)
        if twin != name:
            notes.append(f"classes {twin!r} and {name!r} differ in case, spaces or hyphens only: the same bird?")
    for split, by_class in found.items():
        missing = [name for name in classes if not by_class.get(name)]
        if missing and split != "train":
            notes.append(f"{split}/ has no image of {len(missing)} class(es), such as {missing[0]!r}")
    return tuple(notes)
