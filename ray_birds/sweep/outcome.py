"""One trial of a sweep and what became of it: its epochs, its predictions, and the scores that follow."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ray_birds.evaluation.cost import Cost
from ray_birds.evaluation.leakage import HeldOut, held_out
from ray_birds.sweep.epochs import Epoch, ended, kept, or_infinite
from ray_birds.sweep.factors import Variant

Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Predictions:
    """Labelled rows: texts as (n,) object arrays, `probability` (n,) float64, `correct` (n,) bool.

    With folds `fold` and `group` (n,) int64 say which one held an image out, and what it belongs to; of test
    `seen` (n,) bool says which have a copy in train or valid.
    """

    path: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    probability: np.ndarray
    correct: np.ndarray
    fold: np.ndarray | None = None
    group: np.ndarray | None = None
    seen: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.path)

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.correct))

    @property
    def by_fold(self) -> tuple[float, ...]:
        """The accuracy on the images that each fold held out; empty without folds."""
        if self.fold is None:
            return ()
        return tuple(float(np.mean(self.correct[self.fold == number])) for number in np.unique(self.fold))

    def mistakes(self) -> np.ndarray:
        """Indices of the wrong rows, the most confident first."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.probability[wrong], kind="stable")]


@dataclass(frozen=True)
class Trial:
    """One variant of a sweep and what became of it. Numbers are NaN where there are none."""

    name: str
    variant: Variant
    recipe: str  # the name without the seed: the same for all replicates
    error: str  # why it failed, or ""
    gpus: float
    failures: int  # how often its process or node died, or it raised
    base: Cost  # of the features it read and of its model
    history: tuple[Epoch, ...]
    valid: Predictions | None
    test: Predictions | None
    workers: int = 1  # that trained it together, each with these GPUs

    @property
    def status(self) -> Status:
        if self.error:
            return "failed"
        return "finished" if ended(self.history, self.variant) else "stopped"

    @property
    def kept(self) -> Epoch | None:
        """The epoch that counts: its scores are the trial's, its weights the bundle's."""
        return kept(self.history, self.variant) if self.history else None

    @property
    def epochs(self) -> int:
        return len(self.history)

    @property
    def valid_accuracy(self) -> float:
        return self.kept.valid_accuracy if self.kept else math.nan

    @property
    def valid_loss(self) -> float:
        return self.kept.valid_loss if self.kept else math.nan

    @property
    def valid_macro_f1(self) -> float:
        return self.kept.valid_macro_f1 if self.kept else math.nan

    @property
    def score(self) -> float:
        """What --select-by says of the epoch that counts, the higher the better."""
        return self.kept.score(self.variant.select_by) if self.kept else -math.inf

    @property
    def tested(self) -> HeldOut | None:
        """What it named right on test, those with a copy in train or valid apart; None where it was not scored."""
        return held_out("test", self.test.correct, self.test.seen) if self.test else None

    @property
    def test_accuracy(self) -> float:
        """That of the test images without such a copy, as in all that is said of the winner."""
        return self.tested.accuracy.value if self.tested else math.nan

    @property
    def seconds(self) -> float:
        return sum(epoch.seconds for epoch in self.history)

    @property
    def cost(self) -> Cost:
        return dataclasses.replace(self.base, seconds=self.seconds)

    @property
    def images_per_second(self) -> float:
        """While training: of equal numbers of images per epoch, the harmonic mean of the epochs' rates."""
        if not self.history:
            return math.nan
        return len(self.history) / sum(1 / epoch.images_per_second for epoch in self.history)

    @property
    def waited(self) -> float:
        """Share of the time of training that the device waited for data, in the epochs that took steps."""
        timed = [(epoch.waited, epoch.seconds) for epoch in self.history if epoch.waited is not None]
        total = sum(seconds for _, seconds in timed)
        return sum(share * seconds for share, seconds in timed) / total if total else math.nan

    @property
    def batch_size(self) -> int:
        return self.history[-1].batch_size if self.history else self.variant.batch_size

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Sort key, best first: finished ones, by what --select-by says, then by valid loss."""
        return self.status != "finished", -self.score, or_infinite(self.valid_loss)

    def row(self) -> dict[str, Any]:
        """The row of trials.csv: the factors by name, and what came of them; None for NaN."""
        row = {
            "trial": self.name,
            **self.variant.values,
            "batch_size": self.batch_size,
            "precision": self.variant.precision,
            "status": self.status,
            "folds": len(self.valid.by_fold) if self.valid else 0,
            "epochs": self.epochs,
            "kept_epoch": self.kept.epoch if self.kept else None,
            "valid_accuracy": self.valid_accuracy,
            "valid_loss": self.valid_loss,
            "valid_macro_f1": self.valid_macro_f1,
            "test_accuracy": self.test_accuracy,
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
            "waited": self.waited,
            "feature_seconds": self.cost.feature_seconds,
            "parameters": self.cost.parameters,
            "multiply_adds": self.cost.multiply_adds,
            "workers": self.workers,
            "gpus": f"{self.gpus:g}",
            "failures": self.failures,
            "error": self.error,
        }
        return {name: None if value != value else value for name, value in row.items()}
