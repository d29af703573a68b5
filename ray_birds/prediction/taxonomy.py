"""What a class belongs to, rank by rank from fine to coarse; and which of the classes can occur at all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ray_birds.core import storage, tables
from ray_birds.core.errors import DataError, first_line
from ray_birds.data import labels

_EXPECTED = "expected a column of classes, then one for each rank from fine to coarse"


@dataclass(frozen=True)
class Rank:
    """`members` (classes,) says by its place in `names` what each class belongs to."""

    name: str
    names: tuple[str, ...]
    members: np.ndarray


@dataclass(frozen=True)
class Taxonomy:
    """The ranks of a model's classes, the classes themselves first."""

    ranks: tuple[Rank, ...]

    def roll_up(self, scores: np.ndarray, threshold: float) -> dict[str, Any]:
        """The columns `taxon`, `rank`, `taxon_probability` of an image's probabilities (classes,).

        Of the finest rank at which the most probable taxon, the probabilities of its classes summed, reaches the
        threshold; null where none does.
        """
        for rank in self.ranks:
            sums = np.bincount(rank.members, scores, len(rank.names)).astype(np.float32)  # as `probability` is
            best = int(sums.argmax())
            if sums[best] >= np.float32(threshold):
                return {"taxon": rank.names[best], "rank": rank.name, "taxon_probability": float(sums[best])}
        return {"taxon": None, "rank": None, "taxon_probability": None}


def read(uri: str, classes: Sequence[str]) -> Taxonomy:
    """The taxonomy of these classes in a CSV file: a column of them, then one for each rank from fine to coarse.

    Raises DataError, one line, for a class that is not the model's, is missing or there twice, for an empty cell,
    and where one taxon belongs to two of the next rank.
    """
    where = f"--taxonomy {uri}"
    rows = _rows(where, uri)
    first, *ranks = rows[0]
    if not ranks:
        raise DataError(f"{where}: has one column; {_EXPECTED}")
    names = _names(where, [row[first] for row in rows], classes)
    found = dict(zip(names, rows, strict=True))
    if len(found) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DataError(f"{where}: has two rows for {twice!r}; keep one")
    missing = [name for name in classes if name not in found]
    if missing:
        more = f" and {len(missing) - 1:,} more of the model's classes" if len(missing) > 1 else ""
        raise DataError(f"{where}: has no row for {missing[0]!r}{more}; add what is missing")
    made = [Rank(first, tuple(classes), np.arange(len(classes)))]
    made += [_rank(where, rank, [found[name] for name in classes], first) for rank in ranks]
    for fine, coarse in pairwise(made):
        _check_tree(where, fine, coarse)
    return Taxonomy(tuple(made))


def only(uri: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes named in a text file, one a line, in the model's order. Raises DataError where one is none."""
    where = f"--only-classes {uri}"
    try:
        text = storage.read(storage.resolve(uri)).decode(tables.ENCODING)
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: cannot be read as a text in UTF-8 ({first_line(error)})") from error
    named = set(_names(where, [line for line in text.splitlines() if line.strip()], classes))
    if not named:
        raise DataError(f"{where}: is empty; expected names of classes, one a line")
    return tuple(name for name in classes if name in named)


def _rows(where: str, uri: str) -> list[dict[str, str]]:
    try:
        rows = tables.read_csv(storage.resolve(uri))
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: cannot be read as a CSV file in UTF-8 ({first_line(error)})") from error
    except TypeError as error:  # what stands for cells beyond those of the heading, or missing, is no text
        raise DataError(f"{where}: a row has more or fewer cells than the heading; {_EXPECTED}") from error
    if not rows:
        raise DataError(f"{where}: has no rows; {_EXPECTED}")
    return rows


def _names(where: str, given: Sequence[str], classes: Sequence[str]) -> list[str]:
    """The model's classes that are meant; case, spaces and hyphens may differ."""
    known = frozenset(classes)
    names = [labels.class_of(name, known) for name in given]
    for name, meant in zip(given, names, strict=True):
        if meant is None:
            nearest = labels.nearest(name, classes)
            raise DataError(f"{where}: {name.strip()!r} is no class of the model; the nearest is {nearest!r}")
    return [name for name in names if name is not None]


def _rank(where: str, rank: str, rows: Sequence[dict[str, str]], first: str) -> Rank:
    values = [" ".join(row[rank].split()) for row in rows]
    if "" in values:
        raise DataError(f"{where}: {rows[values.index('')][first]!r} has no {rank}; give every class one")
    names, members = np.unique(values, return_inverse=True)
    return Rank(rank, tuple(names.tolist()), members)


def _check_tree(where: str, fine: Rank, coarse: Rank) -> None:
    above: dict[int, int] = {}
    for taxon, parent in zip(fine.members.tolist(), coarse.members.tolist(), strict=True):
        if above.setdefault(taxon, parent) != parent:
            one, other = coarse.names[above[taxon]], coarse.names[parent]
            raise DataError(
                f"{where}: {fine.name} {fine.names[taxon]!r} belongs to {coarse.name} {one!r} and {other!r}; "
                "expected one"
            )
