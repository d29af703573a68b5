"""Exports of finished predictions: what other programs read of them, a row or an image for each file."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pytest

import ray_birds
from ray_birds.cli import main
from ray_birds.core.errors import DataError, OutputError, SettingsError
from ray_birds.prediction.formats import spreadsheet
from ray_birds.prediction.formats.kinds import kind
from ray_birds.prediction.formats.rows import Finished
from ray_birds.prediction.output import Output, schema
from tests.prediction.formats import camtrap
from tests.prediction.test_output import row

ROOTS = {"birds": "/data/birds", "more/new": "/data/more/new"}
COLUMNS = schema(probabilities=True, metadata=True, sequences=True).append(pa.field("accepted", pa.bool_()))


def photo(path: str, scores: tuple[float, ...] | None = (0.7, 0.2, 0.1), **more: Any) -> dict[str, Any]:
    made = row(path, scores, error="" if scores else "damaged: x") | {"size": 10, "seen": False}
    facts = {"taken": datetime(2024, 5, 1, 6, 7, 8), "latitude": -33.5, "longitude": 151.25, "camera": "HP2X"}
    return made | facts | {"modified": datetime(2024, 5, 2, tzinfo=UTC)} | more


ROWS = [
    photo("a/1.jpg", taken_offset=600, sequence=1, label="CORAL OWL", correct=False),
    photo("a/=cmd|' C'!A0.jpg", (0.1, 0.3, 0.6), camera="=1+1", accepted=False),
    photo("a/2.jpg", None, taken=None, latitude=None, longitude=None, camera=None),
    photo("b/鶯 é..x.JPG", (0.2, 0.2, 0.6), camera='say "x", ü'),
    photo("~c/1.webp", (0.0, 1.0, 0.0), input="more/new"),
]
FILES = [f"birds/{one['path']}" for one in ROWS[:4]] + ["more/new/~c/1.webp"]


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return published(tmp_path / "predictions", ROWS)


def published(
    uri: Path, rows: list[dict[str, Any]], columns: pa.Schema = COLUMNS, more: dict[str, Any] | None = None
) -> Path:
    output = Output(str(uri))
    for number, start in enumerate(range(0, len(rows), 2)):
        output.write_part(number, rows[start : start + 2], columns)
    manifest: dict[str, Any] = {"rows": len(rows), "roots": ROOTS, "schema": dict.fromkeys(columns.names, "")}
    manifest |= {"model": {"trial": "plain", "digest": "0f"}, "finished": "2026-11-28T12:00:00+00:00"}
    output.publish(manifest | (more or {}))
    return uri


def export(predictions: Path, name: str, form: str, **more: Any) -> Path:
    output = predictions.parent / name
    assert ray_birds.export(predictions=predictions, format=form, output=output, **more) == str(output)
    assert {path.name for path in predictions.parent.iterdir()} >= {"predictions", name}
    return output


# ---- tables


def same_rows(table: pd.DataFrame) -> None:
    """The table has the rows that were written, the classes of top_k in columns."""
    assert len(table) == len(ROWS) and "probabilities" not in table
    assert list(table.columns[:9]) == [
        *("input", "path", "label", "prediction", "probability", "top_1", "top_1_probability", "top_2"),
        "top_2_probability",
    ]
    assert table["top_1"].equals(table["prediction"]) and table["top_1_probability"].equals(table["probability"])
    assert table["probability"].tolist()[:2] == [0.7, 0.6] and np.isnan(table["probability"][2])
    assert table["error"].fillna("").tolist() == [one["error"] for one in ROWS]
    assert pd.to_datetime(table["taken"])[0] == ROWS[0]["taken"] and pd.isna(table["taken"][2])
    assert table["latitude"][0] == -33.5 and table["correct"].tolist()[0] in (False, "False")


def test_csv_that_pandas_and_a_spreadsheet_read(predictions: Path) -> None:
    path = export(predictions, "rows.csv", "csv")
    data = path.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    table = pd.read_csv(path)
    same_rows(table)
    assert table["path"].tolist() == [one["path"] for one in ROWS]
    assert table["camera"].tolist()[1] == "'=1+1" and table["camera"][3] == 'say "x", ü'
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert not [cell for line in csv.reader(file) for cell in line if cell.startswith(("=", "+", "@"))]


def test_a_workbook_that_excels_reader_opens(predictions: Path) -> None:
    path = export(predictions, "rows.xlsx", "xlsx")
    same_rows(pd.read_excel(path))
    sheet = openpyxl.load_workbook(path).active
    assert sheet is not None and sheet.freeze_panes == "A2" and sheet.max_row == len(ROWS) + 1
    cells = [cell for line in sheet.iter_rows(min_row=2) for cell in line]
    assert not [cell for cell in cells if cell.data_type == "f"] and "=1+1" in [cell.value for cell in cells]
    assert datetime(2024, 5, 2) in [cell.value for cell in cells]


def test_more_rows_than_a_sheet_has(tmp_path: Path) -> None:
    many = published(tmp_path / "predictions", ROWS, more={"rows": 1_048_576})
    with pytest.raises(SettingsError, match=r"1,048,575 rows .* use --format csv") as error:
        export(many, "rows.xlsx", "xlsx")
    assert "\n" not in str(error.value) and not (tmp_path / "rows.xlsx").exists()
    spreadsheet.check_xlsx(Finished(Output(""), {"rows": 1_048_575}))


def test_without_openpyxl(predictions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'ray-birds\[xlsx\]'"):
        export(predictions, "rows.xlsx", "xlsx")


# ---- MegaDetector's format


def test_megadetectors_format(predictions: Path) -> None:
    """By https://lila.science/megadetector-output-format: fields, kinds of values, order."""
    made = json.loads(export(predictions, "rows.json", "megadetector-json").read_text(encoding="utf-8"))
    assert set(made) == {"info", "detection_categories", "classification_categories", "images"}
    assert made["info"]["format_version"] == "1.4" and "0f" in made["info"]["classifier"]
    assert made["info"]["classification_completion_time"] == "2026-11-28 12:00:00"
    assert made["detection_categories"] == {"1": "animal", "2": "person", "3": "vehicle"}
    classes = made["classification_categories"]
    assert all(number.isdecimal() for number in classes)
    assert [image["file"] for image in made["images"]] == FILES
    for image, one in zip(made["images"], ROWS, strict=True):
        if one["error"]:
            assert image["failure"] == "damaged: x" and image["detections"] is None
            continue
        (detection,) = image["detections"]
        assert "failure" not in image and set(detection) == {"category", "conf", "bbox", "classifications"}
        assert detection["category"] == "1" and detection["bbox"] == [0, 0, 1, 1]
        found = [(classes[number], score) for number, score in detection["classifications"]]
        assert found == [(choice["label"], choice["probability"]) for choice in one["top_k"]]
        assert detection["conf"] == found[0][1] and found == sorted(found, key=lambda pair: -pair[1])


@pytest.mark.parametrize(("answer", "threshold"), [({}, 0.0), ({"answer": {"threshold": 0.6}}, 0.6)])
def test_what_timelapse_reads_of_a_classifier(tmp_path: Path, answer: dict[str, Any], threshold: float) -> None:
    """It takes `typical_classification_threshold` without asking whether `classifier_metadata` is there.

    (Timelapse/Recognition/RecognitionDatabases.cs of https://github.com/saulgreenberg/Timelapse, PopulateTables.)
    """
    rows = published(tmp_path / "predictions", ROWS, more=answer)
    info = json.loads(export(rows, "rows.json", "megadetector-json").read_text(encoding="utf-8"))["info"]
    assert info["classifier_metadata"] == {"typical_classification_threshold": threshold}
    assert set(info["detector_metadata"]) == {
        *("megadetector_version", "typical_detection_threshold", "conservative_detection_threshold"),
    }


def test_classes_that_are_no_animals() -> None:
    named = {
        "Empty": "blank",
        "no_animal": "blank",
        "PERSON": "human",
        "vehicle": "vehicle",
        "HUMAN OWL": "animal",
    }
    assert {name: kind(name) for name in named} == named


# ---- Camtrap DP


def test_a_camera_trap_data_package(predictions: Path) -> None:
    places = predictions.parent / "places.csv"
    places.write_text("folder,latitude,longitude\nbirds/b,52.5,13.25\nelsewhere,0,0\n")
    made = export(predictions, "package", "camtrap-dp", utc_offset="-03:30", deployments=str(places))
    tables = camtrap.valid(made)
    assert list(tables["deployments"]["deploymentID"]) == ["birds/a", "birds/b", "more/new/~c"]
    assert tables["deployments"]["latitude"].tolist() == [-33.5, 52.5, -33.5]
    assert tables["deployments"]["timestampIssues"].tolist() == [True, False, False]
    assert tables["deployments"]["cameraModel"].fillna("").tolist() == ["", 'say "x", ü', "HP2X"]
    media, observations = tables["media"], tables["observations"]
    assert media["mediaID"].tolist() == observations["mediaID"].tolist() == FILES
    assert media["filePath"].tolist() == [*FILES[:3], "birds/b/鶯 é.%2Ex.JPG", FILES[4]]
    assert media["timestamp"].tolist()[:2] == ["2024-05-01T06:07:08+10:00", "2024-05-01T06:07:08-03:30"]
    assert media["timestamp"][2] == tables["deployments"]["deploymentStart"][0] == media["timestamp"][0]
    assert media["mediaComments"][2].startswith("failure: damaged: x; time unknown")
    assert media["fileMediatype"].tolist() == ["image/jpeg"] * 4 + ["image/webp"]
    types = ["animal", "unknown", "unclassified", "animal", "animal"]
    assert observations["observationType"].tolist() == types
    names = ["ATLAS FINCH", "", "", "MOSS TERN", "CORAL OWL"]
    assert observations["scientificName"].fillna("").tolist() == names
    assert observations["classificationProbability"].fillna(0).tolist() == [0.7, 0.6, 0, 0.6, 1]
    assert observations["eventID"].fillna(0).tolist() == [1, 0, 0, 0, 0]
    about = json.loads((made / "datapackage.json").read_text(encoding="utf-8"))
    assert about["spatial"]["coordinates"][0][0] == [13.25, -33.5] and about["temporal"]["start"] == "2024-05-01"
    assert [taxon["scientificName"] for taxon in about["taxonomic"]] == ["ATLAS FINCH", "CORAL OWL", "MOSS TERN"]


def test_the_validation_finds_what_is_wrong(predictions: Path) -> None:
    made = export(predictions, "package", "camtrap-dp", utc_offset="+00:00")
    table = made / "observations.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",animal,", ",bird,", 1), encoding="utf-8")
    with pytest.raises(AssertionError, match="Constraint"):
        camtrap.valid(made)


def test_what_a_package_lacks_is_said(predictions: Path, tmp_path: Path) -> None:
    def refused(
        uri: Path, words: str, kind: type[Exception] = DataError, zone: str = "", places: str = ""
    ) -> None:
        with pytest.raises(kind, match=words) as error:
            export(uri, "package", "camtrap-dp", utc_offset=zone, deployments=places)
        assert "\n" not in str(error.value) and not (uri.parent / "package").exists()

    refused(predictions, "3 photographs, such as birds/a/=cmd.* give --utc-offset")
    refused(predictions, "expected one such as", SettingsError, "CET")
    utc = "+00:00"
    nowhere = [one | {"latitude": None, "longitude": None} for one in ROWS]
    (tmp_path / "x").mkdir()
    refused(
        published(tmp_path / "x/predictions", nowhere), "3 folders, such as birds/a, have no known place", zone=utc
    )
    timeless = [one | {"taken": None} for one in ROWS]
    (tmp_path / "y").mkdir()
    refused(published(tmp_path / "y/predictions", timeless), "folders, such as birds/a, hold no photograph whose")
    (tmp_path / "z").mkdir()
    refused(published(tmp_path / "z/predictions", ROWS, schema()), "predict with --metadata")
    for text, words in (
        ("a,b\n1,2\n", "columns folder"),
        ("folder,latitude,longitude\na,91,0\n", "expected degrees"),
    ):
        (tmp_path / "places.csv").write_text(text)
        refused(predictions, words, places=str(tmp_path / "places.csv"), zone=utc)
    refused(predictions, "cannot be read", places=str(tmp_path / "none.csv"), zone=utc)


# ---- the command, and what is refused


def test_the_command(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = predictions.parent / "rows.csv"
    main("export", ["--predictions", str(predictions), "--format", "csv", "--output", str(path)])
    assert f"written      {path}" in capsys.readouterr().out
    same_rows(pd.read_csv(path))


def test_one_input_alone_gives_its_paths(tmp_path: Path) -> None:
    single = published(tmp_path / "predictions", ROWS[:4], more={"roots": {"birds": "/data/birds"}})
    made = json.loads(export(single, "rows.json", "megadetector-json").read_text(encoding="utf-8"))
    assert [image["file"] for image in made["images"]] == [one["path"] for one in ROWS[:4]]


def test_what_cannot_be_exported(predictions: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished predictions there"):
        export(tmp_path, "rows.csv", "csv")
    (tmp_path / "rows.csv").touch()
    with pytest.raises(OutputError, match="exists"):
        export(predictions, "rows.csv", "csv")
    with pytest.raises(SettingsError, match="local disk"):
        ray_birds.export(predictions=predictions, format="csv", output="gs://bucket/rows.csv")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either --model BUNDLE or --predictions FOLDER"),
        ({"model": "m", "predictions": "p"}, "either --model BUNDLE or --predictions FOLDER"),
        ({"model": "m"}, "--format csv: expected one of --model: saved_model, onnx, litert, openvino, zip"),
        ({"predictions": "p", "format": "zip"}, "--format zip: expected one of --predictions: csv, xlsx"),
        ({"predictions": "p", "output": "rows"}, "ends in .csv"),
        ({"predictions": "p", "images": "i"}, "--images is for --model"),
        ({"predictions": "p", "license": "mit"}, "--license is for --format huggingface"),
        ({"predictions": "p", "utc_offset": "+01:00"}, "--utc-offset is for --format camtrap-dp"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as error:
        ray_birds.export(**{"format": "csv", "output": "rows.csv"} | options)
    assert words in str(error.value)
