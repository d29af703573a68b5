"""Class names: one form for comparison, the class that a folder or an image belongs to, the nearest one."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from ray_birds.core import text


def class_name(folder: str) -> str:
    """The class that a folder of train/ stands for: its name with runs of white space collapsed, which occur in
    real data, and with each accent and its letter as one (NFC), which some file systems take apart."""
    return " ".join(unicodedata.normalize("NFC", folder).split())


def class_of(folder: str, classes: frozenset[str]) -> str | None:
    """The class that a folder is named after; else the only one that `fold` finds the same."""
    name = class_name(folder)
    return name if name in classes else _by_fold(classes).get(fold(name))


def label(folders: Sequence[str], classes: frozenset[str]) -> str | None:
    """The class of an image below `folders`, the outermost first: the nearest folder that is a class labels it."""
    return next((name for folder in reversed(folders) if (name := class_of(folder, classes)) is not None), None)


@cache
def fold(name: str) -> str:
    """What of a class name counts in a comparison: not case, Unicode form, white space, hyphens, underscores."""
    letters = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    kept = "".join(c for c in letters if not (c.isspace() or c == "_" or unicodedata.category(c) == "Pd"))
    return kept or name


@cache
def _by_fold(classes: frozenset[str]) -> dict[str, str]:
    """Classes by their folded names, without those that another one would be taken for."""
    spelled = Counter(map(fold, classes))
    return {fold(name): name for name in classes if spelled[fold(name)] == 1}


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of the classes `known` that is most like `name`, by what counts in a comparison."""
    return text.nearest(name, known, key=fold)
