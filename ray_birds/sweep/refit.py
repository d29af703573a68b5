"""The winner of folds trained again, on all images but test's: for as many epochs, with the same penalty."""

import dataclasses

import numpy as np

from ray_birds.core.errors import OutputError
from ray_birds.model import device
from ray_birds.sweep.plan import Plan


def train(plan: Plan, name: str, epochs: int) -> None:
    """Train a variant for so many `epochs` of its schedule; its checkpoint goes where a trial's does.

    No image is left to choose anything by. One that was killed goes on from its last epoch. Raises OutputError
    where the heads of the folds are gone. Needs TensorFlow.
    """
    from ray_birds.sweep import checkpoint, tasks, training

    device.use_threads(plan.alone)
    directory, task = plan.directory, tasks.task(plan, name)
    variant = dataclasses.replace(task.variant, keep="last")
    labels, penalty = {"train": task.labels["train"]}, _penalty(plan, name)
    task = dataclasses.replace(task, variant=variant, labels=labels, shared=None, until=epochs, penalty=penalty)

    def on_epoch(now: checkpoint.Checkpoint, scores: np.ndarray) -> None:
        with directory.writing():
            directory.write_checkpoint(name, len(now.history), now.to_bytes())

    training.train(task, checkpoint.last(directory, name), on_epoch)


def _penalty(plan: Plan, name: str) -> float | None:
    """The penalty of a variant's solved head: the median of those that are best in its folds, on a log scale.

    None where its head is not solved. Raises OutputError where the heads of the folds are gone.
    """
    from ray_birds.sweep import heads

    variant = plan.variants[name]
    if not variant.solved:
        return None
    assert plan.folds
    of_fold = [dataclasses.replace(variant, fold=number) for number in range(plan.folds.count)]
    found = [plan.directory.head(heads.key(one, stored=name in plan.stored)) for one in of_fold]
    try:
        penalties = [heads.Solved.from_bytes(data or b"").penalty for data in found]
    except ValueError as error:
        raise OutputError(
            f"{plan.directory.path('heads')}: the heads of the folds of {name} are not whole; start the sweep "
            "with another --name: its features are kept"
        ) from error
    return float(np.exp(np.median(np.log(penalties))))
