"""Sequences, found in parts of rows: by folder, camera and time, whatever the parts' sizes; the mean of each."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ray_birds.prediction import sequences
from ray_birds.prediction.output import Output, checked, schema
from ray_birds.prediction.sequences import Sequences
from tests.prediction.test_output import CLASSES, DIGEST, row

COLUMNS = schema(probabilities=True, metadata=True, sequences=True)
NOON = datetime(2024, 5, 1, 12)
LOWS, MIXED, TERNS = (0.4, 0.5, 0.1), (0.6, 0.3, 0.1), (0.1, 0.1, 0.8)


def photo(path: str, second: float | None, scores: tuple[float, ...] | None = LOWS, **more: Any) -> dict[str, Any]:
    made = row(path, scores, error="" if scores else "damaged: x")
    taken = None if second is None else NOON + timedelta(seconds=second)
    return made | {"taken": taken, "camera": "HP2X"} | more


ROWS = [
    photo("a/1.jpg", 0, LOWS),
    photo("a/2.jpg", 50, LOWS),
    photo("a/3.jpg", 300, MIXED),
    photo("a/4.jpg", 110, MIXED),  # names need not follow the time
    photo("a/5.jpg", 100, camera="other"),
    photo("a/6.jpg", None),
    photo("a/7.jpg", 105, None),  # damaged, but its time is known
    photo("a/8.jpg", 305, TERNS, taken_offset=60),
    photo("b/1.jpg", 20, TERNS),
    photo("b/2.jpg", 9000, None),
]
EXPECTED = [1, 1, 2, 1, 3, None, 1, 4, 5, 6]


def filled(
    folder: Path, rows: list[dict[str, Any]], size: int, seconds: float = 60
) -> tuple[pd.DataFrame, Sequences]:
    """The rows with their sequences, from parts of `size` rows."""
    output = Output(str(folder / "out"))
    units = [rows[at : at + size] for at in range(0, len(rows), size)]
    for number, unit in enumerate(units):
        output.write_part(number, unit, COLUMNS)
    files = [pa.Table.from_pylist(unit).select(["input", "path"]) for unit in units]
    found = sequences.fill(output, lambda more: checked(output, files, DIGEST, more), COLUMNS, CLASSES, seconds)
    output.publish({})
    parts = list(output.published())
    assert all(part.schema.equals(COLUMNS) for part in parts)
    return pa.concat_tables(parts).to_pandas(), found


@pytest.mark.parametrize("size", [1, 3, 100])
def test_one_folder_one_camera_close_together(tmp_path: Path, size: int) -> None:
    rows, found = filled(tmp_path, ROWS, size)
    assert rows["sequence"].astype(object).where(rows["sequence"].notna(), None).tolist() == EXPECTED
    assert found == Sequences(6, 9)
    first = rows[rows["sequence"] == 1]
    assert len(first) == 4 and set(first["sequence_prediction"]) == {"ATLAS FINCH"}
    mean = np.mean([LOWS, LOWS, MIXED], axis=0)
    assert mean.argmax() == 0  # though two of three rows, by themselves, show something else
    np.testing.assert_allclose(first["sequence_probability"], mean.max(), rtol=1e-6)
    assert rows["sequence_prediction"].isna().tolist() == [False] * 5 + [True] + [False] * 3 + [True]
    assert rows["sequence_probability"].isna().equals(rows["sequence_prediction"].isna())
    pd.testing.assert_series_equal(rows["path"], pd.Series([one["path"] for one in ROWS], name="path"))
    assert rows["prediction"].fillna("").tolist() == [one.get("prediction", "") for one in ROWS]


def test_it_is_the_same_for_any_parts_and_again(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = [
        photo(f"{folder}/{number:03}.jpg", float(chance.integers(0, 3000)), tuple(chance.dirichlet(np.ones(3))))
        for folder in "ab"
        for number in range(100)
    ]
    whole, counts = filled(tmp_path / "whole", rows, 200)
    for size in (7, 64):
        parts, again = filled(tmp_path / str(size), rows, size)
        pd.testing.assert_frame_equal(parts, whole, check_exact=True)
        assert again == counts
    together = whole.groupby("sequence")["probabilities"].apply(lambda all_of: np.mean(list(all_of), axis=0))
    for number, mean in together.items():
        here = whole[whole["sequence"] == number]
        assert set(here["sequence_prediction"]) == {CLASSES[mean.argmax()]}
        np.testing.assert_allclose(here["sequence_probability"], mean.max(), rtol=1e-6)


def test_a_pass_cut_short_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Output.write_table

    def write_one(output: Output, number: int, part: pa.Table) -> None:
        if number == 1 and part["sequence"].null_count < len(part):
            raise KeyboardInterrupt
        write(output, number, part)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Output, "write_table", write_one)
        filled(tmp_path, ROWS, 3)
    output = Output(str(tmp_path / "out"))
    files = [pa.Table.from_pylist(ROWS[at : at + 3]).select(["input", "path"]) for at in range(0, len(ROWS), 3)]
    sequences.fill(output, lambda more: checked(output, files, DIGEST, more), COLUMNS, CLASSES, 60)
    output.publish({})
    pd.testing.assert_frame_equal(
        pa.concat_tables(output.published()).to_pandas(), filled(tmp_path / "whole", ROWS, 100)[0]
    )


def test_no_time_at_all(tmp_path: Path) -> None:
    rows, found = filled(tmp_path, [photo("a/1.jpg", None), photo("a/2.jpg", None, None)], 1)
    assert found == Sequences(0, 0) and rows[["sequence", "sequence_prediction"]].isna().all().all()
