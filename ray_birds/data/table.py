"""Labelled images as one table, however they were given: the images of each class of each split."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ray_birds.config import CheckConfig, TuneConfig

# Split -> what people call it.
SPLIT_FOLDERS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}

Found = dict[str, dict[str, list[str]]]  # split -> class -> paths of its images below the root


@dataclass(frozen=True)
class Labels:
    """Where labels come from: a `file` with a row per image, or folders where it is "".

    Its `columns` are called path, label and split, or as is given here (`label=species`).
    """

    file: str = ""
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: "TuneConfig | CheckConfig") -> Self:
        return cls(config.labels, config.columns)

    def column(self, role: str) -> str:
        """The name of the column for a role, such as `path`."""
        return dict(given.split("=", 1) for given in self.columns).get(role, role)


FOLDERS = Labels()


@dataclass(frozen=True)
class Table:
    """What a folder or a file of labels says. `root` is what paths lie below; `file` is "" for folders.

    `problems` are breaches that leave something to look at, `notes` what does not stop a sweep; one line each.
    """

    root: str
    found: Found
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    file: str = ""

    @property
    def source(self) -> str:
        """What is to be mended where labels are wrong."""
        return self.file or self.root

    def place(self, split: str) -> str:
        """A split, as an error names it."""
        return f"{self.file}, split {split}" if self.file else f"{self.root}/{split}"
