"""CSV tables that pandas reads and a spreadsheet opens: its letters are right, and no cell is a formula."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from ray_birds.core import storage
from ray_birds.core.text import cell, from_cell

ENCODING = "utf-8-sig"  # without the mark Excel takes letters for those of the machine's own code page


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A table as text. Texts are in quotes: one may hold a \\r, which readers take for the end of a row."""
    buffer = io.StringIO()
    write_rows(buffer, columns, rows)
    return buffer.getvalue()


def write_rows(file: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """The heading and the rows, as they come, to a file that was opened with ENCODING and newline=""."""
    writer = csv.DictWriter(file, columns, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows({column: cell(value) for column, value in row.items()} for row in rows)


def write_csv(uri: str, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    storage.write(uri, to_csv(columns, rows).encode(ENCODING))


def read_csv(uri: str) -> list[dict[str, str]]:
    """Rows below the heading, values as text, as `write_csv` was given them."""
    rows = csv.DictReader(io.StringIO(storage.read(uri).decode(ENCODING), newline=""))
    return [{column: from_cell(value) for column, value in row.items()} for row in rows]
