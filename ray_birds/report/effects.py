"""What one factor does, by pairs of trials that differ in it alone; and the gap of over-fitting.

Trials are compared at the epoch of their lowest valid loss: one that was trained too long loses by that, and not
by the factor.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ray_birds.sweep import factors
from ray_birds.sweep.outcome import Trial


@dataclass(frozen=True)
class Effect:
    """Change of best valid accuracy, one number per pair, when `factor` goes from `before` to `after` alone."""

    factor: str
    before: str
    after: str
    pairs: tuple[tuple[Trial, Trial], ...]

    @property
    def changes(self) -> tuple[float, ...]:
        return tuple(best_accuracy(after) - best_accuracy(before) for before, after in self.pairs)

    @property
    def mean(self) -> float:
        return sum(self.changes) / len(self.changes)

    @property
    def epochs(self) -> str:
        """Epochs before and after, such as `5 to 10`; one number where they are the same."""
        sides = [sorted({trial.epochs for trial in side}) for side in zip(*self.pairs, strict=True)]
        texts = ["/".join(str(number) for number in side) for side in sides]
        return texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}"


def best_accuracy(trial: Trial) -> float:
    """Valid accuracy at the epoch of the lowest valid loss; that of the trial where its history is gone."""
    losses = [epoch for epoch in trial.history if not math.isnan(epoch.valid_loss)]
    return min(losses, key=lambda epoch: epoch.valid_loss).valid_accuracy if losses else trial.valid_accuracy


def effects(trials: tuple[Trial, ...]) -> list[Effect]:
    """The effect of each step of each factor (off to on, 0 to 10, 10 to 100 ...) that some pair shows."""
    scored = [t for t in trials if t.status == "finished" and not math.isnan(t.valid_accuracy)]
    known = factors.factors(type(scored[0].variant)) if scored else {}
    found = []
    for name, factor in known.items():
        values = sorted({trial.variant.values[name] for trial in scored}, key=_rank)
        for before, after in pairwise(
            values if name != "seed" else ()
        ):  # of seeds only the spread means something
            pairs = _pairs(scored, name, before, after)
            if pairs:
                found.append(Effect(factor.label, str(before), str(after), pairs))
    return found


def _pairs(trials: list[Trial], factor: str, before: Any, after: Any) -> tuple[tuple[Trial, Trial], ...]:
    def others(trial: Trial) -> tuple[Any, ...]:
        return (*(value for key, value in trial.variant.values.items() if key != factor), trial.batch_size)

    starts = {others(trial): trial for trial in trials if trial.variant.values[factor] == before}
    ends = {others(trial): trial for trial in trials if trial.variant.values[factor] == after}
    return tuple((starts[key], ends[key]) for key in starts if key in ends)


def _rank(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then words: 0, 10, 100, all; off, on."""
    number = isinstance(value, (int, float))
    return not number, value if number else 0.0, str(value)


@dataclass(frozen=True)
class Gap:
    """Training against validation in the epoch of a trial that is kept; `best_epoch` had the lowest valid loss."""

    trial: Trial
    train_accuracy: float
    valid_accuracy: float
    best_epoch: int

    @property
    def gap(self) -> float:
        return self.train_accuracy - self.valid_accuracy


def gaps(trials: tuple[Trial, ...]) -> list[Gap]:
    """Over-fitting of every trial that has a history, the widest gap first."""
    found = []
    for trial in trials:
        if trial.kept:
            best = min(trial.history, key=lambda epoch: epoch.valid_loss)
            found.append(Gap(trial, trial.kept.accuracy, trial.kept.valid_accuracy, best.epoch))
    return sorted(found, key=lambda gap: -gap.gap)
