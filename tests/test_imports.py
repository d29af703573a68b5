"""Imports run one way, and nothing heavy is imported where a person waits for an answer."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "ray_birds"

# The house from the ground up: a room uses only rooms named before it, and itself. The factors are a room of
# their own below all that acts on them, though their module lies with the sweep.
ROOMS = (
    *("core", "factors", "config", "evaluation", "data", "model", "features", "sweep", "prediction", "report"),
    *("demo", "cli", "__init__"),
)
ALONE = {("prediction", "sweep"), ("report", "model"), ("report", "features")}  # the first never uses the second
# These draw pages, and load what draws when they do.
LATE = {"data.check", "sweep.live", "sweep.summary", "prediction.run", "prediction.result"}

FOR_SUSPECTS = {("data.check", "features.suspects_job")}  # and checks what needs a network, when that is asked for

MODULES = sorted(PACKAGE.rglob("*.py"))
JOBS = sorted((REPOSITORY / "jobs").glob("*.py"))


def dotted(module: Path) -> str:
    """A module's name below the package: `data.decode`; a package's is its folder's."""
    return ".".join(module.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__") or "__init__"


NAMES = {dotted(module): module for module in MODULES}

RAY = {
    *("core.cluster", "core.ray_compat", "data.inspect_job"),
    *("features.compute", "features.descriptions", "features.suspects_job"),
    *("sweep.search", "sweep.trials", "sweep.callbacks", "sweep.selection"),
    "sweep.gang",
    "prediction.pipeline",
}
BRINGS_RAY = RAY | {"sweep.prepare", "sweep.run", "prediction.run", "data.check", "demo.run"}
KERAS = {
    "model.out_of_fold",
    "model.probe",
    "model.train_step",
    "sweep.heads",
    "sweep.tasks",
    "sweep.training",
}  # at module level: they are imported inside trials only
# In functions.
KERAS_INSIDE = {
    "model",
    "features.steps",
    "sweep.gang",
    "sweep.heads",
    "sweep.tasks",
    "sweep.trackers.registry",
    "sweep.training",
    "demo",
}
DRAWING = {"report"}  # matplotlib at module level


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


@cache
def imported(module: Path, *, everywhere: bool) -> frozenset[str]:
    return frozenset(imports(parsed(module), everywhere=everywhere))


@cache
def parsed(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def tops(module: Path, *, everywhere: bool) -> set[str]:
    return {name.partition(".")[0] for name in imported(module, everywhere=everywhere)}


def ours(module: Path, *, everywhere: bool) -> set[str]:
    """Modules of this package that a module imports."""
    below = (name.removeprefix("ray_birds.") for name in imported(module, everywhere=everywhere))
    found = (name if name in NAMES else name.rpartition(".")[0] for name in below)
    return {name for name in found if name in NAMES}


def brings(name: str) -> set[str]:
    """What importing a module brings in, directly or through others of this package: top-level names."""
    seen, todo = set(), [name]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo += ours(NAMES[here], everywhere=False)
    return set().union(*(tops(NAMES[one], everywhere=False) for one in seen))


def room(name: str) -> str:
    return "factors" if name == "sweep.factors" else name.partition(".")[0]


def refused(here: str) -> set[str]:
    """The rooms that a module uses and must not."""
    above, inside = (ours(NAMES[here], everywhere=everywhere) - {"__init__"} for everywhere in (False, True))
    late = {name for name in inside - above if room(name) == "report" and here in LATE}
    late |= {name for name in inside - above if (here, name) in FOR_SUSPECTS}
    used = {room(name) for name in inside - late}
    return used - {*ROOMS[: ROOMS.index(room(here)) + 1]} | used & {two for one, two in ALONE if one == room(here)}


def test_imports_run_one_way() -> None:
    assert {name: rooms for name in NAMES if (rooms := refused(name))} == {}


@pytest.mark.integration
def test_importing_the_package_imports_nothing_else() -> None:
    assert not ours(NAMES["__init__"], everywhere=False)
    modules, done = loaded("-c", "import ray_birds")
    assert done.returncode == 0 and "ray_birds" in modules
    assert not modules & {"ray", "tensorflow", "keras", "numpy", "tyro", "pandas", "pyarrow"}


def test_importing_brings_ray_in_where_it_is_named_and_nowhere_else() -> None:
    assert {name for name, module in NAMES.items() if "ray" in tops(module, everywhere=True)} == RAY
    assert {name for name in NAMES if "ray" in brings(name)} == BRINGS_RAY


def test_importing_brings_keras_in_inside_trials_alone() -> None:
    heavy = {"tensorflow", "keras"}
    assert {name for name in NAMES if brings(name) & heavy} == KERAS
    for name, module in NAMES.items():
        if tops(module, everywhere=True) & heavy:
            assert name in KERAS_INSIDE or name.partition(".")[0] in KERAS_INSIDE


def test_images_and_frames_stay_out_of_the_way() -> None:
    others = [*JOBS, *(module for name, module in NAMES.items() if room(name) not in DRAWING)]
    assert [module for module in others if tops(module, everywhere=False) & {"matplotlib", "pandas"}] == []


def test_a_job_parses_before_it_imports() -> None:
    above = {name for module in JOBS for name in imported(module, everywhere=False)}
    assert {name.split(".")[1] for name in above if name.startswith("ray_birds")} == {"cli"}


def loaded(*words: str) -> tuple[set[str], subprocess.CompletedProcess[str]]:
    """Top-level modules that a fresh interpreter imports for these words, and what it answered."""
    command = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    names = re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE)
    return {name.partition(".")[0] for name in names}, done


@pytest.mark.parametrize("module", JOBS, ids=lambda module: module.stem)
@pytest.mark.integration
def test_help_imports_nothing_heavy(module: Path) -> None:
    modules, done = loaded(str(module), "--help")
    assert done.returncode == 0 and "--" in done.stdout and "tyro" in modules
    assert not modules & {"tensorflow", "keras", "ray", "pandas", "matplotlib", "pyarrow", "PIL", "cv2"}


@pytest.mark.integration
def test_a_misspelled_option_is_refused_with_the_right_name() -> None:
    modules, done = loaded("jobs/tune.py", "--data", "birds", "--unfreez", "10")
    assert done.returncode == 2 and "--unfreeze" in done.stdout + done.stderr.replace("--unfreez ", "")
    assert not modules & {"tensorflow", "keras", "ray"}


@pytest.mark.ray
def test_the_drivers_import_no_tensorflow() -> None:
    """Each room that a driver imports, in one process; Ray itself must not bring TensorFlow in either."""
    drivers = ", ".join(f"ray_birds.{name}" for name in ("sweep.run", "prediction.run", "data.check"))
    code = f"import sys; import {drivers}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    modules = set(done.stdout.split())
    assert "ray" in modules and not modules & {"tensorflow", "keras", "ray_birds.sweep.training"}


# What Python has on some systems only, beside Unix that is.
POSIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def test_no_module_needs_a_system_of_its_own() -> None:
    assert [name for name, module in NAMES.items() if tops(module, everywhere=False) & POSIX] == []


@pytest.mark.integration
def test_what_needs_neither_ray_nor_keras_is_imported_where_posix_is_missing() -> None:
    """As on Windows, where these modules cannot be imported; what libraries have imported by then is theirs."""
    light = [name for name in NAMES if not brings(name) & {"ray", "tensorflow", "keras"} and name != "__init__"]
    names = [f"ray_birds.{name}".removesuffix(".__init__") for name in light]
    code = f"""
import importlib, sys
import cv2, filelock, jinja2, kagglesdk, matplotlib.pyplot, pandas, PIL.Image, pyarrow.parquet
import requests, rich, scipy.optimize, tyro
class Windows:
    def find_spec(self, name, path=None, target=None):
        if name in {POSIX!r}:
            raise ModuleNotFoundError(name)
for name in {POSIX!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Windows())
for name in {names!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert len(names) > 60
