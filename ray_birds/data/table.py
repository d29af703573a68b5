"""Labelled images as one table, however they were given: the images of each class of each split."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from ray_birds.data.labels import class_of

if TYPE_CHECKING:
    from ray_birds.config import CheckConfig, TuneConfig

# Split -> what people call it.
SPLIT_FOLDERS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
SPLIT_BY_NAME = {name: split for split, names in SPLIT_FOLDERS.items() for name in names}

_WORD = re.compile("[A-Za-z]+")

Found = dict[str, dict[str, list[str]]]  # split -> class -> paths of its images below the root


def split_of(path: str) -> str:
    """train, valid or test by a word of the path, the nearest to its end, or "":
    `data/train-00000-of-00004.parquet`, `birds-valid/0.tar`."""
    for part in reversed(path.split("/")):
        words = [word.lower() for word in _WORD.findall(part)]
        if split := next((SPLIT_BY_NAME[word] for word in words if word in SPLIT_BY_NAME), ""):
            return split
    return ""


@dataclass(frozen=True)
class Labels:
    """Where labels come from: a `file` with a row per image, or folders where it is "".

    Its `columns` are called path, label and split, or as is given here (`label=species`). `group_by` names the
    column of the groups, by default "group"; or says `folder:N`: the first N folders below class or root; or
    `burst:N`: photographs of one folder, each taken at most N seconds after the one before.
    """

    file: str = ""
    columns: tuple[str, ...] = ()
    group_by: str = ""

    @classmethod
    def of(cls, config: "TuneConfig | CheckConfig") -> Self:
        return cls(config.labels, config.columns, config.group_by)

    def column(self, role: str) -> str:
        """The name of the column for a role, such as `path`."""
        return (dict(given.split("=", 1) for given in self.columns) | self._group).get(role, role)

    @property
    def _group(self) -> dict[str, str]:
        return {"group": self.group_by} if self.group_by and self.group_column else {}

    @property
    def group_column(self) -> bool:
        """Whether a column says the groups, if anything does."""
        return not (self.group_folders or self.burst)

    @property
    def group_folders(self) -> int:
        """How many folders make a group; 0 where they do not."""
        return int(self._number("folder"))

    @property
    def burst(self) -> float:
        """Seconds between two photographs of one group; 0 where times do not make groups."""
        return float(self._number("burst"))

    def _number(self, wanted: str) -> str:
        kind, mark, number = self.group_by.partition(":")
        return number if mark and kind == wanted else "0"


FOLDERS = Labels()


@dataclass(frozen=True)
class Table:
    """What a folder or a file of labels says. `root` is what paths lie below; `file` is "" for folders, and for
    shards, of which `in_shards` tells.

    `groups` gives the group of each path that belongs to one, such as that of a burst, a place or an animal.
    `problems` are breaches that leave something to look at, `notes` what does not stop a sweep; one line each.
    """

    root: str
    found: Found
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    file: str = ""
    groups: dict[str, str] = field(default_factory=dict)
    in_shards: bool = False

    @property
    def source(self) -> str:
        """What is to be mended where labels are wrong."""
        return self.file or self.root

    def place(self, split: str) -> str:
        """A split, as an error names it."""
        return f"{self.source}, split {split}" if self.file or self.in_shards else f"{self.root}/{split}"


def as_in_train(found: Found) -> list[str]:
    """Name classes of other splits as train does where these are spelled a bit differently; with a note each."""
    classes, notes = frozenset(found["train"]), []
    for split, by_class in found.items():
        for given in [name for name in by_class if name not in classes]:
            name = class_of(given, classes)
            if name is not None:
                by_class.setdefault(name, []).extend(by_class.pop(given))
                notes.append(f"class {given!r} of {split}/ is taken for {name!r} of train/")
    return notes
