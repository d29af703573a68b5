"""The benchmarks' scripts still fit the package: each one imports, and those with a command line show its help."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPTS = sorted((REPOSITORY / "benchmarks").glob("*.py"))
KERAS = {"calibrate.py", "plain_keras.py", "plain_predict.py"}  # they import Keras before they read their options


def _case(script: Path) -> object:
    return pytest.param(script, id=script.stem, marks=[pytest.mark.slow] if script.name in KERAS else [])


@pytest.mark.parametrize("script", [_case(script) for script in SCRIPTS])
def test_each_script_imports_and_shows_its_help(script: Path) -> None:
    command = [sys.executable, str(script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    is_command = '__name__ == "__main__"' in script.read_text(encoding="utf-8")
    assert done.stdout.startswith("usage: ") == is_command
