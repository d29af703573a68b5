"""What a resumed sweep takes from the command line: what was given counts, not what differs from a default."""

from pathlib import Path

import numpy as np
import pytest

from ray_birds.config import TuneConfig
from ray_birds.core.errors import DataError, ModelError, OutputError, SettingsError
from ray_birds.data.dataset import Dataset, Split
from ray_birds.data.inspection import Inspection
from ray_birds.model.backbones import weights_digest
from ray_birds.sweep import prepare, resume
from ray_birds.sweep.directory import SweepDirectory


@pytest.fixture
def started(tmp_path: Path) -> TuneConfig:
    """The settings, resolved, of a sweep that was started with options of its own."""
    asked = TuneConfig(data="birds", results=str(tmp_path), name="x", head_epochs=10, max_failures=3)
    config, directory = resume.begin(asked, {"data", "head_epochs", "max_failures"})
    directory.write_config(config)
    return config


def again(started: TuneConfig, **options: object) -> TuneConfig:
    config = TuneConfig(results=started.results, name="x", resume=True, **options)
    return resume.begin(config, {"results", "name", "resume", *options})[0]


def test_what_is_not_given_is_the_sweeps(started: TuneConfig) -> None:
    assert again(started) == started.replace(resume=True)


def test_a_default_given_again_counts(started: TuneConfig) -> None:
    with pytest.raises(SettingsError, match="--head-epochs 5: the sweep to resume had 10"):
        again(started, head_epochs=5)
    assert again(started, head_epochs=10).head_epochs == 10


def test_resources_and_retries_are_free(started: TuneConfig) -> None:
    assert again(started).max_failures == 3
    changed = again(started, max_failures=10, cpus_per_trial=1, gpus_per_trial=0.0)
    assert (changed.max_failures, changed.cpus_per_trial, changed.gpus_per_trial) == (10, 1, 0.0)


def test_places_may_be_given_anew(started: TuneConfig, tmp_path: Path) -> None:
    assert again(started, data="./birds").data == started.data
    assert started.labels == "" and again(started, labels="l.csv").labels == str(Path("l.csv").absolute())
    moved = again(started, data=str(tmp_path / "other"), weights="a.h5", features_dir="/features")
    assert (moved.data, moved.features_dir) == (str(tmp_path / "other"), "/features")
    assert moved.weights == str(Path("a.h5").absolute())


def test_results_and_the_features_in_them_may_move(started: TuneConfig, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "x").rename(moved / "x")
    config, directory = resume.begin(TuneConfig(results=str(moved), name="x", resume=True), {"results", "name"})
    assert config == started.replace(resume=True, results=str(moved), features_dir=str(moved / "features"))
    assert directory.uri == str(moved / "x")


def test_other_weights_or_images_that_went_are_named_at_once(tmp_path: Path) -> None:
    weights, data = tmp_path / "a.weights.h5", tmp_path / "birds"
    weights.write_bytes(b"of before")
    data.mkdir()
    asked = TuneConfig(data=str(data), results=str(tmp_path), name="x", weights=str(weights))
    config, directory = resume.begin(asked, ())
    train = Split("train", (), np.zeros(0, np.int32), np.zeros(0, np.int64))
    inspection = Inspection(Dataset(str(data), (), {"train": train}), (), {}, (), ())
    directory.begin(config, inspection, weights_digest(str(weights)))
    prepare.check_locally(again(config), directory)
    weights.rename(tmp_path / "moved.h5")
    with pytest.raises(ModelError, match="cannot be read"):
        prepare.check_locally(again(config), directory)
    prepare.check_locally(again(config, weights=str(tmp_path / "moved.h5")), directory)
    weights.write_bytes(b"of after")
    with pytest.raises(ModelError, match=r"no longer those that the sweep began with.* by --weights, or"):
        prepare.check_locally(again(config), directory)
    data.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"birds: no such folder; where the images have moved, give .* by --data"):
        prepare.check_locally(again(config), directory)


def test_values_of_a_factor_are_said_as_on_the_command_line(started: TuneConfig) -> None:
    with pytest.raises(SettingsError, match=r"--unfreeze 0 all: the sweep to resume had 0 10 100;"):
        again(started, unfreeze=(0, "all"))


def test_a_name_is_taken_or_unknown(started: TuneConfig) -> None:
    with pytest.raises(OutputError, match="exists; choose another --name"):
        resume.begin(TuneConfig(data="birds", results=started.results, name="x"), {"data"})
    with pytest.raises(OutputError, match="no sweep to resume"):
        resume.begin(TuneConfig(results=started.results, name="y", resume=True), {"name"})
    assert not SweepDirectory(started.results + "/y").exists()


@pytest.mark.parametrize(
    ("option", "error", "told"),
    [
        ({"weights": "mistyped.weights.h5"}, ModelError, r"--weights .*mistyped.weights.h5: cannot be read"),
        ({"results": "file"}, OutputError, r"--results .*/file: cannot be written"),
        ({"results": "/proc/results"}, OutputError, r"--results /proc/results: cannot be written"),
        ({"features_dir": "file/features"}, OutputError, r"--features-dir .*/file/features: cannot be written"),
        (
            {"search": "random", "samples": 30, "learning_rate": (0.001,)},
            SettingsError,
            "--samples 30: only 6 different variants",
        ),
    ],
)
def test_what_can_be_checked_is_checked_first_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: dict[str, object], error: type[Exception], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    asked = TuneConfig(**({"data": "birds", "results": "results/deep", "weights": "none", "name": "x"} | option))
    config, directory = resume.begin(asked, ())
    with pytest.raises(error, match=told) as failed:
        prepare.check_locally(config, directory)
    assert "\n" not in str(failed.value) and [path.name for path in tmp_path.iterdir()] == ["file"]
