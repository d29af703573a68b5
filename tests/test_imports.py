"""Imports run one way, and nothing heavy is imported where a person waits for an answer."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "ray_birds"

# The house from the ground up: a room uses only rooms named before it; within report and sources all may.
ROOMS = (  # noqa: SIM905 - a list of these would take a page
    "errors config files images augment dataset likeness findings splits metrics statement console backbone "
    "bundle store cluster inspection results state plan features stage trial inputs predictions tally report card "
    "winner logs watch summary search scoring photo predict check export sources"
).split()

RAY = {"cluster", "inspection", "features", "winner", "watch", "search", "scoring", "predict"}
KERAS_INSIDE = {"backbone", "bundle", "features", "stage", "trial", "export", "sources"}  # in functions
KERAS_ABOVE = {"stage", "trial"}  # at module level: it is imported inside trials only
DRAWING = {"report"}  # matplotlib at module level

MODULES = sorted(PACKAGE.rglob("*.py"))
JOBS = sorted((REPOSITORY / "jobs").glob("*.py"))


def room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(node: ast.AST, *, everywhere: bool) -> Iterator[str]:
    """Dotted names that are imported; without `everywhere` only those that importing the module runs."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, names=names):
                yield from (f"{module}.{name.name}" for name in names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef() if not everywhere:
                continue
            case _:
                yield from imports(child, everywhere=everywhere)


def imported(module: Path, *, everywhere: bool) -> set[str]:
    return set(imports(ast.parse(module.read_text(encoding="utf-8")), everywhere=everywhere))


def tops(module: Path, *, everywhere: bool) -> set[str]:
    return {name.partition(".")[0] for name in imported(module, everywhere=everywhere)}


def by_name(modules: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("module", modules, ids=lambda m: str(m.relative_to(REPOSITORY)))


def test_every_room_has_its_place() -> None:
    assert {room(module) for module in MODULES} - {"__init__"} <= set(ROOMS)


@by_name(MODULES)
def test_a_room_uses_only_rooms_before_it(module: Path) -> None:
    used = {name.split(".")[1] for name in imported(module, everywhere=True) if name.startswith("ray_birds.")}
    rooms = used - {"__version__"}
    here = room(module)
    before = ROOMS[: ROOMS.index(here)] if here in ROOMS else []
    allowed = {*before, here} if module.parent != PACKAGE else {*before}
    assert rooms <= allowed


@by_name(MODULES)
def test_ray_stays_in_its_rooms(module: Path) -> None:
    assert "ray" not in tops(module, everywhere=True) or room(module) in RAY


@by_name([*MODULES, *JOBS])
def test_tensorflow_stays_in_its_rooms(module: Path) -> None:
    heavy = {"tensorflow", "keras"}
    here = room(module) if module in MODULES else "jobs"
    assert not tops(module, everywhere=False) & heavy or here in KERAS_ABOVE
    assert not tops(module, everywhere=True) & heavy or here in KERAS_INSIDE


@by_name([*MODULES, *JOBS])
def test_pictures_and_frames_stay_out_of_the_way(module: Path) -> None:
    above = tops(module, everywhere=False) & {"matplotlib", "pandas"}
    assert not above or (module in MODULES and room(module) in DRAWING)


@by_name(JOBS)
def test_a_job_parses_before_it_imports(module: Path) -> None:
    above = {name for name in imported(module, everywhere=False) if name.startswith("ray_birds")}
    assert {name.split(".")[1] for name in above} <= {"config", "console"}


def loaded(*words: str) -> tuple[set[str], subprocess.CompletedProcess[str]]:
    """Top-level modules that a fresh interpreter imports for these words, and what it answered."""
    command = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    names = re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE)
    return {name.partition(".")[0] for name in names}, done


@by_name(JOBS)
def test_help_imports_nothing_heavy(module: Path) -> None:
    modules, done = loaded(str(module), "--help")
    assert done.returncode == 0 and "--" in done.stdout and "tyro" in modules
    assert not modules & {"tensorflow", "keras", "ray", "pandas", "matplotlib", "pyarrow", "PIL", "cv2"}


def test_a_misspelled_option_is_refused_with_the_right_name() -> None:
    modules, done = loaded("jobs/tune.py", "--data", "birds", "--unfreez", "10")
    assert done.returncode == 2 and "--unfreeze" in done.stdout + done.stderr.replace("--unfreez ", "")
    assert not modules & {"tensorflow", "keras", "ray"}


def test_the_drivers_import_no_tensorflow() -> None:
    """Each room that a driver imports, in one process; Ray itself must not bring TensorFlow in either."""
    drivers = "search predict check"
    code = f"import sys; from ray_birds import {drivers.replace(' ', ', ')}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    modules = set(done.stdout.split())
    assert "ray" in modules and not modules & {"tensorflow", "keras", "ray_birds.trial"}
