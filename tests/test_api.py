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
    assert ray_birds.__all__ == ["check", "download", "export", "load", "predict", "read_sweep", "tune"]
    assert set(COMMANDS) - set(ray_birds.__all__) == {"demo"}
    rooms = {path.stem for path in Path(ray_birds.__file__).parent.iterdir()}
    assert not rooms & set(ray_birds.__all__)  # importing a sub-package puts it in the place of such a function
    for name in ray_birds.__all__:
        assert inspect.isfunction(getattr(ray_birds, name)) and "Raises:" in inspect.getdoc(
            getattr(ray_birds, name)
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ray_birds.tune(data="birds", unfreez=[0]), "unfreez: no such option; the nearest is unfreeze"),
        (lambda: ray_birds.predict(modle="m", input="a"), "modle: no such option; the nearest is model"),
        (lambda: ray_birds.check("birds", outputs="o"), "outputs: no such option; the nearest is output"),
        (lambda: ray_birds.export(model="m", formt="zip"), "formt: no such option; the nearest is format"),
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
    assert sweep.significance is not None and sweep.significance.winner == sweep.winner
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
def sweeps(running: str, birds: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Sweep]:
    folder = tmp_path_factory.mktemp("api")
    return [ray_birds.tune(data=birds, results=folder, name=name, **TINY) for name in ("one", "two")]


def still_runs(node: str) -> bool:
    import ray

    return ray.is_initialized() and str(ray.get_runtime_context().get_node_id()) == node


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_tune_twice(sweeps: list[Sweep], running: str) -> None:
    first, second = (sweep.trials.drop(columns=["seconds", "images_per_second"]) for sweep in sweeps)
    pd.testing.assert_frame_equal(first, second)
    assert first.trial.to_list() == ["plain-unfreeze0-lr0.001"] and first.status.to_list() == ["finished"]
    assert all(Path(sweep.best, "model.keras").exists() and Path(sweep.report).exists() for sweep in sweeps)
    again = ray_birds.read_sweep(Path(sweeps[0].best).parent)
    pd.testing.assert_frame_equal(again.trials, sweeps[0].trials)
    assert still_runs(running)


@pytest.mark.ray
def test_predict_twice_and_load_give_the_same_numbers(
    sweeps: list[Sweep], running: str, birds: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no image")
    given: dict[str, Any] = {"model": sweeps[0].best, "input": [birds / "test", damaged]}
    one, two = (ray_birds.predict(**given, output=tmp_path / name) for name in ("one", "two"))
    pd.testing.assert_frame_equal(rows(one), rows(two))
    assert len(rows(one)) == len(CLASSES) * COUNTS["test"] + 1 == one.manifest["rows"]
    assert one.failures.path.to_list() == ["damaged.jpg"] and one.failures.error.all()
    assert one.evaluation is not None
    assert one.evaluation.accuracy.value == rows(one).correct.dropna().mean()
    assert repr(one).startswith(f"<Predictions: {len(rows(one))} rows, 1 failed, accuracy ")
    assert Path(one.report).exists() and still_runs(running)

    model = ray_birds.load(Path(sweeps[0].best))
    here = model.predict(given["input"]).sort_values("path", ignore_index=True)
    pd.testing.assert_frame_equal(here, rows(one))
    assert model.classes == CLASSES and "MobileNetV2-0.35, 3 classes" in repr(model)
    first, second = (ray_birds.load(sweep.best).predict(birds / "test").drop(columns="model") for sweep in sweeps)
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.ray
def test_check_twice(running: str, own_birds: Path, tmp_path: Path) -> None:
    copied = next((own_birds / "test" / CLASSES[0]).iterdir())
    (own_birds / "train" / CLASSES[0] / "copy.jpg").write_bytes(copied.read_bytes())
    one, two = (ray_birds.check(own_birds, output=tmp_path / name) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one.findings, two.findings)
    (leak,) = one.findings[one.findings.blocking].itertuples()
    assert (leak.kind, leak.images) == ("leak", 2) and "1 finding blocks a sweep" in one.blocking
    assert repr(one) == f"<Check: {str(own_birds)!r}, {len(one.findings)} findings, blocking: True>"
    assert Path(one.report).exists() and still_runs(running)
