"""A sweep's results, read once into typed objects: its trials, winner, significance.

The terminal, trials.csv, the report, the model card and the Python API all take their numbers from here.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ray_birds.config import TuneConfig
from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.data.inspection import Folds
from ray_birds.evaluation import wording
from ray_birds.evaluation.cost import Cost
from ray_birds.evaluation.leakage import copied
from ray_birds.evaluation.recalls import Recalls
from ray_birds.evaluation.significance import Significance
from ray_birds.evaluation.temperature import Temperature
from ray_birds.sweep import comparison, factors
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import FOLD, Variant
from ray_birds.sweep.outcome import Predictions, Trial

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Results:
    """A finished sweep; `trials` the best first, `run` and `dataset` are the files' content."""

    directory: SweepDirectory
    config: TuneConfig
    run: dict[str, Any]
    dataset: dict[str, Any]
    bad_images: list[dict[str, str]]
    splits: dict[str, str]  # split of each image by path, where the sweep made splits
    trials: tuple[Trial, ...]

    @property
    def winner(self) -> Trial | None:
        return next((trial for trial in self.trials if trial.name == self.run["winner"]), None)

    @property
    def failed(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if trial.status == "failed")

    @property
    def left_out(self) -> str:
        """What --time-limit left no time for, in a sentence; empty where it did."""
        names = [trial.name for trial in self.trials if trial.status == "stopped"]
        if not names or not self.config.time_limit:
            return ""
        return (
            f"{len(names)} of {len(self.trials)} variants had not ended when the time limit of "
            f"{self.config.time_limit} was over, and are not compared: {', '.join(names)}."
        )

    @cached_property
    def temperature(self) -> Temperature | None:
        """That of the winner's bundle; None where there is none, or no longer."""
        measured = self.directory.metrics()
        return None if measured is None else Temperature(**measured["temperature"])

    @cached_property
    def tta(self) -> str:
        """What the winner scored with test-time augmentation, in a sentence; empty where that was not asked."""
        return " ".join(wording.tta(self.directory.metrics() or {}))

    @cached_property
    def significance(self) -> Significance | None:
        """How the other finished trials compare with the winner on valid; None where no trial won."""
        if self.winner is None or self.winner.valid is None:
            return None
        return comparison.compare(self.trials, self.winner.name, self.config.margin, self.dataset["copies"])

    @cached_property
    def recalls(self) -> Recalls | None:
        """Recall by class of the plain head and of the winner; None where classes are even, or one is missing."""
        return (
            None if self.winner is None else comparison.compare_recall(self.trials, self.winner.name, self.dataset)
        )


def trials(
    directory: SweepDirectory,
    variants: dict[str, Variant],
    errors: dict[str, str],
    gpus: float,
    costs: Mapping[str, Cost] = MappingProxyType({}),
    workers: int = 1,
) -> tuple[Trial, ...]:
    """What the trials of these variants left behind, the best first; `errors` and `costs` by name.

    A cost is that beside the trial's own training.
    """
    varied = factors.varied(variants.values())
    histories = {name: tuple(Epoch(**epoch) for epoch in directory.history(name)) for name in variants}
    folds, tested = directory.folds(), _tested(directory, variants)
    failures = [row["trial"] for row in directory.failures()]
    if folds:
        failures = [trial.rpartition(f"-{FOLD}")[0] or trial for trial in failures]
    found = [
        Trial(
            name=name,
            variant=variant,
            recipe=variant.recipe(varied),
            error=errors.get(name) or _not_finite(histories[name]),
            gpus=gpus,
            failures=failures.count(name),
            base=costs.get(name, Cost()),
            history=histories[name],
            valid=_predictions(directory.predictions(name, "valid"), folds),
            test=tested.get(name),
            workers=workers,
        )
        for name, variant in variants.items()
    ]
    return tuple(sorted(found, key=lambda trial: trial.rank))


def with_test(directory: SweepDirectory, found: Iterable[Trial], name: str) -> tuple[Trial, ...]:
    """These trials, with the test predictions of the one called `name`, which were made since they were read."""
    test = _tested(directory, [name]).get(name)
    return tuple(dataclasses.replace(one, test=test) if one.name == name else one for one in found)


def _not_finite(history: tuple[Epoch, ...]) -> str:
    """Why a trial with a loss that is not a number counts as failed, whoever wrote its history; else empty."""
    bad = (one.epoch for one in history if not math.isfinite(one.loss + one.valid_loss))
    return next((f"loss not finite after epoch {epoch}" for epoch in bad), "")


def read(directory: SweepDirectory, config_class: type[TuneConfig] = TuneConfig) -> Results:
    """The results of a sweep that has ended. Raises OSError where a file that every sweep writes is missing."""
    run = directory.run()
    variants = {name: config_class.variant.from_values(about["variant"]) for name, about in run["trials"].items()}
    errors = {name: about["error"] for name, about in run["trials"].items()}
    costs = {name: Cost(**about["cost"]) for name, about in run["trials"].items()}
    found = trials(directory, variants, errors, run["gpus_per_trial"], costs, run.get("workers_per_trial", 1))
    return assemble(directory, directory.config(config_class), run, found)


def assemble(
    directory: SweepDirectory, config: TuneConfig, run: dict[str, Any], found: tuple[Trial, ...]
) -> Results:
    """The results whose run and trials are known already; the rest is read."""
    return Results(directory, config, run, directory.dataset(), directory.bad_images(), directory.splits(), found)


def trial_facts(found: tuple[Trial, ...]) -> dict[str, dict[str, Any]]:
    """What run.json says of each trial, for `read`."""
    return {
        trial.name: {
            "variant": dataclasses.asdict(trial.variant),
            "error": trial.error,
            "cost": dataclasses.asdict(trial.cost),
        }
        for trial in found
    }


def _tested(directory: SweepDirectory, names: Iterable[str]) -> dict[str, Predictions]:
    """The predictions on test of those trials that were scored on it."""
    read = {name: _predictions(directory.predictions(name, "test")) for name in names}
    found = {name: rows for name, rows in read.items() if rows is not None}
    copies = directory.dataset()["copies"].get("test", ()) if found else ()
    return {
        name: dataclasses.replace(rows, seen=copied(rows.path.tolist(), copies)) for name, rows in found.items()
    }


def _predictions(table: pa.Table | None, folds: Folds | None = None) -> Predictions | None:
    if table is None:
        return None
    tested = None if folds is None else folds.held_out >= 0
    return Predictions(
        path=table["path"].to_numpy(),
        label=table["label"].to_numpy(),
        prediction=table["prediction"].to_numpy(),
        probability=table["probability"].to_numpy().astype(np.float64),
        correct=table["correct"].to_numpy().astype(bool),
        fold=None if folds is None else folds.held_out[tested],
        group=None if folds is None else folds.group[tested],
    )


@dataclass(frozen=True)
class Sweep:
    """A finished sweep, as the Python API gives it; `results` holds the same as typed objects."""

    results: Results

    @classmethod
    def at(cls, uri: str | os.PathLike[str]) -> "Sweep":
        """The sweep in this directory. Raises OutputError where there is no finished one."""
        directory = SweepDirectory(storage.resolve(os.fspath(uri)))
        try:
            return cls(read(directory))
        except (OSError, ValueError, KeyError) as error:
            raise OutputError(f"{directory.uri}: holds no finished sweep; expected <results>/<name>") from error

    @property
    def trials(self) -> "pd.DataFrame":
        """One row per trial, the best first, with the columns of trials.csv."""
        import pandas as pd

        return pd.DataFrame([trial.row() for trial in self.results.trials])

    @property
    def winner(self) -> str | None:
        """The name of the winning trial; None where none finished."""
        return self.results.winner.name if self.results.winner else None

    @property
    def significance(self) -> Significance | None:
        return self.results.significance

    @property
    def best(self) -> str:
        """The winner's bundle."""
        return self.results.directory.best

    @property
    def report(self) -> str:
        """The page with all of it."""
        return self.results.directory.report

    def history(self, trial: str) -> "pd.DataFrame":
        """One row per epoch of a trial. Raises KeyError where there is no such trial."""
        import pandas as pd

        epochs = {one.name: one.history for one in self.results.trials}[trial]
        return pd.DataFrame([dataclasses.asdict(epoch) for epoch in epochs])

    def __repr__(self) -> str:
        valid = self.results.winner.valid_accuracy if self.results.winner else math.nan
        return f"<Sweep: {len(self.results.trials)} trials, winner {self.winner}, valid accuracy {valid:.4f}>"

    def _repr_html_(self) -> str:
        scores = ["trial", "status", "epochs", "valid_accuracy", "valid_loss", "test_accuracy", "seconds"]
        return str(self.trials[scores].to_html(index=False, na_rep=""))
