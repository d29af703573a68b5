"""The documentation says what is there: tables as the code has them, and every path, link, command and option."""

import ast
import dataclasses
import re
import shlex
import textwrap
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import tyro

import ray_birds
from docs import tables
from ray_birds.cli import COMMANDS
from ray_birds.config import PredictConfig
from ray_birds.core.settings import Settings, option
from ray_birds.prediction import answer
from ray_birds.prediction.output import Output, schema
from tests.conftest import REPOSITORY

PAGES = [*(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")), *tables.PAGES]
ROOTS = (REPOSITORY, REPOSITORY / "ray_birds")  # what a path in backticks may be below
FOLDERS = {path.name for root in ROOTS for path in root.iterdir() if path.is_dir()} - {"results"}

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def settings(command: str) -> type[Settings]:
    return COMMANDS[command].options()


def lines(text: str) -> Iterator[str]:
    """The lines of indented blocks, those that end in a backslash joined with the next one."""
    joined = re.sub(r"\\\n +", "", text)
    return (line.strip() for line in joined.splitlines() if line.startswith("    "))


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of ray-birds in the text's blocks, with the words that follow."""
    for line in lines(text):
        match = re.search(r"(?:ray-birds |jobs/)(\w+)(?:\.py)?\b(.*)", line)
        if match:
            yield match[1], shlex.split(match[2], comments=True)


def spans(text: str) -> list[str]:
    """What stands in backticks in running text and tables."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda path: path.name)
def test_tables_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.written(text) == text, "run `make docs`"


def test_every_option_of_every_command_has_a_line() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in tables.PAGES)
    for name in COMMANDS:
        about = settings(name)
        table = text.split(f"<!-- options: {about.__name__} -->\n")[1].split("<!-- end -->")[0]
        helped = re.findall(r"^\| `(--[\w-]+)` \|.* \| (.+) \|$", table, re.MULTILINE)
        assert all(said.strip() for _, said in helped)
        assert [name for name, _ in helped] == [
            "--from" if field.name == "source" else option(field.name) for field in dataclasses.fields(about)
        ]


def test_every_module_has_a_line() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    modules = {str(path.relative_to(REPOSITORY)) for path in tables.PACKAGE.rglob("*.py") if path.stat().st_size}
    assert set(re.findall(r"^\| `(ray_birds/[\w/]+\.py)`", text, re.MULTILINE)) == modules


def test_the_readme_is_one_page() -> None:
    assert 5_000 <= (REPOSITORY / "README.md").stat().st_size <= 7_000


@page
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"(?:\]\(|src=\")([^)\"]+)", text):
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {title.lower().replace(" ", "-").replace(",", "") for title in titles}, target


@page
def test_files_of_the_repository_are_there(page: Path) -> None:
    for span in spans(page.read_text(encoding="utf-8")):
        if re.fullmatch(r"[\w.-]+/[\w./-]*", span) and span.partition("/")[0] in FOLDERS:
            other = span in ("examples/birds.ipynb", "config/learning_rate")  # made by `make notebook`; Tune's
            assert other or any((root / span).exists() for root in ROOTS), span


@page
def test_commands_can_be_given(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for command, words in commands(text):
        assert tyro.cli(settings(command), args=words, config=(tyro.conf.FlagCreatePairsOff,))
    for command in re.findall(r"`ray-birds ([a-z]+)", text):
        assert command in COMMANDS
    targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for named in re.findall(r"(?:`| {4})make ([\w -]+)", text):
        assert set(named.split()) <= set(targets), named


@page
def test_options_are_known(page: Path) -> None:
    known = {option(field.name) for name in COMMANDS for field in dataclasses.fields(settings(name))}
    for span in spans(page.read_text(encoding="utf-8")):
        name = re.match(r"--[\w-]+", span)
        assert name is None or name[0] in known | {"--from", "--version", "--help"}, span


def test_questions_about_predictions_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of pandas and DuckDB runs on an output that has the columns."""
    page = (REPOSITORY / "docs/predictions.md").read_text(encoding="utf-8")
    asked = PredictConfig(model="best", input=("new",), target_accuracy=0.9, ood_score=True)
    columns = schema(metadata=True, answer=answer.fields(asked))
    day = datetime(2026, 5, 3, 6, 30)
    row = {
        "prediction": "CORAL OWL",
        "probability": 0.9,
        "seen": False,
        "taken": day,
        "error": "",
        "accepted": True,
    }
    bad = {"error": "empty file", "accepted": False}
    rows = [row | {"path": f"{number}.jpg", "ood_score": number} for number in range(3)]
    rows += [row | {"path": "far.jpg", "accepted": False, "ood_score": 100.0}, bad | {"path": "bad.jpg"}]
    Output(str(tmp_path / "predictions")).write_part(0, rows, columns)
    Output(str(tmp_path / "predictions")).publish({})
    monkeypatch.chdir(tmp_path)
    python, sql = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[-1] for kind in ("python", "sql"))
    known: dict[str, Any] = {}
    *before, last = ast.parse(python).body
    assert isinstance(last, ast.Expr)
    exec(compile(ast.Module(before, []), "predictions.md", "exec"), known)
    counts = eval(compile(ast.Expression(last.value), "predictions.md", "eval"), known)
    assert counts.to_dict() == {("CORAL OWL", "2026-05"): 3}
    look, species = (duckdb.execute(query).fetchall() for query in sql.split(";")[:2])
    assert [one[0] for one in look] == ["far.jpg", "bad.jpg"] and species == [("CORAL OWL", "2026-05", 3)]


@page
def test_python_calls_what_is_there(page: Path) -> None:
    """Names of ray_birds, and options of the commands by their functions."""
    for block in re.findall(r"```python\n(.*?) *```", page.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="ray_birds"), attr=name), keywords=given):
                    assert name in ray_birds.__all__
                    known = dataclasses.fields(settings(name)) if name in COMMANDS else ()
                    assert {one.arg for one in given} <= {field.name for field in known}
