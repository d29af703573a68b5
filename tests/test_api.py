"""The Python API: what it exports, what it refuses, what it returns; and all of it twice in one process."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ray_birds
from ray_birds.cli import COMMANDS
from ray_birds.core.errors import DataError, ModelError, OutputError, RayBirdsError, SettingsError
from ray_birds.demo.pretrain import WEIGHTS
from ray_birds.prediction.result import Predictions
from ray_birds.sweep.results import Sweep
from tests.conftest import CLASSES, COUNTS
from tests.report.test_pages import FOUR, Writer, draw_data

TINY: dict[str, Any] = {
    "backbone": "MobileNetV2-0.35",
    "weights": WEIGHTS,
    "image_size": 64,
    "augment": "off",
    "unfreeze": 0,
    "head_epochs": 1,
}


def test_it_exports_a_function_for_each_command() -> None:
    assert ray_birds.__all__ == ["bundle", "check", "download", "export", "load", "predict", "read_sweep", "tune"]
    assert set(COMMANDS) - set(ray_birds.__all__) == {"demo"}
    rooms = {path.stem for path in Path(ray_birds.__file__).parent.iterdir()}
    assert not rooms & set(ray_birds.__all__)  # importing a sub-package puts it in the place of such a function
    for name in ray_birds.__all__:
        function = getattr(ray_birds, name)
        assert inspect.isfunction(function) and "Raises:" in (inspect.getdoc(function) or "")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ray_birds.tune(data="birds", unfreez=[0]), "unfreez: no such option; the nearest is unfreeze"),
        (lambda: ray_birds.predict(modle="m", input="a"), "modle: no such option; the nearest is model"),
        (lambda: ray_birds.check("birds", outputs="o"), "outputs: no such option; the nearest is output"),
        (lambda: ray_birds.export(model="m", formt="zip"), "formt: no such option; the nearest is format"),
        (lambda: ray_birds.bundle(sweep="s", trail="t"), "trail: no such option; the nearest is trial"),
        (lambda: ray_birds.download(dataset="a/b", outptu="o"), "outptu: no such option; the nearest is output"),
        (lambda: ray_birds.tune(image_size="big"), "image_size 'big': expected int"),
        (lambda: ray_birds.tune(score_all="yes"), "score_all 'yes': expected bool"),
        (lambda: ray_birds.predict(model="m", input=[1]), "input (1,): expected tuple[str, ...]"),
        (lambda: ray_birds.predict(model="m"), "input: must be given"),
        (lambda: ray_birds.tune(unfreeze=[-1]), "--unfreeze -1: expected a number of layers from 0, or all"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        call()
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda uri: ray_birds.read_sweep(uri), OutputError),
        (lambda uri: ray_birds.load(uri), ModelError),
        (lambda uri: ray_birds.bundle(sweep=uri, trial="one"), OutputError),
        (lambda uri: ray_birds.check(uri), DataError),
        (lambda uri: ray_birds.tune(data=uri, results=uri), DataError),
        (lambda uri: ray_birds.predict(model=uri, input=uri), RayBirdsError),
    ],
)
def test_what_is_not_there_is_one_line(
    call: Callable[[str], object], error: type[Exception], tmp_path: Path
) -> None:
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(error) as refused:
        call(nowhere)
    assert nowhere in str(refused.value) and "\n" not in str(refused.value)


def test_a_finished_sweep_is_read_and_shown(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["a", "b"], 1, 20, ("train", "valid", "test"))
    Writer(tmp_path / "results", data, FOUR)
    sweep = ray_birds.read_sweep(tmp_path / "results")
    assert sweep.winner == sweep.trials.trial[0] == sweep.trials.sort_values("valid_accuracy").trial.iloc[-1]
    assert sweep.winner and sweep.significance and sweep.winner.startswith(sweep.significance.winner)
    best = sweep.trials.valid_accuracy[0]
    assert repr(sweep) == f"<Sweep: 4 trials, winner {sweep.winner}, valid accuracy {best:.4f}>"
    assert all(name in sweep._repr_html_() for name in sweep.trials.trial) and "<table" in sweep._repr_html_()
    assert list(sweep.history(sweep.trials.trial[0]).valid_accuracy)[-1] == best
    assert (sweep.best, sweep.report) == (str(tmp_path / "results/best"), str(tmp_path / "results/report.html"))


def rows(predictions: Predictions) -> pd.DataFrame:
    return predictions.to_pandas().sort_values("path", ignore_index=True)


@pytest.fixture(scope="module")
def running(local_ray: None) -> str:
    """The Ray that the caller runs: its node."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def sweep(running: str, birds: Path, folder: Path) -> Sweep:
    return ray_birds.tune(data=birds, results=folder, name="one", **TINY)


@pytest.fixture(scope="module")
def damaged(folder: Path) -> Path:
    (folder / "damaged.jpg").write_bytes(b"no image")
    return folder / "damaged.jpg"


@pytest.fixture(scope="module")
def predictions(sweep: Sweep, birds: Path, folder: Path, damaged: Path) -> Predictions:
    return ray_birds.predict(model=sweep.best, input=[birds / "test", damaged], output=folder / "predictions")


def still_runs(node: str) -> bool:
    import ray

    return ray.is_initialized() and str(ray.get_runtime_context().get_node_id()) == node


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.slow
def test_a_sweep(sweep: Sweep, running: str) -> None:
    (trial,) = sweep.trials.itertuples()
    assert (trial.trial, trial.status, trial.epochs) == ("plain-unfreeze0-lr0.001", "finished", 1)
    assert Path(sweep.best, "model.keras").exists() and Path(sweep.report).exists()
    pd.testing.assert_frame_equal(ray_birds.read_sweep(Path(sweep.best).parent).trials, sweep.trials)
    assert still_runs(running)


@pytest.mark.ray
@pytest.mark.slow
def test_predictions(predictions: Predictions, running: str) -> None:
    found = rows(predictions)
    assert len(found) == len(CLASSES) * COUNTS["test"] + 1 == predictions.manifest["rows"]
    assert predictions.failures.path.to_list() == ["damaged.jpg"] and predictions.failures.error.all()
    assert predictions.evaluation is not None
    assert predictions.evaluation.accuracy.value == found.correct.dropna().mean()
    assert repr(predictions).startswith(f"<Predictions: {len(found)} rows, 1 failed, accuracy ")
    assert Path(predictions.report).exists() and still_runs(running)


@pytest.mark.ray
@pytest.mark.slow
def test_a_loaded_model_gives_the_same_numbers(
    sweep: Sweep, predictions: Predictions, birds: Path, damaged: Path
) -> None:
    for best in (sweep.best, Path(sweep.best)):
        model = ray_birds.load(best)
        found = model.predict([birds / "test", damaged]).sort_values("path", ignore_index=True)
        pd.testing.assert_frame_equal(found, rows(predictions))
        assert model.classes == CLASSES and "MobileNetV2-0.35, 3 classes" in repr(model)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_and_predictions_again(
    sweep: Sweep, predictions: Predictions, birds: Path, folder: Path, damaged: Path
) -> None:
    again = ray_birds.tune(data=birds, results=folder, name="two", **TINY)
    times = ["seconds", "images_per_second", "waited", "feature_seconds"]
    pd.testing.assert_frame_equal(again.trials.drop(columns=times), sweep.trials.drop(columns=times))
    scored = ray_birds.predict(model=again.best, input=[birds / "test", damaged], output=folder / "again")
    pd.testing.assert_frame_equal(rows(scored).drop(columns="model"), rows(predictions).drop(columns="model"))


@pytest.mark.ray
def test_check_twice(running: str, own_birds: Path, tmp_path: Path) -> None:
    copied = next((own_birds / "test" / CLASSES[0]).iterdir())
    (own_birds / "train" / CLASSES[0] / "copy.jpg").write_bytes(copied.read_bytes())
    one, two = (ray_birds.check(own_birds, output=tmp_path / name) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one.findings, two.findings)
    blocking = one.findings[one.findings.blocking]
    assert blocking.text.str.contains("in test is in train too").sum() == 1
    assert one.blocking.startswith(f"{own_birds}: {len(blocking)} finding")
    assert repr(one) == f"<Check: {str(own_birds)!r}, {len(one.findings)} findings, blocking: True>"
    assert Path(one.report).exists() and still_runs(running)
