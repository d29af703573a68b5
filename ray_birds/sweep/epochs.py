"""What a trial's epochs gave, one after another: which of them counts, and whether they are all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ray_birds.sweep.factors import Variant


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. Losses are categorical cross-entropy in nats, accuracies shares."""

    epoch: int  # from 1, over both phases
    phase: str  # head | fine-tune
    learning_rate: float  # at the epoch's end; 0 where the head was solved
    loss: float
    accuracy: float
    valid_loss: float
    valid_accuracy: float
    seconds: float
    images_per_second: float  # while training
    batch_size: int  # half of what was asked for where that was too large for the device's memory
    valid_macro_f1: float  # mean F1 of the classes, each counting alike
    waited: float | None = None  # share of the time of training that the device waited for data; None: not taken

    def score(self, by: str) -> float:
        """What --select-by says, the higher the better; a number that is none is worse than any other."""
        value = {"accuracy": self.valid_accuracy, "macro_f1": self.valid_macro_f1, "loss": -self.valid_loss}[by]
        return -math.inf if math.isnan(value) else value


def kept(history: Sequence[Epoch], variant: Variant) -> Epoch:
    """The epoch that a trial is ranked by and whose weights are kept: of equal ones the first."""
    if variant.keep == "last":
        return history[-1]
    return min(history, key=lambda epoch: (-epoch.score(variant.select_by), or_infinite(epoch.valid_loss)))


def ended(history: Sequence[Epoch], variant: Variant) -> bool:
    """Whether a trial is finished: all its epochs are done, or its patience is out."""
    if not history or len(history) == variant.epochs:
        return bool(history)
    before = variant.head_phase if variant.unfreeze != 0 else 0  # epochs that patience does not count
    waited = len(history) - max(kept(history, variant).epoch, before)
    return bool(variant.patience) and waited >= variant.patience


def or_infinite(value: float) -> float:
    return math.inf if math.isnan(value) else value
