"""The tables of the documentation that are made from the code: `make docs` writes them between their markers.

A table stands between `<!-- options: TuneConfig -->`, `<!-- factors -->` or `<!-- modules: core -->` and
`<!-- end -->`.
"""

import ast
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ray_birds import config
from ray_birds.core.settings import Settings, option
from ray_birds.sweep import factors

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "ray_birds"
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))

_TABLE = re.compile(r"(<!-- (options|factors|modules)(?:: ([\w.]+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def written(page: str) -> str:
    """The text of a page with its tables as the code has them now."""
    return _TABLE.sub(lambda match: match[1] + _MAKERS[match[2]](match[3]) + match[4], page)


def _options(name: str) -> str:
    settings: type[Settings] = getattr(config, name)
    hints, said = typing.get_type_hints(settings, include_extras=True), _said(settings)
    rows = [
        (
            f"`{_spelled(field.name, hints)}`",
            _values(hints[field.name]),
            _default(field),
            said[field.name].replace("<", "&lt;"),  # Markdown would take <results> for a tag
        )
        for field in dataclasses.fields(settings)
    ]
    return _table(("option", "values", "default", "what"), rows)


def _factors(_: str) -> str:
    rows = [
        (about.label, f"`{about.short(about.tried[-1])}`", about.phase, "yes" if about.stored else "no")
        for about in factors.factors().values()
    ]
    return _table(("factor", "in a trial's name", "phase", "other stored features"), rows)


def _modules(room: str) -> str:
    """A line per module, the first of its docstring; `top` are those beside the rooms. Empty ones are left out."""
    found = sorted(PACKAGE.glob("*.py") if room == "top" else (PACKAGE / room).rglob("*.py"))
    said = {module: ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) for module in found}
    rows = [(f"`{module.relative_to(REPOSITORY)}`", text.splitlines()[0]) for module, text in said.items() if text]
    return _table(("module", "what it is"), rows)


_MAKERS = {"options": _options, "factors": _factors, "modules": _modules}


def _said(settings: type[Settings]) -> dict[str, str]:
    """What is said of each option: the string below its field or, of a factor, the help of its declaration."""
    said: dict[str, str] = {}
    for one in reversed(settings.__mro__):
        if one.__module__.startswith(config.__name__):
            (node,) = ast.parse(inspect.getsource(one)).body
            assert isinstance(node, ast.ClassDef)
            said |= _below(node)
    if issubclass(settings, config.TuneConfig):
        said |= {name: about.help for name, about in factors.factors(settings.variant).items()}
    return said


def _below(node: ast.ClassDef) -> dict[str, str]:
    """Field -> the string that follows it."""
    found = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = " ".join(words.split())
    return found


def _spelled(field: str, hints: dict[str, Any]) -> str:
    names = [getattr(about, "name", None) for about in getattr(hints[field], "__metadata__", ())]
    return option(next((name for name in names if name), field))


def _values(hint: Any) -> str:
    kind, inside = typing.get_origin(hint), typing.get_args(hint)
    if kind is typing.Annotated:
        return _values(inside[0])
    if kind is tuple:
        return f"{_values(inside[0])}; several"
    if kind is Literal:
        return ", ".join(f"`{value}`" for value in inside)
    if kind in (typing.Union, types.UnionType):
        return ", ".join(_values(one) for one in inside if one is not types.NoneType)
    return {bool: "", int: "integer", float: "number", str: "text"}[hint]


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default is dataclasses.MISSING:
        return "must be given"
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    values = field.default if isinstance(field.default, tuple) else (field.default,)
    return " ".join(f"`{value}`" for value in values if value not in ("", None))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    for page in PAGES:
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
