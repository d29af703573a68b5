"""The shapes that the article's data come in: from download to predictions without an edit by hand."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ray_birds.config import CheckConfig, DownloadConfig, PredictConfig, TuneConfig
from ray_birds.core.errors import DataError
from ray_birds.data.check import check
from ray_birds.data.sources.download import download
from ray_birds.prediction.run import predict
from ray_birds.sweep.run import sweep
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

ARTICLE = ("PARAKETT  AKULET", *(f"BIRD {number:03}" for number in range(399)))
LATER = ("ABBOTTS BABBLER", "CRESTED AUKLET", "LOONEY BIRDS", "PARAKETT  AKULET", "ZEBRA DOVE")


def images() -> Iterator[bytes]:
    """JPEGs that have nothing in common."""
    random = np.random.default_rng(0)
    while True:
        yield encoded(random.integers(0, 256, (12, 12, 3), np.uint8), (40, 40))


def encoded(pixels: np.ndarray, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(file, "JPEG")
    return file.getvalue()


def write_zip(uri: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(uri, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return uri


def settings(folder: Path) -> TuneConfig:
    return TuneConfig(
        data=str(folder / "birds"),
        results=str(folder),
        name="sweep",
        backbone=("MobileNetV2-0.35",),
        weights=str(REPOSITORY / "ray_birds/demo/backbone.weights.h5"),
        image_size=32,
        augment=("off",),
        unfreeze=(0,),
        head_epochs=1,
        features="none",
        exclude_class=("ABBOTS BABBLER", "looney birds") if folder.name == "later" else (),
    )


def predictions(folder: Path, *below: str) -> pd.DataFrame:
    uris = tuple(str(folder / "birds" / name) for name in below)
    predict(PredictConfig(str(folder / "sweep/best"), uris, str(folder / "predictions")))
    return pd.read_parquet(folder / "predictions")


def test_the_article_s_own_shape(tmp_path: Path, local_ray: None) -> None:
    """400 classes, `valid`, `images to test`, `birds.csv`, a class with two spaces in train alone."""
    draw = images()
    contents = {
        f"{split}/{' '.join(name.split()) if split != 'train' else name}/{number}.jpg": next(draw)
        for split, count in (("train", 2), ("valid", 1), ("test", 1))
        for name in ARTICLE
        for number in range(count)
    }
    contents |= {f"images to test/{number}.jpg": next(draw) for number in range(7)}
    contents["birds.csv"] = b"class index,filepaths,labels,data set\n0.0,train/GONE/001.jpg,GONE,train\n"
    source = write_zip(tmp_path / "a.zip", contents)
    download(DownloadConfig(str(tmp_path / "birds"), source=str(source)))
    check(CheckConfig(str(tmp_path / "birds"), str(tmp_path / "check")))
    sweep(settings(tmp_path))
    assert len(json.loads((tmp_path / "sweep/best/classes.json").read_text())) == 400
    assert not (tmp_path / "sweep/splits.csv").exists()
    rows = predictions(tmp_path, "test", "images to test")
    assert len(rows) == 407 and (rows["error"] == "").all() and rows["label"].notna().sum() == 400
    assert rows.loc[rows["path"].str.contains("PARAKETT"), "label"].tolist() == ["PARAKETT AKULET"]


def test_the_shape_of_later_copies(tmp_path: Path, local_ray: None) -> None:
    """`validation`, no `test`, a class misspelled, one in other letters, a joke class, tiny and huge images."""
    draw = images()
    names = {"ABBOTTS BABBLER": "ABBOTS BABBLER", "CRESTED AUKLET": "Crested-Auklet"}
    contents = {
        f"birds/{split}/{names.get(name, name) if split == 'validation' else name}/{number}.jpg": next(draw)
        for split, count in (("train", 10), ("validation", 2))
        for name in LATER
        for number in range(count)
    }
    random = np.random.default_rng(1)
    for size, name in (((45, 45), "tiny"), ((4763, 3000), "huge")):
        pixels = random.integers(0, 256, (12, 12, 3), np.uint8)
        contents[f"birds/train/ZEBRA DOVE/{name}.jpg"] = encoded(pixels, size)
    contents["birds/birds.csv"] = (
        b"class id,filepaths,labels,data set\n0.0,train/ZEBRA DOVE/999.jpg,ZEBRA DOVE,train\n"
    )
    contents["birds/EfficientNetB0-525-(224 X 224)- 98.97.h5"] = b"model"
    folder = tmp_path / "later"
    folder.mkdir()
    download(DownloadConfig(str(folder / "birds"), source=str(write_zip(tmp_path / "b.zip", contents))))
    config = settings(folder)
    assert check(CheckConfig(config.data, str(folder / "check"))).blocking
    with pytest.raises(DataError, match=r"'ABBOTTS BABBLER'.*--exclude-class 'ABBOTS BABBLER'"):
        sweep(TuneConfig(data=config.data, results=str(folder), name="refused"))
    assert not check(CheckConfig(config.data, str(folder / "check"), exclude_class=config.exclude_class)).blocking
    sweep(config)
    made = pd.read_csv(folder / "sweep/splits.csv")
    assert made.groupby("split").size().to_dict() == {"train": 38, "valid": 6, "test": 4}
    notes = json.loads((folder / "sweep/dataset.json").read_text())["notes"]
    assert any("test made from train/" in note for note in notes) and any(
        "Crested-Auklet" in note for note in notes
    )
    report = (folder / "sweep/report.html").read_text()
    assert "test made from train/" in report and "LOONEY" not in report.replace("looney birds", "")
    rows = predictions(folder, "validation")
    assert len(rows) == 10 and (rows["error"] == "").all()
    assert rows["prediction"].isin(["ABBOTTS BABBLER", "CRESTED AUKLET", "PARAKETT AKULET", "ZEBRA DOVE"]).all()
