"""What a killed trial resumes from: written by turns in two files, so that damage costs one epoch."""

from pathlib import Path

import numpy as np
import pytest

from ray_birds.core.errors import OutputError
from ray_birds.sweep import checkpoint
from ray_birds.sweep.checkpoint import Checkpoint
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.epochs import Epoch
from tests.conftest import file_limit


def after(epochs: int) -> Checkpoint:
    """A checkpoint after so many epochs, with weights and moments of their own."""
    random = np.random.default_rng(epochs)
    history = [Epoch(n + 1, "head", 1e-3, 1 / (n + 1), 0.5, 0.7, 0.6, 1.5, 20.0, 32, 0.6) for n in range(epochs)]
    weights = {"head/kernel": random.normal(size=(8, 3)).astype(np.float32), "head/bias": np.zeros(3, np.float32)}
    earlier = {path: value + 1 for path, value in weights.items()}
    return Checkpoint(history, weights, [np.array(epochs), random.normal(size=(8, 3)).astype(np.float32)], earlier)


@pytest.fixture
def results(tmp_path: Path) -> SweepDirectory:
    """Of a trial `t` that has written its state after each of three epochs."""
    results = SweepDirectory(str(tmp_path))
    for epochs in (1, 2, 3):
        results.write_checkpoint("t", epochs, after(epochs).to_bytes())
    return results


def newest(results: SweepDirectory) -> Path:
    return max(Path(results.path("trials", "t")).iterdir(), key=epochs_in)


def epochs_in(path: Path) -> int:
    found = checkpoint._read(path.read_bytes())
    assert found is not None
    return len(found.history)


def same(found: Checkpoint, expected: Checkpoint) -> bool:
    arrays = zip(found.optimizer, expected.optimizer, strict=True)
    return (
        found.history == expected.history
        and found.weights.keys() == expected.weights.keys()
        and all(np.array_equal(found.weights[key], expected.weights[key]) for key in expected.weights)
        and found.earlier.keys() == expected.earlier.keys()
        and all(np.array_equal(found.earlier[key], expected.earlier[key]) for key in expected.earlier)
        and all(np.array_equal(one, other) for one, other in arrays)
    )


def test_the_last_state_counts(results: SweepDirectory) -> None:
    assert same(checkpoint.last(results, "t"), after(3))
    assert checkpoint.last(results, "never started") == Checkpoint()


@pytest.mark.parametrize("length", [0, 1, 100, 0.5, 0.99, -1])
def test_of_a_state_cut_short_only_one_epoch_is_lost(results: SweepDirectory, length: float) -> None:
    path = newest(results)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * length) if isinstance(length, float) else length])
    assert same(checkpoint.last(results, "t"), after(2))


def test_a_changed_bit_is_noticed_wherever_it_is(results: SweepDirectory) -> None:
    """In the numbers a checksum tells; elsewhere the state may still be read, and then is the right one."""
    path = newest(results)
    data = path.read_bytes()
    for at in range(0, len(data), 11):
        changed = bytearray(data)
        changed[at] ^= 4
        path.write_bytes(changed)
        found = checkpoint.last(results, "t")
        assert same(found, after(3)) or same(found, after(2)), at


def test_a_trial_that_begins_again_forgets_what_it_had(results: SweepDirectory) -> None:
    """As one with half the batch does: its first epoch counts, not the third of the run that it replaces."""
    for epochs in (1, 2):
        results.write_checkpoint("t", epochs, after(epochs).to_bytes())
        assert same(checkpoint.last(results, "t"), after(epochs))


def test_with_both_damaged_the_trial_begins_again(results: SweepDirectory) -> None:
    for path in Path(results.path("trials", "t")).iterdir():
        path.write_bytes(b"PK\x03\x04 no archive")
    assert checkpoint.last(results, "t") == Checkpoint()


def test_a_full_disk_is_one_line_that_says_the_way_out(results: SweepDirectory) -> None:
    with (
        file_limit(100),
        pytest.raises(OutputError, match=r"cannot be written .*--resume continues$") as caught,
        results.writing(),
    ):
        results.write_checkpoint("t", 4, after(4).to_bytes())
    assert "\n" not in str(caught.value) and str(caught.value).startswith(results.uri)
