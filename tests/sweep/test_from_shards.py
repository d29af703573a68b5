"""A sweep and its predictions from shards: what the same images in folders give, digit for digit."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from ray_birds.config import PredictConfig, TuneConfig
from ray_birds.data.table import split_of
from ray_birds.prediction.run import predict
from ray_birds.sweep.run import sweep
from tests.conftest import DRAWN_WEIGHTS
from tests.data.shards.shard_files import as_parquet, as_tar, images_of
from tests.prediction.test_run import read

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SPLITS = ("train", "valid", "test")


def numbers(results: Path) -> pd.DataFrame:
    found = pd.read_csv(results / "trials.csv").set_index("trial").sort_index()
    return found[["status", "epochs", "valid_accuracy", "valid_loss"]]


@pytest.mark.slow
def test_a_sweep_and_its_predictions(birds: Path, local_ray: None, tmp_path: Path) -> None:
    """From tar files for train and Parquet for the other splits, which Ray's workers read."""
    root = as_parquet(birds, tmp_path / "shards")
    (root / "data/train-00000-of-00001.parquet").unlink()
    as_tar(birds, tmp_path / "tar")
    shutil.move(tmp_path / "tar/train", root / "train")
    settings = TuneConfig(
        data=str(birds),
        results=str(tmp_path / "results"),
        backbone=("MobileNetV2-0.35",),
        weights=DRAWN_WEIGHTS,
        image_size=96,
        augment=("off",),
        unfreeze=(0,),
        name="folders",
    )
    sweep(settings)
    sweep(settings.replace(name="shards", data=str(root), features_dir=str(tmp_path / "features")))
    folders, shards = tmp_path / "results/folders", tmp_path / "results/shards"
    pd.testing.assert_frame_equal(numbers(shards), numbers(folders), check_exact=True)
    asked = PredictConfig(
        model=str(folders / "best"), input=(str(birds),), output=str(tmp_path / "a"), engine="ray"
    )
    predict(asked)
    predict(asked.replace(input=(str(root),), output=str(tmp_path / "b")))
    images = {
        f"{split}/{path.relative_to(birds / split)}": split
        for split in SPLITS
        for path in images_of(birds / split)
    }
    theirs = read(tmp_path / "a").set_index("path").loc[list(images)].reset_index()
    ours = read(tmp_path / "b").sort_values(
        "path", key=lambda paths: paths.map(split_of).map(SPLITS.index), kind="stable"
    )
    same = ["label", "prediction", "probability", "width", "height", "error", "seen"]
    assert len(ours) == 24
    pd.testing.assert_frame_equal(ours[same].reset_index(drop=True), theirs[same], check_exact=True)


def test_an_update_scores_the_shard_that_changed(bundles: Path, birds: Path, tmp_path: Path) -> None:
    """A truncated shard is rows too; mended, its images are scored and its own row goes."""
    root = as_tar(birds, tmp_path / "shards")
    shard = root / "test/1.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: whole.rindex(b"\xff\xd9")])  # the end of the last image
    asked = PredictConfig(
        model=str(bundles / "bundle"), input=(str(root),), output=str(tmp_path / "out"), engine="local"
    )
    predict(asked)
    rows = read(tmp_path / "out").set_index("path")
    assert len(rows) == 25 and {path for path, error in rows["error"].items() if error} == {
        "test/1.tar",
        "test/1.tar::000005.jpg",
    }
    assert rows["error"]["test/1.tar"] == "cannot be read: a shard that is cut short, within '000005.jpg'"
    shard.write_bytes(whole)
    done = predict(asked.replace(update=True))
    assert done.manifest["update"] == {"kept": 21, "new": 0, "changed": 3, "vanished": 1}
    rows = read(tmp_path / "out").set_index("path")
    assert len(rows) == 24 and (rows["error"] == "").all() and rows["label"].notna().all()
