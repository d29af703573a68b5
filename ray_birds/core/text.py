"""Texts that others wrote, as names: fit for a terminal, a spreadsheet, Markdown; and which one was meant."""

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable

# Bidirectional controls let a name show letters in another order than it holds them.
_UNSEEN = {*map(chr, (0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NEUTRALISED = re.compile(r"'+[=+\-@\t\r]")
_MARKDOWN = set("\\`*_|<>[]#")


def printable(text: str, encoding: str = "utf-8", keep: str = "") -> str:
    """`text` with control characters, and what `encoding` does not have, as escapes such as `\\x1b`.

    A terminal obeys control characters: they set its title, fill its clipboard, hide what was printed. Those in
    `keep` stay.
    """
    if not text.isprintable():
        text = "".join(_escaped(letter) if letter not in keep and _hidden(letter) else letter for letter in text)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _hidden(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs") or letter in _UNSEEN


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def cell(value: object) -> object:
    """A CSV cell that no spreadsheet takes for a formula: one that begins like one gets a ' before it."""
    if not isinstance(value, str) or not _FORMULA.match(value) or _is_number(value):
        return value
    return f"'{value}"


def from_cell(text: str) -> str:
    """What `cell` was given."""
    return text[1:] if _NEUTRALISED.match(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text[0].isspace()


def markdown(text: str) -> str:
    """`text` as it is, in Markdown: a class may be called `a_b_`, `x|y` or `# 1`."""
    return "".join(f"\\{letter}" if letter in _MARKDOWN else letter for letter in printable(text))


def nearest(name: str, known: Iterable[str], key: Callable[[str], str] = str) -> str:
    """The one of `known` that looks most like `name`, by what `key` leaves of both."""
    wanted = key(name)
    return max(known, key=lambda other: difflib.SequenceMatcher(None, wanted, key(other)).ratio())


def are(number: int) -> str:
    """The verb for so many."""
    return "is" if number == 1 else "are"


def have(number: int) -> str:
    """The verb for so many."""
    return "has" if number == 1 else "have"


def is_utf8(name: str) -> bool:
    """Whether a name, as Python has it from the system or from a file, can be written as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
