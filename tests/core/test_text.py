"""Names made fit for terminals, spreadsheets and Markdown."""

import io

import pandas as pd
import pytest

from ray_birds.core import storage
from ray_birds.core.tables import read_csv, write_csv
from ray_birds.core.text import cell, from_cell, markdown, printable

EVIL = "\x1b]0;title\x07\x1b[2J\r\x9b31mOWL\u202egpj"


def test_control_characters_are_shown_and_not_obeyed() -> None:
    shown = printable(EVIL)
    assert shown == "\\x1b]0;title\\x07\\x1b[2J\\r\\x9b31mOWL\\u202egpj" and shown.isprintable()
    assert printable("a\nb\tc") == "a\\nb\\tc" and printable("a\nb\tc\r", keep="\n\t") == "a\nb\tc\\r"
    assert printable("CAFÉ 鶯 🐦 'x' [b]") == "CAFÉ 鶯 🐦 'x' [b]"
    assert printable("caf\udce9") == "caf\\udce9"


@pytest.mark.parametrize(("encoding", "shown"), [("latin-1", "CAFÉ \\u9daf"), ("ascii", "CAF\\xc9 \\u9daf")])
def test_letters_that_a_terminal_lacks_are_shown_as_escapes(encoding: str, shown: str) -> None:
    assert printable("CAFÉ 鶯", encoding) == shown


FORMULAS = [
    "=1+1",
    "+cmd",
    "-x.jpg",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "a\rb"[1:],
    "'=1",
    "''+1",
    "-",
    '=HYPERLINK("http://x")',
]
TEXTS = ["OWL", "'quoted'", "", "a=b", " =1", "1", "-1", "-1.5e-3", "+2", "nan", "x\ny", "CAFÉ 鶯"]


@pytest.mark.parametrize("text", [*FORMULAS, *TEXTS])
def test_a_cell_is_read_as_it_was_written(text: str) -> None:
    assert from_cell(str(cell(text))) == text
    assert (cell(text) != text) == (text in FORMULAS) and not str(cell(text)).startswith(("=", "@"))


@pytest.mark.parametrize("value", [1, -1.5, None, True])
def test_other_values_stay_themselves(value: object) -> None:
    assert cell(value) is value


def test_a_table_for_spreadsheets_pandas_and_ourselves(tmp_path: object) -> None:
    uri = f"{tmp_path}/table.csv"
    rows = [{"class": text, "loss": -0.5} for text in [*FORMULAS, *TEXTS]]
    write_csv(uri, ("class", "loss"), rows)
    data = storage.read(uri)
    assert data.startswith(b"\xef\xbb\xbf")  # a spreadsheet takes the file for UTF-8
    assert [row["class"] for row in read_csv(uri)] == [*FORMULAS, *TEXTS]
    table = pd.read_csv(io.BytesIO(data), keep_default_na=False)
    assert list(table.columns) == ["class", "loss"] and (table["loss"] == -0.5).all()
    assert not table["class"].str.startswith(("=", "@", "\t")).any() and "CAFÉ 鶯" in set(table["class"])


def test_markdown_shows_a_name_as_it_is() -> None:
    assert markdown("# a_b_ | `x` <b>\n## c") == "\\# a\\_b\\_ \\| \\`x\\` \\<b\\>\\\\n\\#\\# c"
