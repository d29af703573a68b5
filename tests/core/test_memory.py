"""A node that is short of memory, by Ray's own monitor: a few lines, an end, and a word on what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ray_birds.core import memory
from ray_birds.sweep import callbacks
from tests.conftest import REPOSITORY

KILLED = """Failure # 1 (occurred at 2026-01-01_10-00-00)
1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.1, ID: ab) was \
4.06GB used / 23.54GB limit (0.17)
Selected to kill: (Task: job ID=01000000, task name=Map(look), required resources={CPU: 1}, pid=1, actual memory \
used=0.05GB, worker ID=b6)
Refer to the documentation.
"""
LINE = "its node was short of memory (4.06 of 23.54 GB used), so Ray ended Map(look), which used 0.05 GB"
CHECK = """
import sys
from ray_birds.config import CheckConfig
from ray_birds.data.check import check
from ray_birds.core.errors import OutOfMemoryError
try:
    check(CheckConfig(data=sys.argv[1], output=sys.argv[2]))
except OutOfMemoryError as error:
    print("error:", error)
"""


def test_a_trial_that_was_killed_for_memory_is_one_line_and_retried() -> None:
    assert memory.shortage(KILLED) == LINE and memory.shortage("anything else") == ""
    reason, raised = callbacks.last_failure("Failure # 1 (occurred at x)\nanother\n" + KILLED)
    assert reason == f"{LINE}; {memory.ADVICE}" and not raised


@pytest.mark.ray
@pytest.mark.slow
def test_work_that_never_fits_ends_after_some_retries(birds: Path, tmp_path: Path) -> None:
    """With a threshold that any machine is above."""
    limit = {"RAY_ADDRESS": "local", "RAY_memory_usage_threshold": "0.01", "RAY_task_oom_retries": "2"}
    words = [sys.executable, "-c", CHECK, str(birds), str(tmp_path / "out")]
    done = subprocess.run(words, env=os.environ | limit, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    told = [line for line in lines if line.startswith("note: a task is retried: its node was short of memory (")]
    assert len(told) == 2 and len(lines) < 8 and not done.stderr
    assert last.startswith("error: its node was short of memory (") and last.endswith(memory.ADVICE)
