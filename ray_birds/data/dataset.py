"""The labelled data set, from folders, shards or a table of labels: classes, splits, each breach as one line."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data import decode, folder, table_file
from ray_birds.data.groups import by_folder, by_place
from ray_birds.data.labels import class_name, fold, nearest
from ray_birds.data.shards import labelled
from ray_birds.data.table import FOLDERS, Found, Labels, Table


@dataclass(frozen=True)
class Split:
    """The images of one split, sorted by path.

    `paths` are relative to the data set's root, or absolute where they lie elsewhere; `labels` (n,) int32 are
    indices into the classes; `numbers` (n,) int64 are the images' indices in the complete list, which stay theirs
    when bad files are left out.
    """

    name: str
    paths: tuple[str, ...]
    labels: np.ndarray
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, keep: np.ndarray) -> "Split":
        """The images where `keep` (n,) bool is true."""
        chosen = tuple(path for path, wanted in zip(self.paths, keep, strict=True) if wanted)
        return dataclasses.replace(self, paths=chosen, labels=self.labels[keep], numbers=self.numbers[keep])

    def part(self, start: int, end: int) -> "Split":
        """The images of the rows from `start` to `end`."""
        return Split(self.name, self.paths[start:end], self.labels[start:end], self.numbers[start:end])


@dataclass(frozen=True)
class Dataset:
    """Labelled images. `notes` are findings that do not stop a sweep, one line each; no file of more than
    `max_bytes` is read; `groups` gives the group of each path that belongs to one. With `burst` (seconds) these
    are places, until the times of the images are known (`groups.by_time`)."""

    root: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...] = field(default=())
    max_bytes: int = decode.MAX_BYTES
    groups: dict[str, str] = field(default_factory=dict)
    burst: float = 0.0

    def uri(self, path: str) -> str:
        """Absolute URI or path of an image of a split."""
        return storage.at(self.root, path)


def scan(
    root: str, exclude: tuple[str, ...] = (), max_bytes: int = decode.MAX_BYTES, labels: Labels = FOLDERS
) -> Dataset:
    """The labelled data set in a folder, without the classes to `exclude`. Raises DataError, one line, where the
    folder or the table breaks the contract. A missing valid/ does not: `splits.make` takes one from train."""
    dataset, problems = survey(root, exclude, max_bytes, labels)
    if problems:
        raise DataError(problems[0])
    return dataset


def survey(
    root: str, exclude: tuple[str, ...] = (), max_bytes: int = decode.MAX_BYTES, labels: Labels = FOLDERS
) -> tuple[Dataset, list[str]]:
    """As `scan`, with all breaches of the contract that leave something to look at, one line each.

    Classes that train does not have are left out. Raises DataError where there is nothing to look at.
    """
    root = storage.resolve(root)
    table = table_file.read(root, labels) if labels.file else labelled.read(root) or folder.read(root)
    _exclude(table, exclude)
    classes = tuple(sorted(table.found["train"]))
    if len(classes) < 2:
        raise DataError(f"{table.place('train')}: {len(classes)} class(es); a classifier needs at least two")
    if not any(table.found["train"].values()):
        raise DataError(
            f"{table.place('train')}: no images in its class folders; expected .jpg, .png and the like"
        )
    problems = [*table.problems, *_problems(table, classes)]
    splits = {name: _split(name, by_class, classes) for name, by_class in table.found.items()}
    together = _together(table, labels)
    notes = (*table.notes, *_notes(table.found), *_ungrouped(splits, together, labels))
    return Dataset(root, classes, splits, notes, max_bytes, together, labels.burst), problems


def _together(table: Table, labels: Labels) -> dict[str, str]:
    if labels.burst:
        return by_place(table)
    return by_folder(table, labels.group_folders) if labels.group_folders else table.groups


def _ungrouped(splits: dict[str, Split], together: dict[str, str], labels: Labels) -> list[str]:
    """How many images have no group, where others have. Raises DataError where all should have, and none has."""
    if labels.group_by and not together:
        raise DataError(
            f"--group-by {labels.group_by}: no image has a group by that; name another column or folder"
        )
    alone = sum(path not in together for split in splits.values() for path in split.paths) if together else 0
    return [f"{alone:,} images have no group: each is on its own"] if alone else []


def _exclude(table: Table, exclude: tuple[str, ...]) -> None:
    """Take classes out of all splits. Raises DataError for one that no split has."""
    known = {name for by_class in table.found.values() for name in by_class}
    for given in exclude:
        wanted = {class_name(given)} & known or {name for name in known if fold(name) == fold(given)}
        if not wanted:
            near = f" (nearest: {nearest(given, sorted(known))!r})" if known else ""
            raise DataError(f"--exclude-class {given!r}: {table.source} has no such class{near}; correct the name")
        for by_class in table.found.values():
            for name in wanted:
                by_class.pop(name, None)


def _problems(table: Table, classes: tuple[str, ...]) -> list[str]:
    """Empty classes and splits, and classes that train does not have, which are left out here."""
    problems = [
        f"{table.place('train')}/{name}: has no images; add some, remove the folder or give "
        f"--exclude-class {name!r}"
        for name in classes
        if not table.found["train"][name]
    ]
    for split, by_class in table.found.items():
        for name in sorted(set(by_class) - set(classes)):
            problems.append(
                f"{table.source}: class {name!r} is in {split}/ but not in train/ (nearest there: "
                f"{nearest(name, classes)!r}); rename it, or leave it out with --exclude-class {name!r}"
            )
            del by_class[name]
        if not any(by_class.values()):
            problems.append(
                f"{table.source}: {split}/ has no images of these classes; add some or remove the split"
            )
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
    alone = [name for name in classes if sum(len(by_class.get(name, ())) for by_class in found.values()) == 1]
    if alone:
        near = nearest(alone[0], (name for name in classes if name != alone[0]))
        notes.append(
            f"{len(alone):,} class(es) have one image in all, such as {alone[0]!r}: a slip, for {near!r} perhaps?"
        )
    return tuple(notes)
