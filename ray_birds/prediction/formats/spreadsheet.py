"""Predictions as a table that a spreadsheet opens: CSV, and Excel's own format by openpyxl."""

import importlib.util
from datetime import datetime
from pathlib import Path
from typing import Any

from ray_birds.core import tables
from ray_birds.core.errors import SettingsError
from ray_birds.core.text import printable
from ray_birds.prediction.formats.rows import Finished

_MOST = 1_048_576  # rows of a sheet, by Excel's specifications
_FIRST_YEAR = 1900  # of Excel's calendar


def write_csv(predictions: Finished, path: Path) -> None:
    """A row per file, in UTF-8 with the mark by which Excel knows it; no cell is a formula."""
    with path.open("w", encoding=tables.ENCODING, newline="") as file:
        tables.write_rows(file, predictions.flat_columns, predictions.flat_rows())


def check_xlsx(predictions: Finished) -> None:
    """Raises SettingsError where openpyxl is missing, or there are more rows than a sheet has."""
    if importlib.util.find_spec("openpyxl") is None:
        raise SettingsError("--format xlsx needs openpyxl, which is not installed: pip install 'ray-birds[xlsx]'")
    rows = predictions.manifest["rows"]
    if rows >= _MOST:
        raise SettingsError(
            f"--format xlsx: a sheet holds {_MOST - 1:,} rows below its heading, and there are {rows:,}; "
            "use --format csv"
        )


def write_xlsx(predictions: Finished, path: Path) -> None:
    """A row per file; texts are texts, whatever they begin with."""
    check_xlsx(predictions)
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("predictions")
    sheet.freeze_panes = "A2"
    names = predictions.flat_columns
    sheet.append([_cell(sheet, name) for name in names])
    for row in predictions.flat_rows():
        sheet.append([_cell(sheet, row.get(name)) for name in names])
    book.save(path)


def _cell(sheet: Any, value: object) -> object:
    if isinstance(value, datetime):
        value = value.replace(tzinfo=None)  # Excel knows no zones
        value = value if value.year >= _FIRST_YEAR else value.isoformat(sep=" ")
    if not isinstance(value, str):
        return value
    from openpyxl.cell import WriteOnlyCell

    cell = WriteOnlyCell(sheet, printable(value))
    cell.data_type = "s"  # else =1+1 would be a formula, and #N/A an error
    return cell
