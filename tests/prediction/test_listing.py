"""The list of a job's files: each part's files can be read alone, and damage is told."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from ray_birds.core.errors import OutputError
from ray_birds.prediction import listing
from ray_birds.prediction.listing import File, Listing

FILES = [
    File("birds", f"a/{number:04} é.jpg", "OWL" if number % 3 else None, number, None, kept=number % 2 == 0)
    for number in range(1000)
]


def batches(files: list[File], size: int) -> Iterator[list[File]]:
    return (files[start : start + size] for start in range(0, len(files), size))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Listing:
    """A list in pieces of four parts, with a last part that is not full."""
    monkeypatch.setattr(listing, "_PIECE", 4)
    return listing.write(str(tmp_path / "files"), map(listing.table, batches(FILES, 100)), 64)


def test_what_was_written_is_read_in_order(made: Listing) -> None:
    assert (made.count, made.parts, made.size(0), made.size(15)) == (1000, 16, 64, 40)
    assert list(listing.rows(made)) == FILES
    assert [len(part) for part in made] == [made.size(part) for part in range(16)]
    assert len(list(Path(made.uri).iterdir())) == 4


def test_a_part_is_read_without_the_others(made: Listing) -> None:
    for piece in sorted(Path(made.uri).iterdir())[:3]:
        piece.unlink()
    assert list(listing.rows([made.read(15)])) == FILES[960:]


@pytest.mark.parametrize("tables", [0, 2])
def test_an_empty_list(tmp_path: Path, tables: int) -> None:
    made = listing.write(str(tmp_path), [listing.table([])] * tables, 64)
    assert (made.count, made.parts, list(made)) == (0, 0, [])


def test_no_more_than_a_piece_is_asked_for_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_PIECE", 4)

    def files() -> Iterator[pa.Table]:
        for number, some in enumerate(batches(FILES, 64)):
            assert len(list(tmp_path.glob("files/*"))) == number // 4
            yield listing.table(some)

    assert listing.write(str(tmp_path / "files"), files(), 64).count == 1000


@pytest.mark.parametrize("damage", ["cut", "flipped", "removed"])
def test_a_damaged_piece_is_one_line(made: Listing, damage: str) -> None:
    piece = Path(made.uri, "000001.parquet")
    data = bytearray(piece.read_bytes())
    if damage == "removed":
        piece.unlink()
    elif damage == "cut":
        piece.write_bytes(data[:-20])
    else:
        data[len(data) // 3] ^= 1
        piece.write_bytes(data)
    for parts in (iter(made), map(made.read, range(4, 8))):
        with pytest.raises(OutputError, match=r"000001\.parquet: the job's list .* missing or damaged") as error:
            list(parts)
        assert "\n" not in str(error.value)
    assert made.read(0)["path"][0].as_py() == FILES[0].path
