"""A file of labels, CSV or Parquet with a row per image, read as the table that folders give too."""

import csv
import io
import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import fs, parquet

from ray_birds.core import storage
from ray_birds.core.errors import DataError, first_line
from ray_birds.core.text import nearest
from ray_birds.data.labels import class_name
from ray_birds.data.shards import members
from ray_birds.data.table import SPLIT_BY_NAME, SPLIT_FOLDERS, Found, Labels, Table, as_in_train

_MANY_LINES = arrow_csv.ParseOptions(newlines_in_values=True)  # a column of remarks may have them


def read(root: str, labels: Labels) -> Table:
    """The images of a file of labels by split and class: of train alone where it has no column `split`.

    Rows without a label are left out and counted. What is wrong with single rows is in `problems`, the first row
    of each kind with its line. Raises DataError where file or columns are missing, or no row is of train.
    """
    uri = _in_folder(root, labels)
    columns = _columns(uri, labels, ("path", "label", "split", *(("group",) if labels.group_column else ())))
    rows = _Rows(uri, labels)
    rows.take(root, columns)
    rows.leave_out_missing(root)
    return rows.table(root, columns.get("group"))


class Row(NamedTuple):
    """What a file of labels says of an image: the number of its row, from 0, split and label, "" for none."""

    number: int
    split: str
    label: str


def images(root: str, labels: Labels) -> tuple[dict[str, Row], list[str]]:
    """The images of a file of labels by path, those without a label too, whatever their split; and notes.

    Raises DataError for the first row that is wrong, and where file or columns are missing.
    """
    uri = _in_folder(root, labels)
    rows = _Rows(uri, labels)
    rows.take(root, _columns(uri, labels, ("path", "label")), unlabelled=True)
    rows.leave_out_missing(root)
    if rows.faults:
        raise DataError(rows.problems()[0])
    return rows.images, rows.notes("have no label")


def _in_folder(root: str, labels: Labels) -> str:
    """The URI of a file of labels. Raises DataError where there is no folder that its paths lie below."""
    uri = storage.resolve(labels.file)
    if storage.kind(root) != fs.FileType.Directory:
        raise DataError(f"{root}: no such folder; expected the one that the paths of {uri} lie below")
    return uri


def _columns(uri: str, labels: Labels, roles: tuple[str, ...]) -> dict[str, list[str]]:
    """The texts of each column that is there, by role; "" for none. Raises DataError."""
    try:
        names = _names(uri)
        wanted = {role: labels.column(role) for role in roles}
        for role, name in wanted.items():
            if name not in names and (role in ("path", "label") or name != role):
                raise DataError(
                    f"{uri}: no column {name!r} (nearest: {nearest(name, names)!r}; all: {', '.join(names)}); "
                    f"name it with {'--group-by ' if role == 'group' else f'--columns {role}='}NAME"
                )
            if names.count(name) > 1:
                raise DataError(f"{uri}: has {names.count(name)} columns {name!r}; rename all but one")
        found = _load(uri, [name for name in dict.fromkeys(wanted.values()) if name in names])
        return {role: _texts(found[name]) for role, name in wanted.items() if name in names}
    except FileNotFoundError as error:
        raise DataError(f"{uri}: no such file; expected a table of labels (--labels)") from error
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise DataError(
            f"{uri}: cannot be read as a table ({first_line(error)}); expected CSV in UTF-8 or Parquet"
        ) from error


def _is_csv(uri: str) -> bool:
    path = storage.path(uri).lower()
    if not path.endswith((".csv", ".parquet")):
        raise DataError(f"{uri}: expected a .csv or .parquet file")
    return path.endswith(".csv")


def _names(uri: str) -> list[str]:
    system, path = storage.filesystem(uri)
    with system.open_input_file(path) as file:
        if _is_csv(uri):
            return list(arrow_csv.open_csv(file, parse_options=_MANY_LINES).schema.names)
        return list(parquet.read_schema(file).names)


def _load(uri: str, names: list[str]) -> pa.Table:
    system, path = storage.filesystem(uri)
    with system.open_input_file(path) as file:
        if not _is_csv(uri):
            return parquet.read_table(file, columns=names)
        # As text: a class may be called 007, NA or true.
        types = arrow_csv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string()))
        return arrow_csv.read_csv(file, parse_options=_MANY_LINES, convert_options=types)


def _texts(column: pa.ChunkedArray) -> list[str]:
    """The values of a column as text. Equal ones share one: a million labels are some thousand texts."""
    coded = column.cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
    words = coded.dictionary.to_pylist()
    return [words[code] for code in coded.indices.to_pylist()]


@dataclass
class _Rows:
    """Rows of the file `uri` as they are taken, and what is wrong with others: by kind the first, and how many."""

    uri: str
    labels: Labels
    images: dict[str, Row] = field(default_factory=dict)  # by path
    faults: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def take(self, root: str, columns: dict[str, list[str]], *, unlabelled: bool = False) -> None:
        """One image for each path that has a label or, with `unlabelled`, for each path. Of rows that contradict
        each other the first counts."""
        paths, labels = columns["path"], columns["label"]
        splits = columns.get("split", ["train"] * len(paths))
        split_of = {given: SPLIT_BY_NAME.get(given.strip().lower(), "") for given in set(splits)}
        label_of = {given: class_name(given) for given in set(labels)}
        for row, (given, label, split) in enumerate(zip(paths, labels, splits, strict=True)):
            self.counts["unlabelled"] += not label_of[label]
            if not label_of[label] and not unlabelled:
                continue
            if not given.strip():
                self._fault("empty", row, f"{self.labels.column('path')} is empty; give the image's path")
            elif not split_of[split]:
                wanted = f"{self.labels.column('split')} {split!r}; expected train, valid or test"
                self._fault("split", row, wanted)
            else:
                self._add(_path(root, given), row, split_of[split], label_of[label])

    def _add(self, path: str, row: int, split: str, label: str) -> None:
        first, *known = self.images.setdefault(path, Row(row, split, label))
        if first == row:
            return
        for what, one, other in zip(("split", "label"), known, (split, label), strict=True):
            if one != other:
                self._fault(f"two {what}s", row, f"{path!r} has {what} {other!r}, not {one!r}", first)
                return
        self.counts["repeated"] += 1

    def leave_out_missing(self, root: str) -> None:
        """Take out the images that are not there. Of those elsewhere on object stores reading them will tell."""
        for path in _missing(root, self.images):
            row, *_ = self.images.pop(path)
            self._fault("missing", row, f"{path!r}: no such file below {root}; correct the path or leave it out")

    def _fault(self, kind: str, row: int, text: str, earlier: int | None = None) -> None:
        if kind not in self.faults:
            as_in = "" if earlier is None else f" as in {line(self.uri, earlier)}; keep one of them"
            self.faults[kind] = f"{self.uri} {line(self.uri, row)}: {text}{as_in}"
        self.counts[kind] += 1

    def table(self, root: str, groups: list[str] | None) -> Table:
        found: Found = {split: defaultdict(list) for split in SPLIT_FOLDERS}
        for path, (_, split, label) in self.images.items():
            found[split][label].append(path)
        found = {split: dict(by_class) for split, by_class in found.items() if by_class}
        if "train" not in found:
            raise DataError(next(iter(self.problems()), f"{self.uri}: no image of it is of train"))
        notes = (*as_in_train(found), *self.notes("have no label and are left out"))
        of_path = (
            {path: groups[row] for path, (row, *_) in self.images.items() if groups[row].strip()} if groups else {}
        )
        return Table(root, found, tuple(self.problems()), notes, self.uri, of_path)

    def problems(self) -> list[str]:
        others = {kind: self.counts[kind] - 1 for kind in self.faults}
        return [text + f" (and {others[kind]:,} more)" * bool(others[kind]) for kind, text in self.faults.items()]

    def notes(self, unlabelled: str) -> list[str]:
        said = {
            "unlabelled": unlabelled,
            "repeated": "say the same as an earlier one",
        }
        return [
            f"{self.counts[kind]:,} rows of {self.uri} {what}" for kind, what in said.items() if self.counts[kind]
        ]


def _path(root: str, given: str) -> str:
    """A path as the data set has it: below `root` where it lies there, else absolute, spelled in one way only."""
    given = storage.without_file_scheme(given)
    if not storage.is_local(given):
        return given.removeprefix(f"{root}/")
    path = posixpath.normpath(storage.with_slashes(given))
    if path.startswith("../") and storage.is_local(root):
        path = posixpath.normpath(f"{root}/{path}")
    return path.removeprefix(f"{root}/")


def _missing(root: str, paths: Iterable[str]) -> list[str]:
    local = storage.is_local(root)
    listed = set() if local else {storage.relative(info, root) for info in storage.find(root)}

    def is_there(path: str) -> bool:
        if not storage.is_local(path):
            return True
        whole = storage.is_absolute(path)
        if local or whole:
            place = path if whole else f"{root}/{path}"
            return os.path.isfile(storage.to_os(place)) or _in_shard(place)  # noqa: PTH113
        return storage.split_member(path)[0] in listed

    return [path for path in paths if not is_there(path)]


def _in_shard(path: str) -> bool:
    try:
        return members.holds(path)
    except OSError:
        return False


def line(uri: str, row: int) -> str:
    """Where a row is found: the line that it begins in or, in Parquet, its number from 1."""
    if not _is_csv(uri):
        return f"row {row + 1:,}"
    reader, end, seen = csv.reader(io.StringIO(storage.read(uri).decode(), newline="")), 0, -1
    for cells in reader:
        if cells and seen == row:
            break
        seen, end = seen + bool(cells), reader.line_num
    return f"line {end + 1:,}"
