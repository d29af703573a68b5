"""What a sweep leaves behind, one directory: the files, their names and columns; no Ray, no TensorFlow.

config.json  run.json  dataset.json  bad_images.csv  splits.csv  trials.csv  failures.csv  report.html
tensorboard/  best/
trials/<trial>/history.csv               one row per epoch
trials/<trial>/valid_predictions.parquet one row per image of valid, after the last epoch
trials/<trial>/test_predictions.parquet  where the trial was scored on test
trials/<trial>/checkpoint0.npz, checkpoint1.npz   what a killed trial resumes from: its last two epochs
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_birds.config import TuneConfig, Variant
from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.data.dataset import Split
from ray_birds.data.inspection import BadImage, Inspection

TRIAL_COLUMNS = (
    "trial",
    "backbone",
    "augment",
    "unfreeze",
    "learning_rate",
    "seed",
    "batch_size",
    "precision",
    "status",
    "epochs",
    "valid_accuracy",
    "valid_loss",
    "test_accuracy",
    "seconds",
    "images_per_second",
    "gpus",
    "failures",
    "error",
)
FAILURES = ("time", "trial", "epoch", "node", "reason")

PREDICTIONS = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("probability", pa.float32()),
        ("correct", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Results:
    """A sweep's directory at an absolute place."""

    uri: str

    def path(self, *names: str) -> str:
        return storage.join(self.uri, *names)

    @property
    def best(self) -> str:
        return self.path("best")

    def exists(self) -> bool:
        return storage.exists(self.path("config.json"))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What cannot be written, by a worker either, is an OutputError that says the way out."""
        try:
            yield
        except OSError as error:
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise OutputError(
                f"{self.uri}: cannot be written ({reason[0]}); when this is mended, --resume continues"
            ) from error

    def config(self) -> TuneConfig:
        return TuneConfig.from_json(storage.read(self.path("config.json")).decode())

    def checkpoints(self, trial: str) -> list[bytes]:
        """The states that a trial has written, of its last two epochs, in no order."""
        found = []
        for uri in self._checkpoints(trial):
            with suppress(FileNotFoundError, NotADirectoryError):
                found.append(storage.read(uri))
        return found

    def write_checkpoint(self, trial: str, epoch: int, state: bytes) -> None:
        """By turns in one of two files: where the newer is damaged, the trial repeats one epoch."""
        if epoch == 1:  # of a trial that restarts, with half the batch: what it had counts no more
            storage.remove_file(self._checkpoints(trial)[0])
        storage.write(self._checkpoints(trial)[epoch % 2], state)

    def _checkpoints(self, trial: str) -> list[str]:
        return [self.path("trials", trial, f"checkpoint{slot}.npz") for slot in range(2)]

    def write_history(self, trial: str, epochs: Sequence[dict[str, Any]]) -> None:
        write_csv(self.path("trials", trial, "history.csv"), list(epochs[0]), epochs)

    def history(self, trial: str) -> list[dict[str, str]]:
        """Rows of a trial's history, values as text; empty where it has not finished an epoch."""
        try:
            return read_csv(self.path("trials", trial, "history.csv"))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def write_predictions(self, trial: str, split: Split, classes: tuple[str, ...], scores: np.ndarray) -> None:
        """`scores` (n, classes) are the probabilities of the split's images, in its order."""
        chosen = scores.argmax(axis=1)
        columns = {
            "path": split.paths,
            "label": [classes[label] for label in split.labels],
            "prediction": [classes[label] for label in chosen],
            "probability": scores[np.arange(len(chosen)), chosen],
            "correct": chosen == split.labels,
        }
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns, schema=PREDICTIONS), buffer)
        storage.write(self._predictions(trial, split.name), buffer.getvalue())

    def predictions(self, trial: str, split: str) -> pa.Table | None:
        """The table of PREDICTIONS; None where the trial was not scored on the split."""
        try:
            return pq.read_table(io.BytesIO(storage.read(self._predictions(trial, split))))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _predictions(self, trial: str, split: str) -> str:
        return self.path("trials", trial, f"{split}_predictions.parquet")

    def write_dataset(self, inspection: Inspection) -> None:
        data = inspection.dataset
        write_csv(self.path("bad_images.csv"), BadImage._fields, (image._asdict() for image in inspection.bad))
        if inspection.made:
            rows = ({"split": name, "path": path} for name in data.splits for path in data.splits[name].paths)
            write_csv(self.path("splits.csv"), ("split", "path"), rows)
        facts = {
            "root": data.root,
            "fingerprint": _fingerprint(inspection),
            "classes": list(data.classes),
            "splits": {name: len(split) for name, split in data.splits.items()},
            "notes": list(data.notes),
            "made": list(inspection.made),
            "bad_images": len(inspection.bad),
        }
        storage.write_json(self.path("dataset.json"), facts)

    def began_with(self, inspection: Inspection) -> bool:
        """Whether the sweep's images are these; also where it ended before it had looked at them."""
        try:
            return bool(self.dataset()["fingerprint"] == _fingerprint(inspection))
        except FileNotFoundError:
            return True

    def dataset(self) -> dict[str, Any]:
        """What `write_dataset` wrote."""
        return dict(storage.read_json(self.path("dataset.json")))

    def failures(self) -> list[dict[str, str]]:
        """Rows of FAILURES, values as text: each time that a trial's process or node died, or it raised."""
        try:
            return read_csv(self.path("failures.csv"))
        except FileNotFoundError:
            return []

    def write_failures(self, rows: Sequence[dict[str, Any]]) -> None:
        write_csv(self.path("failures.csv"), FAILURES, rows)

    def trial_row(self, trial: str, variant: Variant, gpus: float, error: str) -> dict[str, Any]:
        """A trial's row of trials.csv, from what it left behind; `gpus` is its share of them."""
        history = self.history(trial)
        last = history[-1] if history else {}
        test = self.predictions(trial, "test")
        seconds = sum(float(epoch["seconds"]) for epoch in history)
        rates = [float(epoch["images_per_second"]) for epoch in history]
        finished = len(history) == variant.epochs
        return {
            "trial": trial,
            "backbone": variant.backbone,
            "augment": "on" if variant.augment else "off",
            "unfreeze": variant.unfreeze,
            "learning_rate": variant.learning_rate,
            "seed": variant.seed,
            "batch_size": last.get("batch_size", variant.batch_size),
            "precision": variant.precision,
            "status": "failed" if error else "finished" if finished else "stopped",
            "epochs": len(history),
            "valid_accuracy": last.get("valid_accuracy", ""),
            "valid_loss": last.get("valid_loss", ""),
            "test_accuracy": "" if test is None else accuracy(test),
            "seconds": round(seconds, 2),
            # Of equal numbers of images per epoch, the overall rate is the harmonic mean of the epochs' rates.
            "images_per_second": round(len(rates) / sum(1 / rate for rate in rates), 2) if rates else "",
            "gpus": f"{gpus:g}",
            "failures": sum(row["trial"] == trial for row in self.failures()),
            "error": error,
        }

    def trials(self) -> list[dict[str, str]]:
        """Rows of trials.csv, values as text."""
        return read_csv(self.path("trials.csv"))

    def write_trials(self, rows: Sequence[dict[str, Any]]) -> None:
        write_csv(self.path("trials.csv"), TRIAL_COLUMNS, rows)


def _fingerprint(inspection: Inspection) -> str:
    return storage.digest(f"{split} {value}" for split, value in sorted(inspection.fingerprints.items()))


def rank(row: dict[str, Any]) -> tuple[bool, float, float]:
    """Sort key of rows of trials.csv, best first: finished ones, by valid accuracy, then by valid loss."""
    accuracy = float(row["valid_accuracy"] or -math.inf)
    return row["status"] != "finished", -accuracy, float(row["valid_loss"] or math.inf)


def accuracy(predictions: pa.Table) -> float:
    return float(np.mean(predictions["correct"].to_numpy()))


def read_csv(uri: str) -> list[dict[str, str]]:
    """Rows below the heading, values as text."""
    return list(csv.DictReader(io.StringIO(storage.read(uri).decode(), newline="")))


def write_csv(uri: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    storage.write(uri, buffer.getvalue().encode())
