"""Batch prediction through its real parts: every file one row, whatever it is and whoever is killed on the way."""

import dataclasses
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd
import psutil
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from numpy.typing import ArrayLike
from PIL import Image

from ray_birds import load
from ray_birds.config import PredictConfig
from ray_birds.core import cluster, storage
from ray_birds.core.errors import DataError, ModelError, OutputError, SettingsError
from ray_birds.data import formats
from ray_birds.prediction import inputs, listing
from ray_birds.prediction.listing import File
from ray_birds.prediction.output import FILES, JOB, SUCCESS, Output, checked, schema
from ray_birds.prediction.result import show
from ray_birds.prediction.run import _is_local, _with_gpus, predict
from tests.conftest import CLASSES, REPOSITORY, encode, own_s3, small_disk

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

LINKS = 560  # with the others, files for ten units


def striped(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """An image whose pixels are not all the same."""
    ramp = np.add.outer(np.arange(height), np.arange(width)) * 7 % 256
    return Image.fromarray(np.dstack([ramp, ramp[::-1], 255 - ramp]).astype(np.uint8)).convert(mode)


def chunk(data: bytes) -> bytes:
    """A chunk of a PNG: name and content, with length and checksum around them."""
    return struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


def odd_files(photo: bytes) -> dict[str, tuple[bytes, str]]:
    """Name -> content, and the words a row's error begins with ("" where the image can be had)."""
    still = striped(48, 40)
    deep = Image.fromarray((np.arange(48 * 40).reshape(40, 48) * 30).astype(np.uint16))
    exif = photo[:2] + b"\xff\xe1\x00\x20Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(14) + photo[2:]
    huge = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT")
    )
    return {
        "truncated.jpg": (photo[: len(photo) // 2], "damaged"),
        "zero.jpg": (b"", "empty file"),
        "a text.jpg": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "not a JPEG"),
        "animated.gif": (encode(still, "GIF", save_all=True, append_images=[striped(48, 40)]), ""),
        "1x1.png": (encode(striped(1, 1), "PNG"), ""),
        "20000x1.png": (encode(striped(20000, 1), "PNG"), ""),
        "16-bit.png": (encode(deep, "PNG"), ""),
        "corrupt exif.jpg": (exif, ""),
        "60000x60000.png": (huge, "too large"),
        "UPPER CASE.JPG": (photo, ""),
        "no ending": (photo, ""),
        "St. Louis": (photo, ""),
        "鶯 é ñ 🐦.jpeg": (photo, ""),
        "#1? c%20d.jpg": (photo, ""),
        'it\'s "quoted".webp': (encode(still, "WEBP"), ""),
    }


@pytest.fixture(scope="module")
def folder(birds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What nobody has looked at: labelled birds, odd files, things that are no files, and many links."""
    root = tmp_path_factory.mktemp("unseen") / "unseen birds"
    shutil.copytree(birds / "test", root / "labelled")
    photo = (birds / "test/CORAL OWL/1.jpg").read_bytes()
    (root / "odd").mkdir()
    for name, (data, _) in odd_files(photo).items():
        (root / "odd" / name).write_bytes(data)
    (root / "odd/x.jpg").mkdir()
    (root / "odd/loop").symlink_to(root, target_is_directory=True)
    (root / "odd/itself.jpg").symlink_to(root / "odd/itself.jpg")
    (root / "odd/gone.jpg").symlink_to(root / "odd/never there")
    (root / "odd/README").write_text("no image")
    os.mkfifo(root / "odd/pipe.jpg")
    (root / "many").mkdir()
    sources = sorted((birds / "train").rglob("*.jpg"))
    for number in range(LINKS):
        (root / f"many/{number:04}.jpg").symlink_to(sources[number % len(sources)])
    return root


@pytest.fixture(scope="module")
def settings(bundles: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PredictConfig:
    output = tmp_path_factory.mktemp("outputs") / "predictions"
    return PredictConfig(model=str(bundles / "bundle"), input=(str(folder),), output=str(output), engine="ray")


@pytest.fixture(scope="module")
def scored(settings: PredictConfig, local_ray: None) -> Path:
    """The predictions of one undisturbed run."""
    predict(settings)
    return Path(settings.output)


def same_numbers(first: ArrayLike, second: ArrayLike) -> bool:
    """Equal but for the last digits: an image's place in its batch decides how TensorFlow adds its numbers up."""
    return np.allclose(first, second, rtol=0, atol=1e-6)


def read(output: Path | str) -> pd.DataFrame:
    return pd.read_parquet(output).sort_values(["input", "path"], ignore_index=True)


def manifest(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / "_manifest.json").read_text(encoding="utf-8")))


@pytest.fixture(autouse=True)
def actors_end_with_their_job() -> Iterator[None]:
    """A job that failed gives its CPUs back, or the next one in this process would wait for them."""
    yield
    wait_for(lambda: not scorers(os.getpid()), 60)


# ---- what is written


def test_every_file_is_one_row(scored: Path, folder: Path, birds: Path) -> None:
    rows = read(scored)
    odd = odd_files((birds / "test/CORAL OWL/1.jpg").read_bytes())
    paths = {*(f"odd/{name}" for name in odd), "odd/gone.jpg", *(f"many/{n:04}.jpg" for n in range(LINKS))}
    paths |= {f"labelled/{name}/{number}.jpg" for name in CLASSES for number in (1, 2)}
    assert len(rows) == len(paths) and set(rows["path"]) == paths
    assert set(rows["input"]) == {str(folder)} and rows["model"].nunique() == 1
    by_path = rows.set_index("path")
    for name, (_, reason) in odd.items():
        row = by_path.loc[f"odd/{name}"]
        assert row["error"].startswith(reason) and bool(row["error"]) == bool(reason), (name, row["error"])
        assert pd.isna(row["prediction"]) == bool(reason) and "\n" not in row["error"]
    assert by_path.loc["odd/gone.jpg", "error"] == "file has vanished"
    assert tuple(by_path.loc["odd/20000x1.png", ["width", "height"]]) == (20000, 1)
    same = by_path.loc[["odd/UPPER CASE.JPG", "odd/no ending", "odd/鶯 é ñ 🐦.jpeg", "labelled/CORAL OWL/1.jpg"]]
    assert same["prediction"].nunique() == 1 and same_numbers(same["probability"].min(), same["probability"].max())


def test_rows_tell_what_was_seen(scored: Path) -> None:
    rows = read(scored)
    good = rows[rows["error"] == ""]
    assert good["probability"].between(1 / 3, 1).all() and good["probability"].nunique() > 5
    top = good["top_k"].map(lambda choices: [choice["label"] for choice in choices])
    assert (top.str.len() == 3).all() and (top.str[0] == good["prediction"]).all()
    totals = good["top_k"].map(lambda choices: sum(choice["probability"] for choice in choices))
    np.testing.assert_allclose(totals.astype(float), 1, atol=1e-5)
    labelled = rows[rows["label"].notna()]
    assert set(labelled["path"].str.split("/").str[1]) == set(CLASSES) and len(labelled) == 6
    assert (labelled["correct"] == (labelled["label"] == labelled["prediction"])).all()
    assert rows.loc[rows["label"].isna(), "correct"].isna().all()


def test_rows_tell_which_files_the_model_has_seen(scored: Path, bundles: Path, folder: Path) -> None:
    rows = read(scored)
    many = rows["path"].str.startswith("many/")  # links to training images
    assert rows.loc[many, "seen"].eq(True).all() and rows.loc[~many & rows["width"].gt(0), "seen"].eq(False).all()
    assert rows.loc[rows["error"].eq("file has vanished"), "seen"].isna().all()
    assert manifest(scored)["seen"] == LINKS
    single = load(str(bundles / "bundle")).predict([folder / "labelled", folder / "many/0003.jpg"])
    assert single["seen"].tolist() == [False] * 6 + [True]


def test_test_time_augmentation_is_told_and_gives_the_rows_of_one_photo(
    bundles: Path, folder: Path, tmp_path: Path, local_ray: None
) -> None:
    model, output = bundles / "bundle", tmp_path / "out"
    config = PredictConfig(model=str(model), input=(str(folder / "labelled"),), output=str(output), tta="flip")
    predict(config)
    rows, wanted = read(output), load(model, "flip").predict(folder / "labelled")
    assert rows["prediction"].tolist() == wanted["prediction"].tolist()
    np.testing.assert_allclose(rows["probability"], wanted["probability"], atol=1e-6)
    assert np.abs(rows["probability"] - load(model).predict(folder / "labelled")["probability"]).max() > 1e-4
    assert manifest(output)["settings"]["tta"] == "flip"
    assert "With test-time augmentation" in (output / "_report.html").read_text(encoding="utf-8")
    with pytest.raises(OutputError, match=r"had another --tta \(flip, not none\)"):
        predict(config.replace(tta="none", resume=True))


def test_the_manifest_accounts_for_everything(scored: Path, settings: PredictConfig, folder: Path) -> None:
    found = manifest(scored)
    assert found["files"] == found["rows"] == len(read(scored)) and found["failed"] == 5
    assert found["failures"] == {
        "damaged": 1,
        "empty file": 1,
        f"not a {formats.READ_TEXT} image": 1,
        "too large": 1,
        "file has vanished": 1,
    }
    ignored = {Path(one["path"]).relative_to(folder): one["reason"] for one in found["ignored"]}
    assert {str(path) for path in ignored} == {
        "odd/README",
        "odd/loop",
        "odd/x.jpg",
        "odd/itself.jpg",
        "odd/pipe.jpg",
    }
    assert all(ignored.values())
    assert PredictConfig.from_json(json.dumps(found["settings"])) == settings
    assert found["model"]["digest"] == read(scored)["model"][0] and found["versions"]["keras"]
    assert found["schema"]["top_k"] == "list<item: struct<label: string, probability: float>>"
    assert found["started"] <= found["finished"] and found["seconds"] > 0 and found["images_per_second"] > 0
    assert f"{found['rows'] - 5} of {found['rows']} files scored" in (scored / "_report.html").read_text()
    assert (scored / SUCCESS).exists() and not (scored / JOB).exists() and not Path(f"{scored}.partial").exists()


def test_the_evaluation_is_of_the_labelled_rows(scored: Path) -> None:
    rows = read(scored)
    scores = json.loads((scored / "_evaluation/metrics.json").read_text())
    assert scores["images"] == 6 and scores["top_3"]["value"] == 1
    assert scores["accuracy"]["value"] == pytest.approx(rows["correct"].dropna().astype(float).mean())
    assert scores["accuracy"]["low"] <= scores["accuracy"]["value"] <= scores["accuracy"]["high"]
    table = pd.read_csv(scored / "_evaluation/per_class.csv")
    assert table["class"].tolist() == list(CLASSES) and table["support"].tolist() == [2, 2, 2]


def test_duckdb_and_pyarrow_read_what_pandas_reads(scored: Path) -> None:
    rows = read(scored)
    assert pads.dataset(scored, format="parquet").to_table().num_rows == len(rows)
    query = f"select error, count(*) from '{scored}/*.parquet' group by error"
    assert dict(duckdb.execute(query).fetchall()) == rows["error"].value_counts().to_dict()
    query = f"select top_k[1].label = prediction from '{scored}/*.parquet' where error = ''"
    assert set(duckdb.execute(query).fetchall()) == {(True,)}


def test_a_job_says_what_is_accepted_unknown_and_what_it_is_called(
    settings: PredictConfig, folder: Path, tmp_path: Path
) -> None:
    """And a photo by itself gets the same answer."""
    (tmp_path / "ranks.csv").write_text("class,kind\n" + "".join(f"{name},bird\n" for name in CLASSES))
    (tmp_path / "list.txt").write_text("\n".join(CLASSES[:2]))
    asked = settings.replace(
        input=(str(folder / "labelled"), str(folder / "odd/zero.jpg"), str(folder / "many/0000.jpg")),
        output=str(tmp_path / "out"),
        threshold=0.55,
        reject_unknown=98.0,
        taxonomy=str(tmp_path / "ranks.csv"),
        only_classes=str(tmp_path / "list.txt"),
        probabilities=True,
    )
    done = predict(asked)
    rows = read(tmp_path / "out")
    good = rows[rows["error"] == ""]
    assert len(good) == 7 and not rows.loc[rows["error"] != "", "accepted"].any()
    accepted = (good["probability"] >= 0.55) & (good["ood_score"] <= 98)
    assert good["accepted"].tolist() == accepted.tolist() and good["ood_score"].between(1, 100).all()
    everything = np.stack(good["probabilities"].tolist())
    np.testing.assert_allclose(everything[:, :2].sum(axis=1), 1, rtol=1e-5)
    assert (everything[:, 2] == 0).all() and (good["top_k"].str.len() == 2).all()
    called = np.where(good["probability"] >= 0.55, good["prediction"], "bird")
    assert good["taxon"].tolist() == called.tolist() and set(good["rank"]) <= {"class", "kind"}
    found = manifest(tmp_path / "out")["answer"]
    assert found["accepted"] == accepted.sum() and found["only_classes"] == list(CLASSES[:2])
    new = good[accepted & ~good["seen"].astype(bool)]
    assert found["labelled"] == len(new)
    assert f"{accepted.sum()} of 7 predictions are accepted" in done.answer
    photo = str(folder / "labelled/MOSS TERN/1.jpg")
    table = predict(asked.replace(input=(photo,), output="", probabilities=False)).table
    assert table is not None
    among, (alone,) = good.set_index("path").loc["MOSS TERN/1.jpg"], table.to_pylist()
    assert {name: alone[name] for name in ("accepted", "taxon", "rank", "prediction")} == {
        name: among[name] for name in ("accepted", "taxon", "rank", "prediction")
    }
    assert same_numbers(alone["ood_score"], among["ood_score"])


def test_this_process_writes_what_the_workers_of_ray_write(
    scored: Path, settings: PredictConfig, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    predict(settings.replace(output=str(here), engine="local"))
    pd.testing.assert_frame_equal(read(here), read(scored), check_exact=True)
    assert sorted(path.name for path in here.iterdir()) == sorted(path.name for path in scored.iterdir())
    times = {"started", "finished", "seconds", "images_per_second", "settings"}
    ours, theirs = ({k: v for k, v in manifest(one).items() if k not in times} for one in (here, scored))
    assert ours == theirs


def test_a_table_of_labels_gives_the_rows_and_what_they_are_scored_against(
    settings: PredictConfig, folder: Path, birds: Path, tmp_path: Path
) -> None:
    """The same numbers as folders give; a corrected label scores its row again with --update."""
    table, here = tmp_path / "labels.csv", tmp_path / "here"
    shutil.copytree(birds / "test", here)
    rows = [(f"{name}/{number}.jpg", name) for name in CLASSES for number in (1, 2)]
    lines = [f"{path},{name}" for path, name in rows]
    table.write_text("\n".join(["file,species", *lines[:4], f"{rows[4][0]},", f"{rows[5][0]},human"]))
    asked = settings.replace(input=(str(here),), output=str(tmp_path / "out"), engine="local")
    asked = asked.replace(labels=str(table), columns=("path=file", "label=species"))
    done = predict(asked)
    found = read(tmp_path / "out")
    assert found["path"].tolist() == [path for path, _ in rows]
    assert found["label"].fillna("").tolist() == [name for _, name in rows[:4]] + ["", ""]
    assert done.evaluation is not None and done.evaluation.images == 4
    one, other = done.manifest["notes"]
    assert one.endswith("have no label") and "line 7: 'human'" in other
    predict(asked.replace(labels="", columns=(), output=str(tmp_path / "folders")))
    by_folder = read(tmp_path / "folders")
    assert by_folder["label"].tolist() == [name for _, name in rows]
    same = ["path", "prediction", "probability", "size", "modified", "error"]
    pd.testing.assert_frame_equal(found[same], by_folder[same], check_exact=True)
    table.write_text("\n".join(["file,species", *lines]))
    again = predict(asked.replace(update=True))
    assert again.manifest["update"] == {"kept": 4, "new": 0, "changed": 2, "vanished": 0}
    assert read(tmp_path / "out")["label"].tolist() == [name for _, name in rows]
    with pytest.raises(OutputError, match=r"another --labels"):
        predict(asked.replace(labels="", columns=(), update=True))


@pytest.mark.parametrize(
    ("images", "given", "running", "local"),
    [
        (4096, {}, False, True),
        (4097, {}, False, False),
        (1, {}, True, False),
        (1, {"gpus": 0}, False, False),
        (1, {"engine": "ray"}, False, False),
        (10**7, {"engine": "local"}, True, True),
    ],
)
def test_the_engine_is_chosen_by_what_there_is(
    settings: PredictConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    images: int,
    given: dict[str, Any],
    running: bool,
    local: bool,
) -> None:
    monkeypatch.setattr(cluster, "is_running", lambda: running)
    config = settings.replace(**({"engine": "auto"} | given))
    assert _is_local(config, images) is local
    said = "Scoring in this process, for 4,096 images and no Ray that runs; --engine ray starts one\n"
    assert capsys.readouterr().out == (said if local and config.engine == "auto" else "")


@pytest.mark.slow
def test_a_photo_by_itself_with_everything_and_one_that_vanishes(
    scored: Path, settings: PredictConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, an image gets the numbers that it got among others; a file may go between listing and reading."""
    photo, other, output = folder / "labelled/MOSS TERN/1.jpg", tmp_path / "other.jpg", tmp_path / "out"
    shutil.copy(photo, other)
    find = inputs.find

    def find_and_delete(given: tuple[str, ...]) -> inputs.Found:
        found = find(given)
        other.unlink()
        return found

    monkeypatch.setattr(inputs, "find", find_and_delete)
    changed = settings.replace(input=(str(photo), str(other)), output=str(output), top_k=2)
    predict(changed.replace(probabilities=True, embeddings=True))
    rows = pd.read_parquet(output)
    assert rows["path"].tolist() == ["1.jpg", "other.jpg"] and rows["input"].tolist() == [str(photo), str(other)]
    assert rows["error"].tolist() == ["", "file has vanished"] and rows["label"].fillna("").tolist() == [
        "MOSS TERN",
        "",
    ]
    among = read(scored).set_index("path").loc["labelled/MOSS TERN/1.jpg"]
    alone = rows.iloc[0]
    assert alone["prediction"] == among["prediction"] and same_numbers(alone["probability"], among["probability"])
    assert len(alone["top_k"]) == 2 and alone["top_k"][0]["probability"] == alone["probability"]
    assert len(alone["probabilities"]) == 3 and max(alone["probabilities"]) == alone["probability"]
    assert len(alone["embeddings"]) == 1280 and 0.1 < np.std(alone["embeddings"]) < 10
    assert rows.loc[1, ["embeddings", "probabilities", "top_k"]].isna().all()


@pytest.mark.slow
def test_nothing_that_can_be_decoded(settings: PredictConfig, local_ray: None, tmp_path: Path) -> None:
    for number in range(70):
        (tmp_path / f"{number:02}.jpg").write_bytes(b"nothing" * number)
    output = tmp_path / "out"
    predict(settings.replace(input=(str(tmp_path),), output=str(output)))
    rows = pd.read_parquet(output)
    assert len(rows) == 70 and (rows["error"] != "").all() and rows["prediction"].isna().all()
    assert not (output / "_evaluation").exists() and manifest(output)["failed"] == 70


# ---- what is refused, before Ray starts


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray may not be used; a job that comes as far as that is stopped there, as if it had been interrupted."""
    monkeypatch.setattr(cluster, "session", _interrupted)


def _interrupted(verbose: bool) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("no_ray")
class TestRefusals:
    def refused(self, config: PredictConfig, kind: type[Exception], words: str) -> None:
        with pytest.raises(kind, match=words) as error:
            predict(config)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("name", ["model.keras", "classes.json", "variant.json"])
    def test_a_damaged_bundle(self, settings: PredictConfig, tmp_path: Path, name: str) -> None:
        uri = Path(shutil.copytree(settings.model, tmp_path / "bundle"))
        data = bytearray((uri / name).read_bytes())
        data[len(data) // 2] ^= 1
        (uri / name).write_bytes(data)
        self.refused(
            settings.replace(model=str(uri), output=str(tmp_path / "out")), ModelError, f"{name}: damaged"
        )

    def test_a_bundle_of_another_version(self, settings: PredictConfig, tmp_path: Path) -> None:
        uri = Path(shutil.copytree(settings.model, tmp_path / "bundle"))
        about = json.loads((uri / "versions.json").read_text())
        (uri / "versions.json").write_text(json.dumps(about | {"format": 99}))
        self.refused(settings.replace(model=str(uri), output=str(tmp_path / "out")), ModelError, "format 99")

    def test_no_bundle_at_all(self, settings: PredictConfig, folder: Path, tmp_path: Path) -> None:
        for uri in (tmp_path / "nothing", folder, folder / "odd/README"):
            self.refused(settings.replace(model=str(uri)), ModelError, "not a bundle")

    def test_another_digest(self, settings: PredictConfig, tmp_path: Path) -> None:
        pinned = settings.replace(model_digest="0" * 32, output=str(tmp_path / "out"))
        self.refused(pinned, ModelError, "--model-digest 0000")
        assert not list(tmp_path.iterdir())

    def test_no_image(self, settings: PredictConfig, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        output = str(tmp_path / "out")
        self.refused(
            settings.replace(input=(str(tmp_path / "empty"),), output=output), DataError, "no image found"
        )
        self.refused(settings.replace(input=(str(tmp_path / "no"),), output=output), DataError, "nothing there")
        self.refused(settings.replace(input=("s3://u:p@b/x",), output=output), Exception, "credentials")

    def test_an_output_that_is_there(self, settings: PredictConfig, scored: Path, tmp_path: Path) -> None:
        self.refused(settings, OutputError, "--overwrite")
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos/mine.jpg").touch()
        for uri in (tmp_path / "photos", tmp_path / "photos/mine.jpg"):
            self.refused(settings.replace(output=str(uri)), OutputError, "exists")
            self.refused(settings.replace(output=str(uri), overwrite=True), OutputError, "other things than pred")
        assert (tmp_path / "photos/mine.jpg").exists()

    def test_an_output_that_cannot_be_written(self, settings: PredictConfig, folder: Path) -> None:
        self.refused(settings.replace(output=str(folder / "odd/README/out")), OutputError, "cannot be written")

    def test_resuming_a_complete_output_does_nothing(self, settings: PredictConfig, scored: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in scored.iterdir()}
        predict(settings.replace(resume=True))
        assert {path: path.stat().st_mtime_ns for path in scored.iterdir()} == before
        self.refused(settings.replace(resume=True, top_k=2), OutputError, "--top-k")

    def test_an_interrupted_job_goes_on_with_the_same_settings_only(
        self, settings: PredictConfig, bundles: Path, tmp_path: Path
    ) -> None:
        first = settings.replace(output=str(tmp_path / "out"))
        with pytest.raises(KeyboardInterrupt):
            predict(first)
        self.refused(first, OutputError, "--resume continues")
        again = first.replace(resume=True)
        for changed, words in (
            (again.replace(top_k=2), r"--top-k \(5, not 2\)"),
            (again.replace(probabilities=True), "--probabilities"),
            (again.replace(batch_size=8), "--batch-size"),
            (again.replace(input=(*again.input, *again.input)), "--input"),
            (again.replace(model=str(bundles / "code")), "--model"),
        ):
            self.refused(changed, OutputError, words)
        with pytest.raises(KeyboardInterrupt):
            predict(again)
        note = Path(f"{first.output}.partial", JOB)
        old = note.read_text(encoding="utf-8").replace('"files":', '"images":')
        note.write_text(old, encoding="utf-8")
        self.refused(again, OutputError, "an older ray-birds began its job; --overwrite starts anew")


@pytest.mark.slow
def test_a_model_with_code_in_it_is_not_run(
    settings: PredictConfig, bundles: Path, local_ray: None, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"model\.keras: Keras does not open it") as error:
        predict(settings.replace(model=str(bundles / "code"), output=str(tmp_path / "out")))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


# ---- what is killed, or fails, on the way


@pytest.mark.slow
def test_a_report_that_fails_loses_nothing_and_a_single_photo_is_shown(
    settings: PredictConfig, birds: Path, local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = birds / "test/CORAL OWL/1.jpg"
    config = settings.replace(input=(str(photo),), output=str(tmp_path / "out"))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cluster, "session", _interrupted)
        predict(config)
    (tmp_path / "out.partial/_report.html").mkdir()  # where the page cannot be written then
    (tmp_path / "out.partial/_report.html/x").touch()
    show(predict(config.replace(resume=True)), config)
    said = capsys.readouterr().out
    assert said.count("warning: the predictions are complete, but their report could not be made") == 1
    (row,) = read(tmp_path / "out").to_dict("records")
    assert (tmp_path / "out" / SUCCESS).exists() and row["error"] == ""
    assert f"{photo}: " + ("right" if row["correct"] else "wrong, it is CORAL OWL") in said
    assert f"{row['prediction']}  " in said and f"{row['probability']:.1%}" in said


def command(config: PredictConfig, *more: str) -> list[str]:
    options = ["--model", config.model, "--input", *config.input, "--output", config.output]
    options += ["--engine", config.engine]
    return [sys.executable, str(REPOSITORY / "jobs/predict.py"), *options, *more]


def parts(output: str | Path) -> int:
    return len(list(Path(f"{output}.partial").glob("part-*.parquet")))


def wait_for(done: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def scorers(driver: int) -> list[psutil.Process]:
    """The processes that hold the model."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        try:
            if "Scorer" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextmanager
def in_background(work: Callable[[], None]) -> Iterator[list[BaseException]]:
    """Run `work` beside the block and wait for it; what it raises is in the list."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield raised
    finally:
        thread.join()


@pytest.mark.slow
def test_a_killed_actor_changes_nothing_and_a_replacement_is_never_mixed(
    scored: Path, settings: PredictConfig, tmp_path: Path
) -> None:
    """A job whose actor is killed replaces an output of other rows; all along, a reader sees one or the other."""
    output = tmp_path / "out"
    old = Output(str(output))
    row = {"input": "old", "path": "old.jpg", "error": "old", "model": "old"}
    old.write_part(0, [row], schema())
    old.publish({"files": 1})
    seen: set[int] = set()
    killed: list[psutil.Process] = []
    finished = threading.Event()

    def kill() -> None:
        wait_for(lambda: parts(output) >= 2)
        for process in scorers(os.getpid()):
            process.kill()
            killed.append(process)

    def watch() -> None:
        while not finished.is_set():
            try:
                if (output / SUCCESS).exists():
                    folder, rows = output.stat().st_ino, len(pd.read_parquet(output))
                    if output.stat().st_ino == folder:  # not one's list of files and the other's file of that name
                        seen.add(rows)
            except FileNotFoundError:  # between two renames there is nothing to read
                pass
            time.sleep(0.005)

    with in_background(kill) as first, in_background(watch) as second:
        try:
            predict(settings.replace(output=str(output), overwrite=True))
        finally:
            finished.set()
    assert not first and not second and len(killed) == 1
    assert seen <= {1, len(read(scored))} and 1 in seen
    pd.testing.assert_frame_equal(read(output), read(scored), check_exact=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "local"])
def test_a_killed_driver_is_resumed_where_it_was(
    scored: Path, settings: PredictConfig, tmp_path: Path, engine: Literal["ray", "local"]
) -> None:
    config = settings.replace(output=str(tmp_path / "out"), engine=engine)
    driver = subprocess.Popen(command(config), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: parts(config.output) >= 2 or driver.poll() is not None)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not (tmp_path / "out").exists() and parts(config.output) >= 2
    time.sleep(2)  # its orphans may finish a part before Ray ends them
    staged = {p: p.stat().st_mtime_ns for p in Path(f"{config.output}.partial").glob("part-*")}
    assert len(staged) < 10
    predict(config.replace(resume=True, engine="ray"))
    pd.testing.assert_frame_equal(read(config.output), read(scored), check_exact=True)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("part-*")}
    assert all(kept[path.name] == written for path, written in staged.items()), "a finished part was scored again"


def test_killed_between_the_two_renames(scored: Path, settings: PredictConfig, tmp_path: Path) -> None:
    """The earlier output is set aside, the new one not yet in its place: --resume needs no scoring to end it."""
    output = Output(str(tmp_path / "out"))
    shutil.copytree(scored, tmp_path / "out.old")
    shutil.copytree(scored, output.staging)
    rows = pads.dataset(scored, format="parquet").to_table(columns=["input", "path"])
    listed = listing.table(map(File, *rows.to_pydict().values()))
    files = listing.write(storage.join(output.staging, FILES), [listed], 64)
    note = {"settings": manifest(scored)["job"], "files": files.count, "unit": 64, "ignored": [], "notes": []}
    note |= {"roots": manifest(scored)["roots"], "changes": None}
    storage.write_json(storage.join(output.staging, JOB), note)
    config = settings.replace(output=output.uri, resume=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "session", _interrupted)
        predict(config)
    pd.testing.assert_frame_equal(read(output.uri), read(scored), check_exact=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


@pytest.mark.parametrize("damage", ["cut", "other rows", "removed"])
def test_a_damaged_part_is_found_and_not_published(
    scored: Path, settings: PredictConfig, tmp_path: Path, damage: str
) -> None:
    """Rows are compared with files before anything is published."""
    output = Output(str(tmp_path / "out"))
    shutil.copytree(scored, output.staging)
    units = [pq.read_table(part, columns=["input", "path"]) for part in output.parts().values()]
    model = manifest(scored)["model"]["digest"]
    assert sum(map(len, checked(output, units, model))) == sum(map(len, units))
    first, second = list(output.parts().values())[:2]
    if damage == "cut":
        Path(second).write_bytes(Path(second).read_bytes()[:1000])
    elif damage == "other rows":
        shutil.copy(first, second)
    else:
        Path(second).unlink()
    with pytest.raises(OutputError, match="part") as error:
        list(checked(output, units, model))
    assert "\n" not in str(error.value) and "--resume" in str(error.value)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "1m") as uri:
        yield uri


@pytest.mark.slow
def test_a_full_disk_is_a_clear_error_and_the_earlier_output_stays(
    scored: Path, settings: PredictConfig, disk: Path
) -> None:
    output = Path(shutil.copytree(scored, disk / "out"))
    full = settings.replace(output=str(output), embeddings=True, overwrite=True)
    with pytest.raises(OutputError, match=r"No space left.*--resume") as error:
        predict(full)
    assert "\n" not in str(error.value)
    pd.testing.assert_frame_equal(read(output), read(scored), check_exact=True)
    assert not list(disk.rglob("*.part"))


# ---- object stores


@pytest.fixture
def bucket() -> Iterator[str]:
    """An S3 of our own on this machine, with a bucket in it."""
    with own_s3() as uri:
        yield uri


@pytest.mark.slow
def test_from_and_to_an_object_store(scored: Path, settings: PredictConfig, folder: Path, bucket: str) -> None:
    """Model, images and predictions in S3, in a process that gets its address and keys from the environment."""
    storage.copy(settings.model, f"{bucket}/models/best one")
    storage.copy(str(folder / "labelled"), f"{bucket}/new birds")
    for name in ("鶯 é ñ 🐦.jpeg", "#1? c%20d.jpg", "no ending", "README", "zero.jpg"):
        storage.copy(str(folder / "odd" / name), storage.join(bucket, "odd", name))
    keys = ("photo.jpg?width=300", "x.jpg?region=eu", "y.jpg?")
    for key in keys:
        storage.copy(str(folder / "odd/no ending"), storage.join(bucket, "odd", key))
    given = (f"{bucket}/new birds/*/2.jpg", f"{bucket}/odd")
    config = settings.replace(model=f"{bucket}/models/best one", input=given, output=f"{bucket}/out/predictions")
    done = subprocess.run(command(config), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    system, path = storage.filesystem(config.output)
    rows = pads.dataset(path, filesystem=system, format="parquet").to_table().to_pandas().set_index("path")
    assert set(rows.index[rows["input"] == given[0]]) == {f"{name}/2.jpg" for name in CLASSES}
    assert set(rows.index[rows["input"] == given[1]]) == {
        "鶯 é ñ 🐦.jpeg",
        "#1? c%20d.jpg",
        "no ending",
        "zero.jpg",
        *keys,
    }
    assert rows["error"].to_dict() == {path: "empty file" if path == "zero.jpg" else "" for path in rows.index}
    readable = rows["error"] != "file has vanished"
    assert (
        rows["size"][readable].notna().all() and rows["modified"][readable].notna().all()
    )  # as the listing has them
    local = read(scored).set_index("path")
    for name in CLASSES:
        assert rows.loc[f"{name}/2.jpg", "label"] == name
        among = local["probability"][f"labelled/{name}/2.jpg"]
        assert same_numbers(rows["probability"][f"{name}/2.jpg"], among)
    found = storage.read_json(f"{config.output}/_manifest.json")
    assert found["rows"] == 10 and [Path(one["path"]).name for one in found["ignored"]] == ["README"]
    page = storage.read(f"{config.output}/_report.html").decode()
    assert "9 of 10 files scored" in page and page.count("data:image/jpeg") >= 12  # sampled and least certain
    assert storage.exists(f"{config.output}/{SUCCESS}") and not storage.find(f"{config.output}.partial")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "session", _interrupted)
        with pytest.raises(OutputError, match="--overwrite"):
            predict(config)
        predict(config.replace(resume=True))  # complete already


def test_a_replacement_on_an_object_store_counts_when_success_is_there(bucket: str) -> None:
    output = Output(f"{bucket}/out")
    row = {"input": "birds", "path": "old.jpg", "error": "old", "model": "m"}
    for number in range(2):
        output.write_part(number, [row], schema())
    output.publish({"files": 2})
    assert output.complete()
    output.start({})
    output.write_part(0, [row | {"path": "new.jpg"}], schema())
    assert output.complete() and output.interrupted() == {"files": 0, "unit": 1}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(storage, "copy", _interrupted_copy)
        output.publish({"files": 1})
    assert (
        not output.complete() and output.interrupted() == {"files": 0, "unit": 1} and list(output.parts()) == [0]
    )
    output.publish({"files": 1})
    assert output.complete() and output.interrupted() is None and not storage.find(output.staging)
    names = [storage.relative(info, output.uri) for info in storage.find(output.uri)]
    assert names == ["_SUCCESS", "_manifest.json", "part-000000.parquet"]


def _interrupted_copy(source: str, target: str) -> None:
    raise KeyboardInterrupt


# ---- nothing lost


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """`data` with bits flipped, cut short, under another file's beginning, or spliced with another file."""
    kind = chance.choice(("flip", "cut", "header", "splice"))
    at = chance.randrange(len(data))
    if kind == "flip":
        changed = bytearray(data)
        for _ in range(chance.choice((1, 8, 64))):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return bytes(changed)
    if kind == "cut":
        return data[:at]
    if kind == "header":
        length = chance.choice((4, 16, 64))
        return other[:length] + data[length:]
    return data[:at] + other[chance.randrange(len(other)) :]


@pytest.mark.slow
def test_2000_mutated_files_are_2000_rows(
    settings: PredictConfig, birds: Path, local_ray: None, tmp_path: Path
) -> None:
    chance = random.Random(0)
    sources = [path.read_bytes() for path in sorted(birds.rglob("*.jpg"))]
    sources += [encode(striped(60, 50), kind) for kind in ("PNG", "GIF", "BMP", "WEBP")]
    real = REPOSITORY.parent / "shared/data/birds263/test"
    sources += [path.read_bytes() for path in sorted(real.rglob("*.jpg"))[:40]]
    whole, damaged = tmp_path / "whole", tmp_path / "files"
    whole.mkdir()
    damaged.mkdir()
    for number in range(2000):
        data = chance.choice(sources)
        untouched = number % 10 == 0
        (damaged / f"{number:04}.jpg").write_bytes(
            data if untouched else mutated(data, chance.choice(sources), chance)
        )
        if untouched:
            (whole / f"{number:04}.jpg").write_bytes(data)
    outputs = {}
    for uri in (damaged, whole):
        predict(settings.replace(input=(str(uri),), output=f"{uri}-out", probabilities=True))
        outputs[uri] = pd.read_parquet(f"{uri}-out").set_index("path").drop(columns="input")
    rows = outputs[damaged]
    assert len(rows) == 2000 and rows.index.is_unique
    assert set(rows.index) == {f"{number:04}.jpg" for number in range(2000)}
    failed = rows["error"] != ""
    assert 200 < failed.sum() < 1800 and rows.loc[failed, "prediction"].isna().all()
    assert rows.loc[~failed, "probability"].notna().all()
    alone = outputs[whole]
    among = rows.loc[alone.index]
    exact = ["label", "prediction", "width", "height", "error", "model"]
    pd.testing.assert_frame_equal(among[exact], alone[exact])
    assert same_numbers(among["probabilities"].tolist(), alone["probabilities"].tolist())


def test_gpus_that_no_node_has_are_waited_for_only_where_nodes_can_join() -> None:
    """What is asked for on a cluster that grows, 0 for none, and a refusal on this machine alone."""
    cluster_of_cpus = cluster.Resources(nodes=1, cpus=8, gpus=0, node_cpus=8, node_memory=0, own=False)
    config = PredictConfig(model="m", input=("a",), output="o")
    assert _with_gpus(config, cluster_of_cpus).gpus == 0
    assert _with_gpus(config.replace(gpus=4), cluster_of_cpus).gpus == 4
    assert _with_gpus(config.replace(gpus=0), dataclasses.replace(cluster_of_cpus, gpus=2)).gpus == 0
    with pytest.raises(SettingsError, match="--gpus 4: Ray finds 0 on this machine"):
        _with_gpus(config.replace(gpus=4), dataclasses.replace(cluster_of_cpus, own=True))
