"""What one factor does, by pairs of trials that differ in it alone; and the gap of over-fitting."""

import math
from dataclasses import dataclass
from itertools import pairwise

from ray_birds.report.results import Trial

FACTORS = {
    "augment": "augmentation",
    "unfreeze": "unfrozen layers",
    "learning_rate": "learning rate",
    "backbone": "backbone",
}


@dataclass(frozen=True)
class Effect:
    """Change of valid accuracy, one number per pair, when `factor` goes from `before` to `after` alone."""

    factor: str
    before: str
    after: str
    pairs: tuple[tuple[Trial, Trial], ...]

    @property
    def changes(self) -> tuple[float, ...]:
        return tuple(after.valid_accuracy - before.valid_accuracy for before, after in self.pairs)

    @property
    def mean(self) -> float:
        return sum(self.changes) / len(self.changes)

    @property
    def epochs(self) -> str:
        """Epochs before and after, such as `5 to 10`; one number where they are the same."""
        sides = [sorted({trial.epochs for trial in side}) for side in zip(*self.pairs, strict=True)]
        texts = ["/".join(str(number) for number in side) for side in sides]
        return texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}"


def effects(trials: tuple[Trial, ...]) -> list[Effect]:
    """The effect of each step of each factor (off to on, 0 to 10, 10 to 100 ...) that some pair shows."""
    scored = [t for t in trials if t.status == "finished" and not math.isnan(t.valid_accuracy)]
    found = []
    for factor, title in FACTORS.items():
        values = sorted({trial.settings[factor] for trial in scored}, key=_rank)
        for before, after in pairwise(values):
            pairs = _pairs(scored, factor, before, after)
            if pairs:
                found.append(Effect(title, before, after, pairs))
    return found


def _pairs(trials: list[Trial], factor: str, before: str, after: str) -> tuple[tuple[Trial, Trial], ...]:
    def others(trial: Trial) -> tuple[str, ...]:
        return tuple(value for key, value in trial.settings.items() if key != factor)

    starts = {others(trial): trial for trial in trials if trial.settings[factor] == before}
    ends = {others(trial): trial for trial in trials if trial.settings[factor] == after}
    return tuple((starts[key], ends[key]) for key in starts if key in ends)


def _rank(value: str) -> tuple[int, float, str]:
    """Numbers by size, then words: 0, 10, 100, all; off, on."""
    try:
        return 0, float(value), ""
    except ValueError:
        return 1, 0.0, value


@dataclass(frozen=True)
class Gap:
    """Training against validation in a trial's last epoch; `best_epoch` had the lowest valid loss."""

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
        if trial.history:
            last = trial.history[-1]
            best = min(trial.history, key=lambda epoch: epoch.valid_loss)
            found.append(Gap(trial, last.accuracy, last.valid_accuracy, best.epoch))
    return sorted(found, key=lambda gap: -gap.gap)
