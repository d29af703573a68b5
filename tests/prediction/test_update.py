"""An output brought up to date: rows of files that are the same stay, in the order that a new job would give."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from PIL.ExifTags import Base

from ray_birds.cli import main
from ray_birds.config import PredictConfig
from ray_birds.core import cluster
from ray_birds.core.errors import DataError, OutputError
from ray_birds.data.walk import Stamp
from ray_birds.prediction import listing, run, statistics, update
from ray_birds.prediction.inputs import Found, Run, find
from ray_birds.prediction.listing import File, Listing
from ray_birds.prediction.output import JOB, Output, schema
from ray_birds.prediction.run import predict
from ray_birds.prediction.workload import Work
from tests.data.test_exif import block
from tests.prediction.test_output import row
from tests.prediction.test_run import manifest, read, same_numbers

COLUMNS = schema(probabilities=True, metadata=True)


def rows_of(files: dict[str, Stamp], mark: float) -> list[dict[str, Any]]:
    scores = (mark, 0.0, 1 - mark)
    return [row(path, scores) | {"size": size, "modified": time} for path, (size, time) in files.items()]


def found(files: dict[str, Stamp]) -> Found:
    stamps = dict(files)
    return Found((Run("birds", "", pa.array(files), stamps),), (), {"birds": "/birds"})


@pytest.mark.parametrize("unit", [1, 3, 100])
def test_what_stays_and_what_is_new_in_one_order(tmp_path: Path, unit: int) -> None:
    chance = np.random.default_rng(0)
    before: dict[str, Stamp] = {f"{n:03}.jpg": (n, 10**15 + n) for n in range(0, 100, 2)}
    before["050.jpg"] = (None, None)  # could not be read
    old = Output(str(tmp_path / "out"))
    for number, start in enumerate(range(0, 50, 7)):
        old.write_part(number, rows_of(dict(list(before.items())[start : start + 7]), 0.9), COLUMNS)
    old.publish({})

    now = {path: stamp for path, stamp in before.items() if chance.random() > 0.2} | {"050.jpg": (50, 50)}
    touched = [path for path in now if path != "050.jpg"][::5]
    now |= dict.fromkeys(touched, (7, 10**15)) | {f"{n:03}.jpg": (n, n) for n in range(1, 100, 10)}
    now = dict(sorted(now.items()))
    changes, kept = update.compare(old, found(now), ())
    added = set(now) - set(before)
    assert changes._asdict() == {
        "kept": len(now) - len(added) - len(touched) - 1,
        "new": len(added),
        "changed": len(touched) + 1,
        "vanished": len(set(before) - set(now)),
    }
    assert changes and kept.sum() == changes.kept
    files = listing.write(str(tmp_path / "files"), update.marked(found(now).tables(()), kept), unit)
    fresh = [(file.path, (file.size, file.modified)) for file in listing.rows(update.todo(files))]
    assert {path for path, _ in fresh} == added | {*touched, "050.jpg"} and len(fresh) == len(now) - changes.kept

    tables = (pa.Table.from_pylist(rows_of(dict([one]), 0.6), schema=COLUMNS) for one in fresh)
    update.merge(old, tables, files)
    old.publish({})
    parts = list(old.published())
    assert [len(part) for part in parts[:-1]] == [unit] * (len(parts) - 1)
    merged = pa.concat_tables(parts).to_pandas()
    assert merged["path"].tolist() == list(now)
    assert (merged["probability"] < 0.8).equals(merged["path"].isin({path for path, _ in fresh}))
    assert not update.compare(old, found(now), ())[0]


def test_an_output_that_is_another_one_now_is_refused(tmp_path: Path) -> None:
    old = Output(str(tmp_path / "out"))
    kept = listing.table([File("birds", "1.jpg", kept=True), File("birds", "2.jpg", kept=True)])
    files = listing.write(str(tmp_path / "files"), [kept], 2)
    old.write_part(0, rows_of({"1.jpg": (1, 1)}, 0.9), COLUMNS)
    old.publish({})
    with pytest.raises(OutputError, match="no longer holds the rows"):
        update.merge(old, iter(()), files)


# ---- through the job


@pytest.fixture
def config(bundles: Path, own_birds: Path, tmp_path: Path) -> PredictConfig:
    folders = str(own_birds / "train"), str(own_birds / "test")
    return PredictConfig(str(bundles / "bundle"), folders, str(tmp_path / "out"), sequence_seconds=60.0)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.ray
@pytest.mark.slow
def test_an_update_gives_the_rows_of_a_job_from_scratch(
    config: PredictConfig,
    own_birds: Path,
    local_ray: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed while it publishes, and resumed; meanwhile the earlier output stays."""
    folder = own_birds / "train/CORAL OWL"
    for second, photo in enumerate(sorted(folder.glob("*.jpg"))):
        times: dict[int, Any] = {Base.DateTimeOriginal: f"2024:05:01 12:00:{second:02}"}
        with Image.open(photo) as image:
            image.save(photo, quality=90, exif=block({Base.Model: "HP2X"}, times))
    (folder / "damaged.jpg").write_bytes((folder / "1.jpg").read_bytes()[:300])
    (folder / "gone.jpg").symlink_to(folder / "never there")
    predict(config.replace(update=True))  # there is no output yet
    before = read(config.output)
    found = manifest(Path(config.output))
    assert found["update"] is None and found["sequences"] == {"number": 1, "images": 5}  # with the damaged one
    timed = (
        before["path"].str.startswith("CORAL OWL")
        & before["input"].str.endswith("train")
        & before["taken"].notna()
    )
    assert (
        timed.sum() == 5 and set(before["camera"].dropna()) == {"HP2X"} and set(before["sequence"][timed]) == {1}
    )
    assert before["sequence_prediction"][timed].nunique() == 1 and before["sequence_prediction"].notna().sum() == 5
    assert "in 1 sequences, by their times" in Path(config.output, "_report.html").read_text(encoding="utf-8")
    assert before["modified"].isna().tolist() == before["path"].str.endswith("gone.jpg").tolist()
    capsys.readouterr()
    predict(config.replace(resume=True))
    assert "1 changed, 0 vanished" in capsys.readouterr().out  # the one without a file is tried again

    (folder / "gone.jpg").unlink()
    with monkeypatch.context() as patch:  # nothing to score: no Ray
        patch.setattr(cluster, "session", _interrupted)
        predict(config.replace(update=True))
        assert manifest(Path(config.output))["update"] == {"kept": 19, "new": 0, "changed": 0, "vanished": 1}
        capsys.readouterr()
        predict(config.replace(update=True))
        assert "nothing to do" in capsys.readouterr().out

    shutil.copy(folder / "1.jpg", folder / "0 new.jpg")
    shutil.copy(folder / "1.jpg", own_birds / "test/MOSS TERN/9 new.jpg")
    shutil.copy(folder / "2.jpg", folder / "3.jpg")
    os.utime(folder / "4.jpg", (0, 0))  # touched only, but who knows
    (own_birds / "test/ATLAS FINCH/1.jpg").unlink()
    predict(config.replace(resume=True))
    assert "2 new, 2 changed, 1 vanished; --update scores these" in capsys.readouterr().out

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Output, "publish", _interrupted)
        predict(config.replace(update=True))
    assert len(read(config.output)) == 19 and Path(f"{config.output}.partial", JOB).exists()
    with pytest.raises(OutputError, match="--resume continues it"):
        predict(config.replace(update=True))
    done = predict(config.replace(resume=True))
    assert done.manifest["update"] == {"kept": 16, "new": 2, "changed": 2, "vanished": 1}

    predict(config.replace(output=str(tmp_path / "scratch")))
    rows, scratch = (pd.read_parquet(uri) for uri in (config.output, tmp_path / "scratch"))
    numbers = ["probability", "sequence_probability", "top_k", "probabilities"]
    pd.testing.assert_frame_equal(rows.drop(columns=numbers), scratch.drop(columns=numbers), check_exact=True)
    good = rows["error"] == ""
    assert good.sum() == len(rows) - 1 and same_numbers(rows["probability"][good], scratch["probability"][good])
    assert same_numbers(*(one.loc[good, "probabilities"].tolist() for one in (rows, scratch)))


def test_what_an_update_refuses(
    config: PredictConfig, own_birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config.replace(input=("birds",), sequence_seconds=0.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "session", _interrupted)
    _publish(config)
    again = config.replace(update=True)
    with pytest.raises(OutputError, match="--update"):
        predict(config)
    with pytest.raises(OutputError, match=r"--top-k \(5, not 2\)"):
        predict(again.replace(top_k=2))
    with monkeypatch.context() as patch, pytest.raises(OutputError, match="another version of ray-birds"):
        patch.setattr("ray_birds.data.decode.VERSION", 0)
        predict(again)
    with monkeypatch.context() as patch, pytest.raises(OutputError, match=r"its --input led to .*, not "):
        (tmp_path / "elsewhere").mkdir()
        shutil.copytree(own_birds, tmp_path / "elsewhere/birds")
        patch.chdir(tmp_path / "elsewhere")
        predict(again)
    own_birds.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="nothing there"):
        predict(again)
    predict(config.replace(resume=True))  # what is complete stays so


def _publish(config: PredictConfig) -> None:
    """A complete output of this job, as if all of its files had failed."""
    from ray_birds.model import bundle

    model, images, output = bundle.verify(config.model), find(config.input), Output(config.output)
    row = {"error": "damaged: x", "model": model.digest}
    rows = [row | {"input": given, "path": path} for given, path in images.images]
    output.write_part(0, rows, schema())
    tally = statistics.count([pa.Table.from_pylist(rows, schema=schema())], model.classes)
    work = Work(Listing("", len(rows), 1), images.roots)
    output.publish(run._manifest(config, model, work, tally))


def test_both_ways_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "m", "--input", "a", "--output", "o", "--update", "--overwrite"]
    with pytest.raises(SystemExit) as error:
        main("predict", words)
    assert error.value.code == 2 and "either --update or --overwrite" in capsys.readouterr().err
