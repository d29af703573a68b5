"""The wheel: all that it should hold, and the command at work from it, away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import CLASSES, REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, since a build leaves folders in what it builds."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    shutil.copytree(REPOSITORY / "ray_birds", copy / "ray_birds", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "--wheel-dir", str(copy / "wheels"), str(copy)], check=True)
    (made,) = (copy / "wheels").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it, and beside it the packages that these tests run with."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--no-index", "--disable-pip-version-check", str(wheel)], check=True)
    return folder


def run(environment: Path, command: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = [str(environment / "bin" / command), *words]
    return subprocess.run(program, capture_output=True, text=True, cwd=cwd, env=outside)


def test_the_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = next(archive.read(name).decode() for name in names if name.endswith("METADATA"))
    package = REPOSITORY / "ray_birds"
    wanted = [path for path in package.rglob("*") if path.suffix in (".py", ".j2", ".h5", ".typed")]
    assert {str(path.relative_to(REPOSITORY)) for path in wanted} == {
        name for name in names if "dist-info" not in name
    }
    assert {"ray_birds/py.typed", "ray_birds/demo/backbone.weights.h5", "ray_birds/report/page.html.j2"} <= names
    assert "Keywords: image classification" in about and "# ray-birds" in about
    assert any(name.endswith("LICENSE") for name in names)


def test_the_command_runs_away_from_the_checkout(environment: Path, tmp_path: Path) -> None:
    told = run(environment, "python", "-c", "import ray_birds; print(ray_birds.__file__)", cwd=tmp_path)
    assert Path(told.stdout.strip()).is_relative_to(environment), told
    version = run(environment, "ray-birds", "--version", cwd=tmp_path)
    assert version.returncode == 0 and version.stdout.startswith("ray-birds "), version
    helped = run(environment, "ray-birds", "demo", "--help", cwd=tmp_path)
    assert helped.returncode == 0 and "--output" in helped.stdout, helped
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
def test_a_check_runs_away_from_the_checkout(environment: Path, own_birds: Path, tmp_path: Path) -> None:
    (own_birds / "test" / CLASSES[0] / "copy.jpg").write_bytes(
        next((own_birds / "train" / CLASSES[0]).iterdir()).read_bytes()
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run(environment, "ray-birds", "check", "--data", str(own_birds), cwd=empty)
    assert done.returncode == 1, done.stderr
    assert "blocking: 1 of the images in test is in train too" in " ".join(done.stdout.split())
    assert (empty / "check/report.html").exists() and (empty / "check/findings.csv").exists()
