"""The trials of a variant's folds joined to one: what each says of the images that it held out, at the same epoch.

All folds are taken at the epoch that is best in their mean: one of its own for each would be chosen by the few
images that it is scored on. What they say is out of fold: every image is predicted once, by a model that has not
learned from it nor from its group.
"""

import dataclasses
from collections import defaultdict

import numpy as np

from ray_birds.data.inspection import Folds
from ray_birds.sweep import epochs
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import FOLD
from ray_birds.sweep.plan import Plan


def joined(plan: Plan, errors: dict[str, str]) -> tuple[Plan, dict[str, str]]:
    """The plan and the errors of variants, from those of their folds' trials; writes what these give together."""
    trials: dict[str, list[str]] = defaultdict(list)
    for name, variant in plan.variants.items():
        trials[name.removesuffix(f"-{FOLD}{variant.fold}")].append(name)
    whole = {name: dataclasses.replace(plan.variants[folds[0]], fold=None) for name, folds in trials.items()}
    stored = frozenset(name for name, folds in trials.items() if plan.stored.issuperset(folds))
    failed = {
        name: "; ".join(f"{one.removeprefix(f'{name}-')}: {errors[one]}" for one in folds if one in errors)
        for name, folds in trials.items()
        if not errors.keys().isdisjoint(folds)
    }
    complete = dataclasses.replace(plan, variants=whole, stored=stored)
    for name, folds in trials.items():
        _join(complete, name, folds)
    return complete, failed


def _join(plan: Plan, name: str, folds: list[str]) -> None:
    """Write the history of a variant and, where all its folds have ended, what they say of the images held out."""
    assert plan.folds
    directory, variant = plan.directory, plan.variants[name]
    histories = [[Epoch(**epoch) for epoch in directory.history(fold)] for fold in folds]
    if len(folds) < plan.folds.count or not all(histories):
        return
    images = np.bincount(plan.folds.held_out[plan.folds.held_out >= 0])
    history = [_mean(together, images) for together in zip(*histories, strict=False)]  # as far as all of them got
    directory.write_history(name, [dataclasses.asdict(epoch) for epoch in history])
    if epochs.ended(history, variant):
        scores = out_of_fold(directory, name, plan.folds, epochs.kept(history, variant).epoch)
        tested = plan.folds.tested(plan.data.splits["train"])
        directory.write_predictions(name, tested, plan.data.classes, scores)


def _mean(epochs: tuple[Epoch, ...], images: np.ndarray) -> Epoch:
    """One epoch of all folds: scores are means over the images held out, seconds those of all."""

    def mean(name: str) -> float:
        return float(np.average([getattr(epoch, name) for epoch in epochs], weights=images))

    return dataclasses.replace(
        epochs[0],
        loss=mean("loss"),
        accuracy=mean("accuracy"),
        valid_loss=mean("valid_loss"),
        valid_accuracy=mean("valid_accuracy"),
        valid_macro_f1=mean("valid_macro_f1"),
        seconds=sum(epoch.seconds for epoch in epochs),
        images_per_second=len(epochs) / sum(1 / epoch.images_per_second for epoch in epochs),
        batch_size=min(epoch.batch_size for epoch in epochs),
    )


def out_of_fold(directory: SweepDirectory, name: str, folds: Folds, epoch: int) -> np.ndarray:
    """(n, classes) float32 probabilities of the images that are held out, `Folds.tested`, after this epoch."""
    fold = folds.held_out[folds.held_out >= 0]
    parts = [directory.scores(f"{name}-{FOLD}{number}", epoch) for number in range(folds.count)]
    found = np.empty((len(fold), parts[0].shape[1]), np.float32)
    for number, part in enumerate(parts):
        found[fold == number] = part
    return found
