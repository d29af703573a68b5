"""The trials of a sweep compared on valid: as runs of their recipes, and by recall of the classes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ray_birds.evaluation import significance
from ray_birds.evaluation.leakage import copied, counted
from ray_birds.evaluation.recalls import Recalls, by_class, uneven
from ray_birds.evaluation.significance import Run, Significance
from ray_birds.sweep.outcome import Trial


def runs(found: Iterable[Trial], copies: Collection[str] = ()) -> list[Run]:
    """The finished trials, to be compared on valid without `copies`; they are ranked by all of it."""
    return [
        Run(
            one.name,
            one.recipe,
            one.variant.seed,
            one.cost,
            one.valid.correct[~copied(one.valid.path.tolist(), copies)],
            one.valid_loss,
            _score(one, one.valid.accuracy),
            _head(one),
            one.valid.accuracy,
        )
        for one in found
        if one.status == "finished" and one.valid is not None
    ]


def _head(trial: Trial) -> str:
    """The solved head that is all that was trained of the model kept; empty where fine-tuning made it better."""
    is_head = trial.variant.solved and trial.kept is not None and trial.kept.epoch <= trial.variant.head_phase
    return str(trial.variant.head_facts) if is_head else ""


def _score(trial: Trial, accuracy: float) -> float:
    """What runs are ranked by; `accuracy` is read off the predictions."""
    return accuracy if trial.variant.select_by == "accuracy" else trial.score


def _tuned(trials: Iterable[Trial]) -> tuple[str, ...]:
    """What was picked on valid within a trial."""
    variants = [one.variant for one in trials]
    epoch = any(one.keep == "best" and one.epochs > 1 for one in variants)
    return ("epoch",) * epoch + ("head's penalty",) * any(one.solved for one in variants)


def compare(
    found: Iterable[Trial], winner: str, margin: float, copies: Mapping[str, Sequence[str]]
) -> Significance:
    """What the trials say of the one that was exported; `margin` in points, `copies` by split (findings.copies).

    Of one that is not the winner they say how it compares with that.
    """
    found = list(found)
    by = found[0].variant.select_by.replace("macro_f1", "macro F1")
    exported = next(one for one in found if one.name == winner)
    valid = exported.valid
    again = set(copies.get("valid", ()))
    nothing_new = valid is not None and again.issuperset(valid.path)
    return significance.state(
        runs(found, () if nothing_new else again),
        winner,
        margin / 100,
        exported.tested,
        untested=exported.test is None and "test" in copies,
        by=by,
        folds=len(valid.by_fold) if valid else 0,
        groups=valid.group if valid else None,
        copies=len(again),
        nothing_new=nothing_new,
        tuned=_tuned(found),
    )


def compare_recall(found: Iterable[Trial], name: str, data: Mapping[str, Any]) -> Recalls | None:
    """Recall by class of the trial called `name`, and of what it started from: the head on its frozen backbone.

    That is the trial with the same backbone, resizing and seed, nothing unfrozen, images as they are, all weighing
    alike. None where it was not tried, or is the same, or classes are even; `data` is the sweep's dataset.json.
    """
    named = {one.name: one for one in found if one.status == "finished" and one.valid is not None}
    if name not in named or not uneven(data.get("train_images", ())):
        return None
    after = named.pop(name)
    wanted = {factor: after.variant.values[factor] for factor in ("backbone", "resize", "seed")}
    wanted |= {"augment": "off", "unfreeze": 0, "class_weights": "none"}
    before = next((one for one in named.values() if wanted.items() <= one.variant.values.items()), None)
    if before is None or before.valid is None or after.valid is None:
        return None
    index = {one: number for number, one in enumerate(data["classes"])}
    new = counted(copied(after.valid.path.tolist(), data["copies"].get("valid", ())))
    columns = (after.valid.label, before.valid.prediction, after.valid.prediction)
    numbers = (np.array([index[one] for one in column[new]]) for column in columns)
    folds = len(after.valid.by_fold)
    return Recalls(before.name, name, by_class(data["classes"], data["train_images"], *numbers), folds)
