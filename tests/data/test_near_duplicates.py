"""Which images look the same: no copy missed by the search, and copies told from other images."""

from pathlib import Path

import numpy as np
import pytest

from ray_birds.data import near_duplicates
from ray_birds.demo.birds import draw_dataset
from tests.conftest import benchmark


def flipped(code: bytes, bits: list[int]) -> bytes:
    """A code with some of its 256 bits turned; the first 64 are those of the lowest frequencies."""
    values = np.unpackbits(np.frombuffer(code, np.uint8))
    values[bits] ^= 1
    return np.packbits(values).tobytes()


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def orientations(code: bytes) -> list[np.ndarray]:
    """The bits of a code, and those of the image turned over in the seven other ways."""
    blocks = np.unpackbits(np.frombuffer(code, np.uint8)).reshape(2, 2, 8, 8)
    bits = blocks.transpose(0, 2, 1, 3).reshape(16, 16).astype(bool)
    odd = np.arange(16) % 2 == 1
    found = []
    for across in (False, True):
        for down in (False, True):
            turned = bits ^ (odd[None] & across) ^ (odd[:, None] & down)
            found += [turned, turned.T]
    return found


def compared(codes: list[bytes]) -> set[tuple[int, int]]:
    """All pairs within the limits, by comparing each with each in every orientation."""
    turned = [orientations(code) for code in codes]
    found = set()
    for i in range(len(codes)):
        for j in range(i + 1, len(codes)):
            for other in turned[j]:
                different = turned[i][0] != other
                near = different[:8, :8].sum() <= near_duplicates._CLOSE
                if near and different.sum() <= near_duplicates._SAME:
                    found.add((i, j))
    return found


@pytest.mark.parametrize("chunk", [1 << 22, 50, 1])
def test_the_search_finds_what_comparing_all_finds(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(near_duplicates, "_CHUNK", chunk)
    codes = [random.bytes(32) for _ in range(60)]
    for number in range(60):  # on both sides of both limits, in all orientations
        low = random.choice(64, random.integers(1, 9), replace=False)
        high = 64 + random.choice(192, random.integers(30, 50), replace=False)
        bits = orientations(flipped(codes[number], [*low, *high]))[number % 8]
        blocks = bits.reshape(2, 8, 2, 8).transpose(0, 2, 1, 3)
        codes.append(np.packbits(blocks.ravel()).tobytes())
    found = {(int(i), int(j)) for i, j in near_duplicates.pairs(codes)}
    assert found == compared(codes) and 15 < len(found) < 55


def test_equal_codes_are_paired_with_the_first(random: np.random.Generator) -> None:
    one, other = (random.bytes(32) for _ in range(2))
    pairs = near_duplicates.pairs([one, other, one, one, other])
    assert pairs.tolist() == [[0, 2], [0, 3], [1, 4]]
    assert near_duplicates.groups(6, pairs).tolist() == [0, 1, 0, 0, 1, 2]
    assert near_duplicates.pairs([]).shape == near_duplicates.pairs([b""]).shape == (0, 2)
    assert near_duplicates.groups(2, np.empty((0, 2), int)).tolist() == [0, 1]


def test_any_of_an_images_codes_pairs_it(random: np.random.Generator) -> None:
    whole, inner, other = (random.bytes(32) for _ in range(3))
    assert near_duplicates.pairs([whole + inner, other, inner]).tolist() == [[0, 2]]


def test_borders_of_one_colour_are_taken_off_with_a_clock_in_them(random: np.random.Generator) -> None:
    pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
    framed = np.full((128, 100, 3), 250, np.uint8)
    framed[40:104, 20:84] = pixels
    framed[4:8, 4:14] = 0
    assert len(near_duplicates.codes(pixels)) == 32
    codes = [near_duplicates.codes(one) for one in (pixels, framed)]
    assert near_duplicates.pairs(codes).tolist() == [[0, 1]]
    assert not len(near_duplicates.pairs([codes[0], codes[1][:32]]))


def test_a_border_that_ends_within_a_line_is_taken_off_to_there() -> None:
    lines = np.full((8, 20), 200, np.uint8)
    lines[3:] = 100
    lines[3] += 75
    count, part = near_duplicates._border(lines, 0.95)
    assert (count, part) == (3, 0.75)
    assert near_duplicates._border(lines[3:], 0.95) == (1, 0.0)
    assert near_duplicates._border(lines[:3], 0.95) == (3, 0.0)


def test_an_image_that_is_all_border_has_one_code() -> None:
    assert len(near_duplicates.codes(np.full((64, 64, 3), 9, np.uint8))) == 32


@pytest.mark.integration
def test_copies_of_drawn_images_are_found(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "birds", train=3, valid=1, test=1)
    shares, _, numbers = benchmark("duplicates").measure(str(tmp_path / "birds"), copied=0)
    assert numbers == (60, 60)
    check_shares(shares)


@pytest.mark.slow
def test_copies_of_photographs_are_found_and_different_birds_are_told_apart(shared: Path) -> None:
    shares, pairs, (_, images) = benchmark("duplicates").measure(str(shared / "data/birds263"), copied=100)
    check_shares(shares)
    assert sum(not same for *_, same in pairs) <= images / 1000


def check_shares(shares: dict[str, float]) -> None:
    for kind, share in shares.items():
        if "no target" not in kind:
            assert share >= 0.95, kind
