"""Which images look the same: no copy missed by the search, and copies told from other images."""

import importlib.util
import types
from pathlib import Path

import numpy as np
import pytest

from ray_birds.data import near_duplicates
from ray_birds.demo.birds import draw_dataset
from tests.conftest import REPOSITORY


def benchmark() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("duplicates", REPOSITORY / "benchmarks/duplicates.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flipped(code: bytes, bits: list[int]) -> bytes:
    """A code with some of its 256 bits turned; the first 64 are those of the lowest frequencies."""
    values = np.unpackbits(np.frombuffer(code, np.uint8))
    values[bits] ^= 1
    return np.packbits(values).tobytes()


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def compared(own: list[bytes], mirrored: list[bytes]) -> set[tuple[int, int]]:
    """All pairs within the limits, by comparing each with each."""
    bits = [np.unpackbits(np.frombuffer(b"".join(some), np.uint8)).reshape(-1, 256) for some in (own, mirrored)]
    found = set()
    for i in range(len(own)):
        for side in bits:
            different = bits[0][i] != side
            near = (different[:, :64].sum(1) <= near_duplicates._CLOSE) & (
                different.sum(1) <= near_duplicates._SAME
            )
            found |= {(min(i, j), max(i, j)) for j in np.flatnonzero(near).tolist() if j != i}
    return found


@pytest.mark.parametrize("chunk", [1 << 22, 50, 1])
def test_the_search_finds_what_comparing_all_finds(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(near_duplicates, "_CHUNK", chunk)
    own, mirrored = ([random.bytes(32) for _ in range(200)] for _ in range(2))
    for number in range(100):  # on both sides of both limits, as they are and mirrored
        low = random.choice(64, random.integers(1, 9), replace=False)
        high = 64 + random.choice(192, random.integers(30, 50), replace=False)
        own.append(flipped((own if number % 2 else mirrored)[number], [*low, *high]))
        mirrored.append(random.bytes(32))
    found = {(int(i), int(j)) for i, j in near_duplicates.pairs(own, mirrored)}
    assert found == compared(own, mirrored) and 20 < len(found) < 80


def test_equal_codes_are_paired_with_the_first(random: np.random.Generator) -> None:
    one, other, mirror = (random.bytes(32) for _ in range(3))
    pairs = near_duplicates.pairs([one, other, one, one, other], [mirror] * 5)
    assert pairs.tolist() == [[0, 2], [0, 3], [1, 4]]
    assert near_duplicates.groups(6, pairs).tolist() == [0, 1, 0, 0, 1, 2]
    assert near_duplicates.pairs([], []).shape == (0, 2) and near_duplicates.groups(
        2, np.empty((0, 2), int)
    ).tolist() == [0, 1]


def test_a_mirror_image_has_the_codes_exchanged(random: np.random.Generator) -> None:
    pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
    own, mirrored = near_duplicates.codes(pixels)
    assert near_duplicates.codes(pixels[:, ::-1]) == (mirrored, own) and own != mirrored and len(own) == 32


def test_copies_of_drawn_images_are_found(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "birds", train=3, valid=1, test=1)
    shares, _, number = benchmark().measure(str(tmp_path / "birds"))
    assert number == 60
    check_shares(shares)


@pytest.mark.slow
def test_copies_of_photographs_are_found_and_different_birds_are_told_apart(shared: Path) -> None:
    shares, pairs, number = benchmark().measure(str(shared / "data/birds263"))
    check_shares(shares)
    assert sum(not same for *_, same in pairs) <= number / 1000


def check_shares(shares: dict[str, float]) -> None:
    for kind, share in shares.items():
        if "no target" not in kind:
            assert share >= (0.9 if "flipped" in kind else 0.95), kind
