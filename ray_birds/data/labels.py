"""Class names: one spelling for comparison, the class that a folder is named after, the nearest one."""

import difflib
from collections import Counter
from collections.abc import Iterable
from functools import cache


def class_name(folder: str) -> str:
    """A class folder's name with runs of white space collapsed ("PARAKETT  AKULET" occurs in the real data)."""
    return " ".join(folder.split())


def class_of(folder: str, classes: frozenset[str]) -> str | None:
    """The class that a folder is named after; else the only one that differs in case, spaces or hyphens alone."""
    name = class_name(folder)
    return name if name in classes else _by_fold(classes).get(fold(name))


def fold(name: str) -> str:
    """What of a class name counts when it is compared with one that may be spelled a little differently."""
    return name.casefold().replace(" ", "").replace("-", "")


@cache
def _by_fold(classes: frozenset[str]) -> dict[str, str]:
    """Classes by their folded names, without those that another one would be taken for."""
    spelled = Counter(map(fold, classes))
    return {fold(name): name for name in classes if spelled[fold(name)] == 1}


def nearest(name: str, known: Iterable[str]) -> str:
    return max(known, key=lambda other: difflib.SequenceMatcher(None, name, other).ratio())
