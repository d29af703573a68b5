"""What a prediction job leaves: parts of one schema that everybody reads, published whole or not at all."""

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.prediction.output import JOB, Output, schema
from tests.conftest import file_limit

CLASSES = ("ATLAS FINCH", "CORAL OWL", "MOSS TERN")
DIGEST = "0123456789abcdef" * 2


def row(
    path: str, scores: tuple[float, ...] | None = None, label: str | None = None, error: str = ""
) -> dict[str, Any]:
    """A row of the contract; `scores` (3,) of CLASSES, None for a file that could not be decoded."""
    made: dict[str, Any] = {"input": "birds", "path": path, "label": label, "width": 64, "height": 48}
    made |= {"error": error, "model": DIGEST}
    if scores is None:
        return made | {"width": 0, "height": 0}
    order = np.argsort([-score for score in scores])
    top = [{"label": CLASSES[n], "probability": scores[n]} for n in order[:2]]
    made |= {"prediction": top[0]["label"], "probability": top[0]["probability"], "top_k": top}
    made |= {"correct": None if label is None else label == top[0]["label"], "probabilities": list(scores)}
    return made


SCORED = [
    row("test/CORAL OWL/1.jpg", (0.2, 0.7, 0.1), "CORAL OWL"),
    row("test/MOSS TERN/鶯 é.jpg", (0.5, 0.2, 0.3), "MOSS TERN"),
    row("images to test/1.jpg", (0.1, 0.3, 0.6)),
]
FAILED = [
    row("a.jpg", error="empty file"),
    row("b.jpg", label="CORAL OWL", error="damaged: x"),
    row("c.jpg", error="empty file"),
]
UNLABELLED = [row("1.jpg", (0.1, 0.3, 0.6)), row("2.jpg", (0.6, 0.3, 0.1))]


def output(uri: Path, parts: dict[int, list[dict[str, Any]]], *, probabilities: bool = False) -> Output:
    made = Output(str(uri))
    for number, rows in parts.items():
        made.write_part(number, rows, schema(probabilities=probabilities))
    return made


def published(uri: Path, parts: dict[int, list[dict[str, Any]]], *, probabilities: bool = False) -> Path:
    output(uri, parts, probabilities=probabilities).publish({"files": 0})
    return uri


def test_schema_is_the_contract() -> None:
    assert {field.name: str(field.type) for field in schema()} == {
        "input": "string",
        "path": "string",
        "label": "string",
        "prediction": "string",
        "probability": "float",
        "top_k": "list<item: struct<label: string, probability: float>>",
        "correct": "bool",
        "seen": "bool",
        "width": "int32",
        "height": "int32",
        "size": "int64",
        "modified": "timestamp[us, tz=UTC]",
        "error": "string",
        "model": "string",
    }
    assert schema(probabilities=True).field("probabilities").type == pa.list_(pa.float32())


@pytest.mark.parametrize("probabilities", [False, True])
def test_every_part_has_the_schema_though_all_its_rows_failed(tmp_path: Path, probabilities: bool) -> None:
    parts = {0: SCORED, 1: FAILED, 2: UNLABELLED}
    uri = published(tmp_path / "out", parts, probabilities=probabilities)
    wanted = schema(probabilities=probabilities)
    for part in sorted(uri.glob("*.parquet")):
        assert pq.read_schema(part).remove_metadata().equals(wanted)


@pytest.mark.parametrize("probabilities", [False, True])
def test_pyarrow_reads_the_rows_back(tmp_path: Path, probabilities: bool) -> None:
    uri = published(tmp_path / "out", {0: SCORED, 1: FAILED, 2: UNLABELLED}, probabilities=probabilities)
    rows = pads.dataset(uri, format="parquet").to_table().to_pylist()
    assert [r["path"] for r in rows] == [r["path"] for r in [*SCORED, *FAILED, *UNLABELLED]]
    assert [r["error"] for r in rows] == ["", "", "", "empty file", "damaged: x", "empty file", "", ""]
    assert [r["correct"] for r in rows] == [True, False, None, None, None, None, None, None]
    assert rows[3]["prediction"] is None and rows[3]["probability"] is None and rows[3]["top_k"] is None
    assert [choice["label"] for choice in rows[0]["top_k"]] == ["CORAL OWL", "ATLAS FINCH"]
    assert rows[0]["top_k"][0]["probability"] == np.float32(0.7)
    assert ("probabilities" in rows[0]) is probabilities
    if probabilities:
        assert rows[2]["probabilities"] == [np.float32(x) for x in (0.1, 0.3, 0.6)]
        assert rows[3]["probabilities"] is None


@pytest.mark.parametrize("probabilities", [False, True])
def test_pandas_reads_the_folder(tmp_path: Path, probabilities: bool) -> None:
    uri = published(tmp_path / "out", {0: FAILED, 1: SCORED}, probabilities=probabilities)
    frame = pd.read_parquet(uri)
    assert len(frame) == 6 and frame.error.ne("").sum() == 3
    assert frame[frame.error == ""].probability.min() == np.float32(0.5)
    assert frame[frame.correct.notna()].correct.mean() == 0.5
    assert frame.width.dtype == np.int32 and list(frame.model.unique()) == [DIGEST]


@pytest.mark.parametrize("probabilities", [False, True])
def test_duckdb_reads_the_folder(tmp_path: Path, probabilities: bool) -> None:
    uri = published(tmp_path / "out", {0: FAILED, 1: SCORED}, probabilities=probabilities)
    with duckdb.connect() as connection:
        asked = f"from '{uri}/*.parquet'"
        counts = connection.execute(f"select error, count(*) {asked} group by error order by error").fetchall()
        assert counts == [("", 3), ("damaged: x", 1), ("empty file", 2)]
        best = connection.execute(
            f"select top_k[1].label {asked} where label = 'CORAL OWL' and error = ''"
        ).fetchall()
        assert best == [("CORAL OWL",)]


def test_an_output_is_in_place_only_when_published(tmp_path: Path) -> None:
    made = output(tmp_path / "new/out", {0: SCORED, 12: FAILED})
    assert not made.exists() and not (tmp_path / "new/out").exists()
    assert list(made.parts()) == [0, 12]
    storage.write_json(storage.join(made.staging, JOB), {})
    made.publish({"files": 6, "ignored": [{"path": "ü"}]})
    assert made.exists() and not Path(made.staging).exists()
    names = {path.name for path in (tmp_path / "new/out").iterdir()}
    assert names == {"part-000000.parquet", "part-000012.parquet", "_manifest.json", "_SUCCESS"}
    manifest = json.loads((tmp_path / "new/out/_manifest.json").read_text(encoding="utf-8"))
    assert manifest == {"files": 6, "ignored": [{"path": "ü"}]}


def test_an_existing_output_is_replaced_whole(tmp_path: Path) -> None:
    uri = published(tmp_path / "out", {0: FAILED, 1: FAILED, 2: FAILED})
    again = output(uri, {0: SCORED})
    assert again.exists() and len(pd.read_parquet(uri)) == 9  # still the old one
    again.publish({})
    assert len(pd.read_parquet(uri)) == 3 and (uri / "_SUCCESS").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_leftovers_of_a_killed_replacement_are_cleared(tmp_path: Path) -> None:
    published(tmp_path / "out.old", {0: FAILED})
    uri = published(published(tmp_path / "out", {0: FAILED}), {0: SCORED})
    assert len(pd.read_parquet(uri)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_worker_left_half_written_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` between writing a part's bytes and giving it its name; another process writes it again."""
    made = output(tmp_path / "out", {0: SCORED})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", _killed)
        made.write_part(1, FAILED, schema())
    assert list(made.parts()) == [0]
    monkeypatch.setattr("os.getpid", lambda: 1)
    made.write_part(1, FAILED, schema())
    made.publish({})
    assert len(pd.read_parquet(tmp_path / "out")) == 6
    assert pads.dataset(tmp_path / "out", format="parquet").count_rows() == 6


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_while_writing_is_a_clear_error(tmp_path: Path) -> None:
    uri = published(tmp_path / "out", {0: SCORED})
    again = output(uri, {0: FAILED})
    with file_limit(100), pytest.raises(OutputError, match="cannot write predictions") as error:
        again.write_part(1, FAILED, schema())
    assert "\n" not in str(error.value) and "--resume" in str(error.value)
    assert list(again.parts()) == [0] and len(pd.read_parquet(uri)) == 3


def test_a_full_disk_while_publishing_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    """--resume needs the job's note to resume the parts that are there."""
    uri = published(tmp_path / "out", {0: SCORED})
    again = output(uri, {0: FAILED, 1: FAILED})
    storage.write_json(storage.join(again.staging, JOB), {"images": ["x" * 200]})
    with file_limit(100), pytest.raises(OutputError):
        again.publish({"failures": "x" * 200})
    assert len(pd.read_parquet(uri)) == 3
    assert list(again.parts()) == [0, 1] and storage.exists(storage.join(again.staging, JOB))
