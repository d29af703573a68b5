"""2,000 damaged inputs at each entrance: taken, or refused in a line, in little memory; and nothing leaks out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.fuzz.mutator import Mutator

COUNT, SEED = 2000, 12
MOST = 2 * 10**9  # bytes of memory
TAKEN = {"images": "decoded", "bundles": "loaded", "tables": "laid out"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("entrance", TAKEN)
def test_whatever_strangers_hand_in(entrance: str, tmp_path: Path) -> None:
    work, home = tmp_path / "a" / "b" / "work", tmp_path / "home"
    for folder in (work, home, tmp_path / "temporary"):
        folder.mkdir(parents=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "HOME": str(home),
        "TMPDIR": str(tmp_path / "temporary"),
    }
    command = [sys.executable, "-m", "tests.fuzz.entrances", entrance, str(work), str(COUNT), str(SEED)]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"input {(work / 'progress.txt').read_text()}: {done.stderr[-3000:]}"
    found = json.loads((work / "outcomes.json").read_text())
    assert not found["unexpected"], f"{len(found['unexpected'])}:\n" + "\n".join(found["unexpected"][:5])
    outcomes = found["outcomes"]
    assert sum(outcomes.values()) == COUNT
    assert found["peak"] < MOST
    # The damage is neither so great that nothing gets in nor so small that all does.
    assert outcomes[TAKEN[entrance]] > 20 and COUNT - outcomes[TAKEN[entrance]] > 300, outcomes
    outside = [path for path in tmp_path.rglob("*") if work not in (path, *path.parents)]
    assert {str(path.relative_to(tmp_path)) for path in outside if home not in path.parents} == {
        *("a", "a/b", "home", "temporary")
    }


def test_the_damage_is_the_same_for_one_seed() -> None:
    def damaged(seed: int) -> list[bytes]:
        mutator = Mutator(seed, [b"abc" * 50, bytes(200)])
        return [mutator.damaged(b"0123456789" * 30) for _ in range(50)]

    assert damaged(1) == damaged(1) != damaged(2)
    assert len(set(damaged(1))) > 45
