"""A sweep and its predictions from shards: what the same images in folders give, digit for digit."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ray_birds.config import PredictConfig, TuneConfig
from ray_birds.prediction.run import predict
from ray_birds.sweep.run import sweep
from tests.conftest import DRAWN_WEIGHTS
from tests.data.shard_files import as_parquet, as_tar, images_of, write_tar
from tests.prediction.test_run import read

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def settings(birds: Path, tmp_path_factory: pytest.TempPathFactory) -> TuneConfig:
    return TuneConfig(
        data=str(birds),
        results=str(tmp_path_factory.mktemp("results")),
        backbone=("MobileNetV2-0.35",),
        weights=DRAWN_WEIGHTS,
        image_size=96,
        augment=("off",),
        unfreeze=(0, 10),
        fine_tune_epochs=1,
        feature_dtype="float32",
        name="folders",
    )


def numbers(results: Path) -> pd.DataFrame:
    found = pd.read_csv(results / "trials.csv").set_index("trial").sort_index()
    return found[["status", "epochs", "valid_accuracy", "valid_loss"]]


@pytest.mark.slow
@pytest.mark.parametrize("made", [as_tar, as_parquet])
def test_a_sweep_and_its_predictions(
    settings: TuneConfig, birds: Path, local_ray: None, tmp_path: Path, made: Callable[[Path, Path], Path]
) -> None:
    """With the features of a store of its own, so that the shards are read by Ray's workers."""
    root, folders = made(birds, tmp_path / "shards"), Path(settings.results, "folders")
    if not folders.exists():
        sweep(settings)
    shards = Path(settings.results, made.__name__)
    sweep(settings.replace(name=made.__name__, data=str(root), features_dir=str(tmp_path / "features")))
    pd.testing.assert_frame_equal(numbers(shards), numbers(folders), check_exact=True)
    asked = PredictConfig(
        model=str(folders / "best"), input=(str(birds),), output=str(tmp_path / "folders"), engine="ray"
    )
    predict(asked)
    predict(asked.replace(input=(str(root),), output=str(tmp_path / "rows")))
    ours, theirs = read(tmp_path / "rows"), read(tmp_path / "folders")
    same = ["label", "prediction", "probability", "width", "height", "error", "seen"]
    assert len(ours) == 24
    pd.testing.assert_frame_equal(ours[same], theirs[same], check_exact=True)


def test_an_update_scores_the_shard_that_changed(bundles: Path, birds: Path, tmp_path: Path) -> None:
    """A truncated shard is rows too; mended, its images are scored and its own row goes."""
    root = as_tar(birds, tmp_path / "shards")
    shard = root / "test/1.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10_240])
    asked = PredictConfig(
        model=str(bundles / "bundle"), input=(str(root),), output=str(tmp_path / "out"), engine="local"
    )
    predict(asked)
    rows = read(tmp_path / "out").set_index("path")
    assert rows["error"]["test/1.tar"].startswith("cannot be read: a shard that is cut short")
    before = len(rows)
    shard.write_bytes(whole)
    done = predict(asked.replace(update=True))
    rows = read(tmp_path / "out").set_index("path")
    assert len(rows) == 24 and (rows["error"] == "").all() and rows["label"].notna().all()
    assert done.manifest["update"]["kept"] == 21 and done.manifest["update"]["vanished"] == 1
    assert before <= 24
    write_tar(shard, [("000003.jpg", images_of(birds / "test")[3].read_bytes())])
    assert predict(asked.replace(update=True)).manifest["update"]["vanished"] == 2
