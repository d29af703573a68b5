"""A sweep in folds, through its real parts: each image held out once, the winner trained again on all but test."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ray_birds.config import BundleConfig, TuneConfig
from ray_birds.core.errors import OutputError, SettingsError
from ray_birds.core.storage import read_json
from ray_birds.demo.birds import draw_dataset
from ray_birds.model.bundle import verify
from ray_birds.sweep import bundling, checkpoint, cross_validation, summary
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.results import Sweep
from ray_birds.sweep.run import sweep
from tests.conftest import DRAWN_WEIGHTS
from tests.report.test_pages import Page

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
HEAD, DEEP = "plain-unfreeze0-lr0.001", "plain-unfreeze10-lr0.001"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TuneConfig:
    """Twelve drawn species, six images of each in train and valid, two in test; a head and ten layers on top."""
    data = draw_dataset(tmp_path_factory.mktemp("drawn") / "birds", train=4, valid=2, test=2)
    return TuneConfig(
        data=str(data),
        results=str(tmp_path_factory.mktemp("results")),
        backbone=("MobileNetV2-0.35",),
        weights=DRAWN_WEIGHTS,
        image_size=96,
        augment=("off",),
        unfreeze=(0, 10),
        fine_tune_epochs=2,
        folds=3,
        name="folds",
    )


@pytest.fixture(scope="module")
def folded(settings: TuneConfig, local_ray: None) -> Path:
    summary.show(sweep(settings))
    return Path(settings.results, settings.name)


def test_each_image_is_predicted_once_by_a_model_that_did_not_learn_from_it(folded: Path) -> None:
    rows = pd.read_csv(folded / "folds.csv")
    assert len(rows) == rows["path"].nunique() == 72 and rows["fold"].value_counts().tolist() == [24, 24, 24]
    assert rows["path"].str.startswith("valid/").sum() == 24 and not rows["path"].str.startswith("test/").any()
    trials = pd.read_csv(folded / "trials.csv").set_index("trial")
    assert (
        [*trials.index] == [HEAD, DEEP] and (trials["folds"] == 3).all() and (trials["status"] == "finished").all()
    )
    for name, trial in trials.iterrows():
        said = pd.read_parquet(folded / f"trials/{name}/valid_predictions.parquet")
        assert said["path"].tolist() == rows["path"].tolist()
        assert said["correct"].mean() == pytest.approx(trial["valid_accuracy"])
        for fold in range(3):
            own = pd.read_csv(folded / f"trials/{name}-fold{fold}/history.csv").iloc[int(trial["kept_epoch"]) - 1]
            held_out = said["correct"][rows["fold"] == fold]
            assert held_out.mean() == pytest.approx(own["valid_accuracy"])


def test_the_store_is_filled_once_for_all_folds(folded: Path, settings: TuneConfig) -> None:
    features = sorted(
        one.name.split("-")[2:4] for one in Path(settings.results, "features").iterdir() if one.is_dir()
    )
    assert len(features) == 2 and {one[0] for one in features} == {"train"}  # pooled, and below ten layers


def test_the_winner_is_trained_again_on_all_images_and_scored_on_test(folded: Path) -> None:
    run, scores = read_json(str(folded / "run.json")), read_json(str(folded / "best/metrics.json"))
    trials = pd.read_csv(folded / "trials.csv").set_index("trial")
    best = trials.loc[run["winner"]]
    directory = SweepDirectory(str(folded))
    last = checkpoint.last(directory, run["winner"])
    assert len(last.history) == best["kept_epoch"] and np.isnan(last.history[-1].valid_loss)
    assert scores["folds"] == scores["temperature"]["folds"] == 3 and scores["temperature"]["images"] == 72
    assert scores["valid"]["images"] == 72 and scores["test"]["images"] == 24
    assert scores["valid"]["accuracy"]["value"] == pytest.approx(best["valid_accuracy"])
    assert scores["test"]["accuracy"]["value"] == pytest.approx(best["test_accuracy"])
    assert scores["valid"]["accuracy"]["low"] <= scores["test"]["accuracy"]["high"]
    assert scores["test"]["accuracy"]["low"] <= scores["valid"]["accuracy"]["high"]
    bundle = verify(str(folded / "best"))
    assert len(bundle.known.right) == 72 and np.isnan(bundle.known.distance).sum() == 48
    assert len(bundle.seen) == 72
    card = (folded / "best/README.md").read_text(encoding="utf-8")
    assert "| 3 folds | 72 |" in card and "on all images but those of test" in card and "best over 3 folds" in card
    assert "valid images" not in card and "on valid" not in card


def test_report_and_terminal_say_folds(folded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Sweep.at(folded)
    assert done.significance is not None and done.significance.folds == 3 and done.significance.images == 72
    assert "Of the 72 images that 3 folds held out" in done.significance.text
    summary.show(done.results)
    assert "valid is the mean over 3 folds" in capsys.readouterr().out
    page = Page(str(folded / "report.html"))
    shares = {attributes["data-trial"]: cells for attributes, cells in page.rows("folds")}
    assert set(shares) == {HEAD, DEEP}
    values = [float(cell[0]["data-value"]) for cell in shares[HEAD][1:]]
    valid = pd.read_csv(folded / "trials.csv").set_index("trial").loc[HEAD, "valid_accuracy"]
    assert len(values) == 3 and np.mean(values) == pytest.approx(valid)
    with pytest.raises(SettingsError, match="has folds, and only its winner was trained on all images"):
        bundling.make_of(BundleConfig(str(folded), HEAD))


def test_a_sweep_cut_short_goes_on_to_the_same_numbers(
    folded: Path, settings: TuneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends after its trials, as if killed; one fold has lost its last epochs, and must make them again."""

    def killed(*_: object) -> None:
        raise OutputError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(cross_validation, "joined", killed)
        with pytest.raises(OutputError, match="killed"):
            sweep(settings.replace(name="cut"))
    again = folded.with_name("cut")
    for slot in (0, 1):
        (again / f"trials/{DEEP}-fold1/checkpoint{slot}.npz").unlink()
    sweep(settings.replace(name="cut", resume=True))
    columns = ["trial", "status", "epochs", "kept_epoch", "valid_accuracy", "valid_loss", "test_accuracy"]
    one, other = (pd.read_csv(each / "trials.csv")[columns] for each in (folded, again))
    pd.testing.assert_frame_equal(one, other, rtol=1e-5)
