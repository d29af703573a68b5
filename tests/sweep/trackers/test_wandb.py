"""Weights & Biases as a tracker, offline: what it would send is read back from its own files."""

import importlib
import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Results
from ray_birds.sweep.trackers.tracking import Tracking, require

BLOCK = 32768  # bytes, of LevelDB's log format, in which wandb keeps a run


@dataclass
class Told:
    """What a run was told."""

    group: str = ""
    kind: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: set[str] = field(default_factory=set)
    exit_code: int | None = None


def told(folder: Path) -> dict[str, Told]:
    """The runs in a folder of wandb's, by the names that they show, once wandb's own process has written all."""
    deadline = time.monotonic() + 30
    while True:
        found = dict(_run(file) for file in folder.glob("offline-run-*/*.wandb"))
        if all(run.exit_code is not None for run in found.values()) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _records(data: bytes) -> Iterator[bytes]:
    """LevelDB's log format (doc/log_format.md there) behind a header of 7 bytes: chunks of records in blocks."""
    place, record = 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield record
            record = b""


def _run(file: Path) -> tuple[str, Told]:
    format: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    name, run = "", Told()
    for data in _records(file.read_bytes()):
        record = format.Record.FromString(data)
        match record.WhichOneof("record_type"):
            case "run":
                name, run.group, run.kind = record.run.display_name, record.run.run_group, record.run.job_type
                run.config |= _values(record.run.config.update)
            case "history":
                run.history.append(_values(record.history.item))
            case "summary":
                run.summary |= _values(record.summary.update)
            case "request" if record.request.HasField("log_artifact"):
                run.artifacts.add(record.request.log_artifact.artifact.name)
            case "artifact":
                run.artifacts.add(record.artifact.name)
            case "exit":
                run.exit_code = record.exit.exit_code
    return name, run


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.integration
def test_offline_it_keeps_all_in_the_results(
    plan: Plan,
    finished: Results,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    config = finished.config.replace(track=("wandb",))
    require(config)
    with Tracking(config) as tracking:
        tracking.begin(plan)
        for trial in finished.trials[:2]:  # the others are told at the end
            for count in range(1, trial.epochs + 1):
                tracking.epochs(trial.name, trial.history[:count])
            tracking.end(trial.name, trial.status)
        tracking.finish(finished)
    said = capfd.readouterr()
    folder = Path(finished.directory.uri, "wandb")
    assert said.out == f"wandb        wandb sync {folder}/offline-run-*\n" and not said.err
    runs = told(folder)
    assert set(runs) == {"tried", *(trial.name for trial in finished.trials)}
    for trial in finished.trials:
        run = runs[trial.name]
        assert (run.group, run.kind, run.exit_code) == ("tried", "trial", 0)
        assert {name: run.config[name] for name in trial.variant.values} == trial.variant.values
        assert [row["valid_accuracy"] for row in run.history] == [row.valid_accuracy for row in trial.history]
        assert [row["_step"] for row in run.history] == [row.epoch for row in trial.history]
    sweep = runs["tried"]
    assert (sweep.kind, sweep.exit_code, sweep.config["image_size"]) == ("sweep", 0, 224)
    assert finished.winner and sweep.summary["winner"] == finished.winner.name
    assert sweep.summary["test_accuracy"] == finished.winner.test_accuracy
    assert any("tried" in name for name in sweep.artifacts)
