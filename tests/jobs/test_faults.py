"""A short round of the fault drill: real processes, nodes and drivers die, and no number changes."""

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

FAULTS = 5


def test_sweeps_and_predictions_end_equal_whatever_dies() -> None:
    command = [sys.executable, "benchmarks/faults.py", "--faults", str(FAULTS), "--seed", "33"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(rf"^\d/{FAULTS}: (\w+), (\w+), \d+ of \d+ \w+, (\d+), \d*, (.+)$", done.stdout, re.MULTILINE)
    assert len(set(told)) == FAULTS and {result for *_, result in told} == {"equal"}
    assert {"sweep", "prediction"} <= {work for work, *_ in told}
    # Of each trial that a fault stopped one epoch at most is done again; a checkpoint cut short costs one more.
    assert all(
        int(repeated) <= (3 if kind == "checkpoint" else 2) for work, kind, repeated, _ in told if work == "sweep"
    )
