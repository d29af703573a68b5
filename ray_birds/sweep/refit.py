"""The winner of folds trained again, on all images but test's: for as many epochs, with the same penalty."""

import dataclasses

import numpy as np

from ray_birds.model import device
from ray_birds.sweep.plan import Plan


def train(plan: Plan, name: str, epochs: int, penalty: float | None) -> None:
    """Train a variant for so many `epochs` of its schedule; its checkpoint goes where a trial's does.

    No image is left to choose anything by. One that was killed goes on from its last epoch. Needs TensorFlow.
    """
    from ray_birds.sweep import checkpoint, tasks, training

    device.use_threads(plan.threads)
    directory, task = plan.directory, tasks.task(plan, name)
    variant = dataclasses.replace(task.variant, keep="last")
    labels = {"train": task.labels["train"]}
    task = dataclasses.replace(task, variant=variant, labels=labels, shared=None, until=epochs, penalty=penalty)

    def on_epoch(now: checkpoint.Checkpoint, scores: np.ndarray) -> None:
        with directory.writing():
            directory.write_checkpoint(name, len(now.history), now.to_bytes())

    training.train(task, checkpoint.last(directory, name), on_epoch)
