"""What a sweep says while it runs where there is no terminal: epochs, what is waited for, trials that fail."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from ray_birds.config import TuneConfig
from ray_birds.core import terminal
from ray_birds.data.dataset import Dataset
from ray_birds.sweep import callbacks
from ray_birds.sweep.callbacks import Progress
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.plan import Plan, variants
from ray_birds.sweep.trackers.tracking import Tracking

FIRST, SECOND = NAMES = ("plain-unfreeze0-lr0.01", "plain-unfreeze0-lr0.02")


class Trial(str):
    """All that is asked of one of Tune's trials."""

    max_failures = 10


@pytest.fixture
def progress(tmp_path: Path) -> Progress:
    config = TuneConfig(
        data="d", head=("adam",), augment=("off",), unfreeze=(0,), learning_rate=(0.01, 0.02), cpus_per_trial=8
    )
    directory, data = SweepDirectory(str(tmp_path)), Dataset("d", ("a", "b"), {})
    plan = Plan(config, directory, "", data, {}, {}, variants(config), frozenset(), threads=8, alone=8, gpus=2.0)
    assert tuple(plan.variants) == NAMES
    return Progress(plan, str(tmp_path / "tensorboard"), Tracking(config))


def result(epoch: int) -> dict[str, Any]:
    scores = dict.fromkeys((field.name for field in dataclasses.fields(Epoch)), 0.5)
    kept = {"kept_epoch": 1, "kept_accuracy": 0.75}
    return (
        scores
        | kept
        | {"epoch": epoch, "images_per_second": 1.0, "waited": 0.25, "gpu": True, "failed": "", "node_ip": "here"}
    )


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_epochs_are_told_but_not_more_than_one_in_ten_seconds(
    progress: Progress, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trial: Any = Trial(FIRST)
    progress.on_trial_start(0, [], trial)
    progress.on_trial_result(0, [], trial, result(1))
    assert not said(capsys)
    monkeypatch.setattr(terminal, "PLAIN_INTERVAL", 0.0)
    progress.on_trial_result(0, [], trial, result(2))
    monkeypatch.undo()
    progress.on_trial_result(0, [], trial, result(3))
    (line,) = said(capsys)
    assert re.match(
        rf"{FIRST}: epoch 2/5, valid accuracy 0.5000; 0/2 trials, [\d,.]+ epochs/min, [\d:]+ to go", line
    )


def test_what_is_waited_for_is_said_while_no_trial_runs(
    progress: Progress, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trial: Any = Trial(FIRST)
    progress.on_step_end(0, [])
    assert not said(capsys)
    monkeypatch.setattr(callbacks, "_WAIT", 0.0)
    progress.on_step_end(0, [])
    assert said(capsys) == ["2 trial(s) wait for a node with 8 CPU(s) and 2 GPU(s) free"]
    progress.on_trial_start(0, [], trial)
    progress.on_step_end(0, [])
    assert not said(capsys)


def test_a_trial_of_several_workers_waits_until_they_have_begun(
    progress: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(callbacks, "_WAIT", 0.0)
    plan, trial = dataclasses.replace(progress._plan, workers=4), Trial(FIRST)
    gang = Progress(plan, str(tmp_path / "logs"), progress._tracking)
    started: Any = trial
    gang.on_trial_start(0, [], started)
    gang.on_step_end(0, [started])
    assert said(capsys) == ["2 trial(s) wait for 4 workers, each with 8 CPU(s) and 2 GPU(s) free"]
    gang.on_trial_result(0, [], started, {"epoch": 0, "valid_accuracy": float("nan"), "failed": ""})
    gang.on_step_end(0, [started])
    assert not said(capsys) and "(4 workers to a trial)" in str(gang._table().title)


def test_of_a_search_the_trials_are_those_that_it_has_chosen(
    progress: Progress, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = progress._plan
    chosen: Any = plan.config.replace(search="optuna", samples=1)
    searched = Progress(dataclasses.replace(plan, config=chosen), str(tmp_path / "logs"), Tracking(chosen))
    trial = Trial(SECOND)
    assert progress.trials == [*NAMES] and searched.trials == []
    pending: Any = trial
    searched.on_step_end(0, [pending])
    assert searched.trials == [SECOND]
    searched.on_trial_start(0, [], pending)
    searched.on_trial_result(0, [], pending, result(5))
    searched.on_trial_complete(0, [], pending)
    assert "1/1 trials" in said(capsys)[-1]


def test_a_trial_that_ended_without_numbers_has_failed(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    trial: Any = Trial(SECOND)
    progress.on_trial_start(0, [], trial)
    progress.on_trial_result(0, [], trial, result(1))
    progress.on_trial_result(0, [], trial, {"epoch": 2, "valid_accuracy": float("nan"), "failed": "no numbers"})
    progress.on_trial_complete(0, [], trial)
    assert progress.errors == {SECOND: "no numbers"}
    first, second = said(capsys)
    assert first == f"{SECOND}: failed after epoch 1: no numbers" and second.startswith(
        f"{SECOND}: failed, valid accuracy 0.7500 in epoch 1;"
    )
