"""Which trials of a sweep can be made a bundle; that it is one is told with the training (test_training)."""

from pathlib import Path

import pytest

import ray_birds
from ray_birds.core.errors import ModelError, OutputError, SettingsError
from tests.report.test_pages import FOUR, Writer, draw_data

FIRST = Writer._name(FOUR[0])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundling")
    data = draw_data(folder / "data", ["a", "b"], 1, 5, ("train", "valid"))
    Writer(folder / "results", data, FOUR, failed=True)
    return folder / "results"


def test_an_unknown_trial_is_refused_with_the_nearest(sweep: Path) -> None:
    with pytest.raises(SettingsError, match="plain-unfreeze10: no such trial; the nearest is plain-unfreeze"):
        ray_birds.bundle(sweep=sweep, trial="plain-unfreeze10")


def test_so_is_one_that_failed(sweep: Path) -> None:
    with pytest.raises(SettingsError, match=r"did not finish \(out of memory .*\); choose one that did"):
        ray_birds.bundle(sweep=sweep, trial="aug-unfreezeall-lr0.001-seed0")


def test_what_lies_there_stays(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match="mine: exists; choose another --output"):
        ray_birds.bundle(sweep=sweep, trial=FIRST, output=tmp_path / "mine")


def test_the_weights_are_compared_with_the_sweeps(sweep: Path) -> None:
    with pytest.raises(ModelError, match="imagenet of the sweep: no longer those that it began with"):
        ray_birds.bundle(sweep=sweep, trial=FIRST)
