"""The benchmarks' scripts fit the package: each imports, those with a command line show its help, one runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DRAWN_WEIGHTS, REPOSITORY, benchmark

SCRIPTS = sorted((REPOSITORY / "benchmarks").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_each_script_imports_and_shows_its_help(script: Path) -> None:
    command = [sys.executable, str(script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    is_command = '__name__ == "__main__"' in script.read_text(encoding="utf-8")
    assert done.stdout.startswith("usage: ") == is_command


@pytest.mark.slow
@pytest.mark.parametrize("sides", ["e", "ec", "dbe", "abf", ""])
def test_sides_that_cannot_be_compared(sides: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    with pytest.raises(SystemExit, match=r"--sides .*(put c before it|some of abcde)"):
        benchmark("accuracy").Options(data=("birds",), sides=sides)


@pytest.mark.slow
def test_the_list_of_a_job_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/listing.py", "--files", "5", "10", "--per-folder", "4"]
    command += ["--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert re.search(r"10 .* \d+ .* 0\.0 ", done.stdout) and not list(tmp_path.iterdir())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_accuracy_is_measured_on_each_side(birds: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "benchmarks/accuracy.py",
        "--data",
        str(birds),
        "--sides",
        "bcd",
        "--image-size",
        "64",
    ]
    command += ["--backbone", "MobileNetV2-0.35", "--weights", DRAWN_WEIGHTS, "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(
        r"^birds \| (\w) \| 0 \| .+ \| (\S+) \[.+\] \| \S+ \[.+\] \| \d+$", done.stdout, re.MULTILINE
    )
    assert [side for side, _ in found] == ["b", "c", "d"]
    assert all(float(valid) > 0.5 for _, valid in found)  # chance is a third
    assert re.search(
        r"^birds: our test accuracy \S+ points beside the best by hand \([bc]\), in ", done.stdout, re.MULTILINE
    )
