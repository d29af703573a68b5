"""What a sweep leaves behind, one directory: the files, their names and columns; no Ray, no TensorFlow.

config.json  run.json  dataset.json  seen.npy  bad_images.csv  splits.csv  folds.csv  trials.csv  failures.csv
report.html  tensorboard/  best/
tracked.json       what --track has made of the sweep: its run at MLflow, what begins the ids of its runs at wandb
heads/<head>.npz   solved heads, which several trials begin with
trials/<trial>/history.csv, history.json one row per epoch
trials/<trial>/valid_predictions.parquet one row per image of valid, after the last epoch
trials/<trial>-fold<n>/scores<epoch>.npy what the trial that holds out a fold says of it after each epoch
trials/<trial>/test_predictions.parquet  where the trial was scored on test
trials/<trial>/checkpoint0.npz, checkpoint1.npz   what a killed trial resumes from: its last two epochs
"""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_birds.config import TuneConfig
from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.core.tables import read_csv, write_csv
from ray_birds.data import seen
from ray_birds.data.dataset import Split
from ray_birds.data.inspection import BadImage, Folds, Inspection

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
class SweepDirectory:
    """A sweep's directory at an absolute URI or path."""

    uri: str

    def path(self, *names: str) -> str:
        return storage.join(self.uri, *names)

    @property
    def best(self) -> str:
        return self.path("best")

    @property
    def report(self) -> str:
        return self.path("report.html")

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

    def config(self, config_class: type[TuneConfig] = TuneConfig) -> TuneConfig:
        return config_class.from_json(storage.read(self.path("config.json")).decode())

    def write_config(self, config: TuneConfig) -> None:
        storage.write(self.path("config.json"), config.to_json().encode())

    def begin(self, config: TuneConfig, inspection: Inspection, weights: str) -> None:
        """Write what a sweep starts from, its settings first: from here on --resume continues it.

        `weights` is their digest.
        """
        self.write_config(config.replace(resume=False))
        self.write_dataset(inspection, weights)

    def checkpoints(self, trial: str) -> list[bytes]:
        """The states that a trial has written, of its last two epochs, in no order."""
        return [data for uri in self._checkpoints(trial) if (data := _found(uri)) is not None]

    def write_checkpoint(self, trial: str, epoch: int, state: bytes) -> None:
        """By turns in one of two files: where the newer is damaged, the trial repeats one epoch."""
        if epoch == 1:  # of a trial that restarts, with half the batch: what it had counts no more
            storage.remove_file(self._checkpoints(trial)[0])
        storage.write(self._checkpoints(trial)[epoch % 2], state)

    def _checkpoints(self, trial: str) -> list[str]:
        return [self.path("trials", trial, f"checkpoint{slot}.npz") for slot in range(2)]

    def head(self, key: str) -> bytes | None:
        """A solved head; None where there is none yet."""
        return _found(self.path("heads", f"{key}.npz"))

    def write_head(self, key: str, data: bytes) -> None:
        storage.write(self.path("heads", f"{key}.npz"), data)

    def write_history(self, trial: str, epochs: Sequence[dict[str, Any]]) -> None:
        """One row per epoch: history.json with the numbers as they are, history.csv for people."""
        storage.write_json(self.path("trials", trial, "history.json"), list(epochs))
        write_csv(self.path("trials", trial, "history.csv"), list(epochs[0]), epochs)

    def history(self, trial: str) -> list[dict[str, Any]]:
        """What `write_history` wrote; empty where the trial has not finished an epoch."""
        data = _found(self.path("trials", trial, "history.json"))
        return [] if data is None else list(json.loads(data))

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
        data = _found(self._predictions(trial, split))
        return None if data is None else pq.read_table(io.BytesIO(data))

    def write_scores(self, trial: str, epoch: int, scores: np.ndarray) -> None:
        """`scores` (n, classes) float32 are what a trial says after an epoch of the fold that it holds out."""
        buffer = io.BytesIO()
        np.save(buffer, scores, allow_pickle=False)
        storage.write(self.path("trials", trial, f"scores{epoch}.npy"), buffer.getvalue())

    def scores(self, trial: str, epoch: int) -> np.ndarray:
        """What `write_scores` wrote."""
        data = storage.read(self.path("trials", trial, f"scores{epoch}.npy"))
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))

    def metrics(self) -> dict[str, Any] | None:
        """What the winner's bundle scored; None where there is no bundle."""
        data = _found(storage.join(self.best, "metrics.json"))
        return None if data is None else dict(json.loads(data))

    def _predictions(self, trial: str, split: str) -> str:
        return self.path("trials", trial, f"{split}_predictions.parquet")

    def write_dataset(self, inspection: Inspection, weights: str) -> None:
        data = inspection.dataset
        write_csv(self.path("bad_images.csv"), BadImage._fields, (image._asdict() for image in inspection.bad))
        if inspection.made:
            rows = ({"split": name, "path": path} for name in data.splits for path in data.splits[name].paths)
            write_csv(self.path("splits.csv"), ("split", "path"), rows)
        folds = inspection.folds
        if folds:
            columns = (folds.held_out.tolist(), folds.group.tolist(), data.splits["train"].paths)
            rows = ({"fold": n, "group": g, "path": path} for n, g, path in zip(*columns, strict=True))
            write_csv(self.path("folds.csv"), ("fold", "group", "path"), rows)
        facts = {
            "root": data.root,
            "fingerprint": _fingerprint(inspection),
            "weights": weights,
            "classes": list(data.classes),
            "splits": {name: len(split) for name, split in data.splits.items()},
            "train_images": np.bincount(data.splits["train"].labels, minlength=len(data.classes)).tolist(),
            "notes": list(data.notes),
            "made": list(inspection.made),
            "folds": folds.count if folds else 0,
            "grouped": folds is not None and len(np.unique(folds.group)) < len(folds.group),
            "bad_images": len(inspection.bad),
            "copies": inspection.copies,
        }
        storage.write(self.path("seen.npy"), seen.to_bytes(inspection.seen))
        storage.write_json(self.path("dataset.json"), facts)

    def began_with(self, inspection: Inspection) -> bool:
        """Whether the sweep's images are these; also where it ended before it had looked at them."""
        try:
            return bool(self.dataset()["fingerprint"] == _fingerprint(inspection))
        except FileNotFoundError:
            return True

    def weights(self) -> str:
        """The digest of the weights that the sweep began with; empty where it ended before it wrote that."""
        try:
            return str(self.dataset()["weights"])
        except FileNotFoundError:
            return ""

    def dataset(self) -> dict[str, Any]:
        """What `write_dataset` wrote."""
        return dict(storage.read_json(self.path("dataset.json")))

    def seen(self) -> np.ndarray:
        """The list of the images that the sweep trains on and chooses by, see data.seen."""
        return seen.from_bytes(storage.read(self.path("seen.npy")))

    def bad_images(self) -> list[dict[str, str]]:
        """Rows of BadImage: the files that could not be read."""
        return read_csv(self.path("bad_images.csv"))

    def splits(self) -> dict[str, str]:
        """Split of each image by path, where the sweep made splits; otherwise empty."""
        made = self.path("splits.csv")
        return {row["path"]: row["split"] for row in read_csv(made)} if storage.exists(made) else {}

    def folds(self) -> Folds | None:
        """Those of the training images; None where the sweep has none."""
        uri = self.path("folds.csv")
        if not storage.exists(uri):
            return None
        rows = read_csv(uri)
        return Folds(*(np.array([row[name] for row in rows], np.int64) for name in ("fold", "group")))

    def failures(self) -> list[dict[str, str]]:
        """Rows of FAILURES, values as text: each time that a trial's process or node died, or it raised."""
        try:
            return read_csv(self.path("failures.csv"))
        except FileNotFoundError:
            return []

    def write_failures(self, rows: Sequence[dict[str, Any]]) -> None:
        write_csv(self.path("failures.csv"), FAILURES, rows)

    def write_trials(self, rows: Sequence[dict[str, Any]]) -> None:
        write_csv(self.path("trials.csv"), list(rows[0]), rows)

    def run(self) -> dict[str, Any]:
        """What `write_run` wrote."""
        return dict(storage.read_json(self.path("run.json")))

    def tracked(self) -> dict[str, str]:
        """What a tracker calls this sweep, by the tracker's name; empty where none knows it."""
        data = _found(self.path("tracked.json"))
        return {} if data is None else dict(json.loads(data))

    def write_tracked(self, tracker: str, name: str) -> None:
        storage.write_json(self.path("tracked.json"), self.tracked() | {tracker: name})

    def write_run(self, facts: dict[str, Any]) -> None:
        storage.write_json(self.path("run.json"), facts)


def _found(uri: str) -> bytes | None:
    """The bytes of a file; None where there is none."""
    try:
        return storage.read(uri)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _fingerprint(inspection: Inspection) -> str:
    facts = [f"{split} {value}" for split, value in sorted(inspection.fingerprints.items())]
    folds = inspection.folds
    return storage.digest([*facts, *([f"folds {folds.held_out.tolist()}"] if folds else [])])
