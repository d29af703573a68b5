"""What a sweep left behind, read from its folder."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ray_birds.config import TuneConfig
from ray_birds.core import storage
from ray_birds.sweep.results import Results, rank, read_csv


@dataclass(frozen=True)
class Predictions:
    """Labelled rows: texts as (n,) object arrays, `probability` (n,) float64, `correct` (n,) bool."""

    path: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    probability: np.ndarray
    correct: np.ndarray

    def __len__(self) -> int:
        return len(self.path)

    def mistakes(self) -> np.ndarray:
        """Numbers of the wrong rows, the most confident first."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.probability[wrong], kind="stable")]


class Epoch(NamedTuple):
    """A row of history.csv."""

    epoch: int
    phase: str
    loss: float
    accuracy: float
    valid_loss: float
    valid_accuracy: float


@dataclass(frozen=True)
class Trial:
    """A row of trials.csv with the history and the predictions beside it; NaN where the row is empty."""

    name: str
    settings: dict[str, str]  # backbone, augment, unfreeze, learning_rate, seed, batch_size: as written
    status: str
    epochs: int
    valid_accuracy: float
    test_accuracy: float
    seconds: float
    images_per_second: float
    error: str
    history: tuple[Epoch, ...]
    valid: Predictions | None
    test: Predictions | None

    @property
    def recipe(self) -> str:
        """The name without the seed, the same for all replicates."""
        return self.name.removesuffix(f"-seed{self.settings['seed']}")


@dataclass(frozen=True)
class Sweep:
    """A results folder; `trials` the best first, `run` and `dataset` are the files' content."""

    uri: str
    config: TuneConfig
    run: dict[str, Any]
    dataset: dict[str, Any]
    bad_images: list[dict[str, str]]
    splits: dict[str, str]  # split of each image by path, where the sweep made splits
    trials: tuple[Trial, ...]

    @property
    def winner(self) -> Trial | None:
        return next((trial for trial in self.trials if trial.name == self.run["winner"]), None)


def read_sweep(uri: str) -> Sweep:
    """The sweep in the folder `uri`. Raises OSError where a file that every sweep writes is missing."""
    results = Results(storage.resolve(uri))
    made = results.path("splits.csv")
    return Sweep(
        uri=results.uri,
        config=results.config(),
        run=storage.read_json(results.path("run.json")),
        dataset=results.dataset(),
        bad_images=read_csv(results.path("bad_images.csv")),
        splits={row["path"]: row["split"] for row in read_csv(made)} if storage.exists(made) else {},
        trials=tuple(_trial(row, results) for row in sorted(results.trials(), key=rank)),
    )


def _trial(row: dict[str, str], results: Results) -> Trial:
    keys = ("backbone", "augment", "unfreeze", "learning_rate", "seed", "batch_size")
    return Trial(
        name=row["trial"],
        settings={key: row[key] for key in keys},
        status=row["status"],
        epochs=int(row["epochs"] or 0),
        valid_accuracy=_number(row["valid_accuracy"]),
        test_accuracy=_number(row["test_accuracy"]),
        seconds=_number(row["seconds"]),
        images_per_second=_number(row["images_per_second"]),
        error=row["error"],
        history=tuple(_epoch(epoch) for epoch in results.history(row["trial"])),
        valid=_predictions(results.predictions(row["trial"], "valid")),
        test=_predictions(results.predictions(row["trial"], "test")),
    )


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _epoch(row: dict[str, str]) -> Epoch:
    measures = ("loss", "accuracy", "valid_loss", "valid_accuracy")
    return Epoch(int(row["epoch"]), row["phase"], *(_number(row[measure]) for measure in measures))


def _predictions(table: pa.Table | None) -> Predictions | None:
    if table is None:
        return None
    return Predictions(
        path=table["path"].to_numpy(),
        label=table["label"].to_numpy(),
        prediction=table["prediction"].to_numpy(),
        probability=table["probability"].to_numpy().astype(np.float64),
        correct=table["correct"].to_numpy().astype(bool),
    )
