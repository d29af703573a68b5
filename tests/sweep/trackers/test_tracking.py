"""What trackers are told, that they are there, and that one that is dead ends nothing and shows no password."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_birds.config import TuneConfig
from ray_birds.core.errors import SettingsError
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Results
from ray_birds.sweep.trackers import tracker, tracking
from ray_birds.sweep.trackers.tracking import Tracking
from tests.conftest import REPOSITORY, SECRET
from tests.sweep.trackers.conftest import free_port


def test_numbers_by_name(finished: Results) -> None:
    trial = finished.trials[0]
    first, last = tracker.numbers(trial.history[:1], trial.variant), tracker.numbers(trial.history, trial.variant)
    assert {"loss", "accuracy", "valid_loss", "valid_accuracy", "learning_rate", "kept_accuracy"} < set(last)
    assert first["kept_accuracy"] == first["valid_accuracy"] < last["kept_accuracy"] == trial.valid_accuracy
    assert tracker.scores(trial) == {
        name: getattr(trial, name) for name in ("valid_accuracy", "valid_loss", "valid_macro_f1", "test_accuracy")
    }
    assert "test_accuracy" not in tracker.scores(finished.trials[1])  # it was not scored there


def test_settings_by_name(finished: Results) -> None:
    told = tracker.settings(finished.config)
    assert (told["unfreeze"], told["batch_size"], told["name"]) == ("0, 10, 100", 32, "tried")


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_what_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(REPOSITORY)])  # where no package is
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SettingsError) as refused:
        tracking.require(TuneConfig(data="d", track=(name,)))
    assert str(refused.value) == (
        f"--track {name} needs {name}, which is not installed: pip install 'ray-birds[{name}]'"
    )


@pytest.mark.integration
def test_a_server_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SettingsError, match="which server"):
        tracking.require(TuneConfig(data="d", track=("mlflow",)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    tracking.require(TuneConfig(data="d", track=("mlflow",)))


@pytest.mark.integration
def test_wandb_needs_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a process of its own: wandb reads its settings once. That it needs none offline is in test_wandb.py."""
    pytest.importorskip("wandb")
    code = (
        "from ray_birds.config import TuneConfig; from ray_birds.sweep.trackers import tracking; "
        "tracking.require(TuneConfig(data='d', track=('wandb',)))"
    )
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "HOME": str(tmp_path),
        "NETRC": str(tmp_path / "netrc"),
        "PYTHONPATH": str(REPOSITORY),
    }.items():
        monkeypatch.setenv(name, value)
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert "--track wandb: no key; run `wandb login`" in done.stderr.splitlines()[-1]


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    for address in (f"http://me:{SECRET}@host", f"http://host/?token={SECRET}", f"https://me:{SECRET}/x@host"):
        with pytest.raises(SettingsError) as refused:
            TuneConfig(data="d", track=(f"mlflow:{address}",))
        assert SECRET not in str(refused.value) and "MLFLOW_TRACKING_PASSWORD" in str(refused.value)


@pytest.mark.integration
def test_a_dead_server_is_one_line(
    plan: Plan, finished: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address comes from the environment, with a password that nobody sees."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    start = time.monotonic()
    with Tracking(finished.config.replace(track=("mlflow",))) as told:
        told.begin(plan)
        for trial in finished.trials:
            told.epochs(trial.name, trial.history)
            told.end(trial.name, trial.status)
        assert time.monotonic() - start < 0.5  # whatever the server does
        told.finish(finished)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: --track mlflow: ") and line.endswith("sent once more at its end")
    assert SECRET not in line and "127.0.0.1" in line
    assert not finished.directory.tracked()


@pytest.mark.integration
def test_an_interrupt_does_not_wait_for_a_dead_server(
    plan: Plan, finished: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setattr(tracking, "_PATIENCE", 0.1)
    told = Tracking(finished.config.replace(track=(f"mlflow:http://127.0.0.1:{free_port()}",)))
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), told:
        told.begin(plan)
        raise KeyboardInterrupt
    assert time.monotonic() - start < 1
