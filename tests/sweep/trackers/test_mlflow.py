"""MLflow as a tracker, through MLflow's own server with SQLite on this machine; and wandb in the same sweep."""

import dataclasses
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ray_birds
from ray_birds.data import decode
from ray_birds.demo.pretrain import WEIGHTS
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Results, Sweep
from ray_birds.sweep.trackers.tracking import Tracking
from tests.conftest import CLASSES
from tests.sweep.trackers.conftest import Program, Server, free_port
from tests.sweep.trackers.test_wandb import told

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PASSWORD = "passw0rd-of-the-tracker"
SIZE = 64


def runs(server: Server, experiment: str) -> dict[str, Any]:
    """The runs of an experiment by name."""
    from mlflow import MlflowClient

    client = MlflowClient(server.uri)
    found = client.get_experiment_by_name(experiment)
    return {run.info.run_name: run for run in client.search_runs([found.experiment_id])} if found else {}


def history(server: Server, run: Any, metric: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    found = MlflowClient(server.uri).get_metric_history(run.info.run_id, metric)
    return [(one.step, one.value) for one in found]


def files(server: Server, run: Any, folder: str = "") -> set[str]:
    from mlflow import MlflowClient

    return {one.path for one in MlflowClient(server.uri).list_artifacts(run.info.run_id, folder or None)}


def test_a_server_that_dies_is_one_line_and_gets_the_rest_when_it_is_back(
    server: Server,
    plan: Plan,
    finished: Results,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed between two trials; and a sweep that is resumed goes on with its runs."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "dies")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    sweep = dataclasses.replace(finished, run=finished.run | {"winner": None})
    config = finished.config.replace(track=(f"mlflow:{server.uri}",))
    first, second, *_ = finished.trials
    with Tracking(config) as tracking:
        tracking.begin(plan)
        tracking.epochs(first.name, first.history[:3])
        while first.name not in runs(server, "dies") or not runs(server, "dies")[first.name].data.metrics:
            time.sleep(0.1)
        server.stop()
        tracking.epochs(first.name, first.history[:4])
        while not (said := capsys.readouterr().out):
            time.sleep(0.1)
        tracking.epochs(second.name, second.history)
        server.start()
        tracking.finish(sweep)
    assert said.startswith("warning: --track mlflow: ") and said.count("\n") == 1
    (line,) = capsys.readouterr().out.splitlines()
    found = runs(server, "dies")
    parent = found.pop("tried")
    assert line.endswith(f"/runs/{parent.info.run_id}")
    assert set(found) == {trial.name for trial in finished.trials}
    check_runs(server, found, finished)

    with Tracking(config) as tracking:
        tracking.begin(plan)
        for trial in finished.trials:
            tracking.epochs(trial.name, trial.history)
        tracking.finish(sweep)
    again = runs(server, "dies")
    assert {run.info.run_id for run in again.values()} == {
        parent.info.run_id,
        *(run.info.run_id for run in found.values()),
    }
    check_runs(server, again, finished)


def check_runs(server: Server, found: dict[str, Any], finished: Results) -> None:
    """Each trial's run has its factors by name and each epoch once."""
    for trial in finished.trials:
        run = found[trial.name]
        assert run.info.status == "FINISHED"
        assert run.data.params == {name: str(value) for name, value in trial.variant.values.items()}
        for metric in ("loss", "valid_accuracy"):
            assert history(server, run, metric) == [(row.epoch, getattr(row, metric)) for row in trial.history]
        assert run.data.metrics["kept_accuracy"] == trial.valid_accuracy


@pytest.fixture(scope="module")
def sweep(server: Server, local_ray: None, birds: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep that both trackers follow, with passwords in its environment."""
    pytest.importorskip("wandb")
    secrets = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": PASSWORD, "WANDB_API_KEY": PASSWORD}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (secrets | {"WANDB_MODE": "offline"}).items():
            patch.setenv(name, value)
        return ray_birds.tune(
            data=birds,
            results=tmp_path_factory.mktemp("results"),
            name="first",
            backbone="MobileNetV2-0.35",
            weights=WEIGHTS,
            image_size=SIZE,
            augment="off",
            unfreeze=[0, 10],
            fine_tune_epochs=2,
            track=[f"mlflow:{server.uri}", "wandb"],
        )


@pytest.mark.ray
def test_a_sweep_is_followed(server: Server, sweep: Sweep) -> None:
    found = runs(server, "birds")
    check_runs(server, found, sweep.results)
    parent = found["first"]
    assert parent.info.status == "FINISHED" and parent.data.tags["winner"] == sweep.winner
    assert parent.data.params["image_size"] == str(SIZE) and parent.data.params["unfreeze"] == "0, 10"
    assert sweep.results.winner and sweep.significance
    assert parent.data.metrics["test_accuracy"] == sweep.results.winner.test_accuracy
    assert parent.data.tags["mlflow.note.content"] == sweep.significance.text
    assert files(server, parent) >= {"report.html", "trials.csv", "best"}
    assert {"best/model.keras", "best/classes.json"} <= files(server, parent, "best")
    children = [run for run in found.values() if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}


@pytest.mark.ray
def test_so_it_is_by_wandb(sweep: Sweep) -> None:
    runs = told(Path(sweep.best).parent / "wandb")
    for trial in sweep.results.trials:
        assert runs[trial.name].config["unfreeze"] == trial.variant.unfreeze
        assert [row["valid_accuracy"] for row in runs[trial.name].history] == pytest.approx(
            [row.valid_accuracy for row in trial.history]
        )
    assert runs["first"].summary["winner"] == sweep.winner and "first" in runs["first"].artifacts


@pytest.mark.ray
def test_nobody_sees_the_password(sweep: Sweep) -> None:
    """In the results, nor in Ray's logs, in which every runtime environment stands."""
    places = (Path(sweep.best).parent, Path(sweep.results.run["ray_logs"]))
    looked_at = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert len(looked_at) > 50
    assert not [path for path in looked_at if PASSWORD.encode() in path.read_bytes()]


@pytest.mark.ray
def test_the_winner_is_served_from_the_registry(server: Server, sweep: Sweep, birds: Path, tmp_path: Path) -> None:
    """`mlflow models serve` gives the probabilities that the sweep has scored."""
    scored = pd.read_parquet(Path(sweep.best).parent / "trials" / str(sweep.winner) / "test_predictions.parquet")
    pixels = np.stack([decode.load_known(str(birds / path), SIZE, "stretch") for path in scored.path])
    port = free_port()
    words = ["models", "serve", "-m", "models:/birds/1", "--env-manager", "local", "--host", "127.0.0.1"]
    served = Program(
        [*words, "-p", str(port)],
        f"http://127.0.0.1:{port}/health",
        tmp_path / "serve.log",
        MLFLOW_TRACKING_URI=server.uri,
        CUDA_VISIBLE_DEVICES="",
    )
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": pixels.tolist()}).encode(),
            {"Content-Type": "application/json"},
        )
        answer = np.array(json.loads(urllib.request.urlopen(request, timeout=60).read())["predictions"])
    finally:
        served.stop()
    assert answer.shape == (len(scored), len(CLASSES))
    np.testing.assert_allclose(answer.max(axis=1), scored.probability, atol=1e-4)
    assert [CLASSES[index] for index in answer.argmax(axis=1)] == list(scored.prediction)
