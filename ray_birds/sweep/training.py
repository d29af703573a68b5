"""One variant's training, the article's recipe: the head on frozen features, then the top layers too.

Knows Keras, not Ray. What a phase reads is an `Inputs`: stored features, or the images themselves (the
reference path). Both feed the same loop, in the same order, from the same first weights.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ray_birds.core.errors import NotFiniteError, OutOfMemoryError
from ray_birds.core.prefetch import prefetch
from ray_birds.data import augment, decode
from ray_birds.data.dataset import Dataset
from ray_birds.features.store import FeatureSpec, Reader
from ray_birds.model.cut import PIXELS, CutPoint
from ray_birds.model.train_step import Shape, Stage, Stages
from ray_birds.sweep.checkpoint import Checkpoint
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Epoch

Rows = np.ndarray  # (n,) int64: numbers of rows of a split
_READERS = 3  # threads that make batches ready while one is trained on
_STAGES = Stages()


@dataclass(frozen=True)
class Inputs:
    """What one phase's model reads, as a function of a split's rows.

    `train` takes rows and the epoch (from 0), `plain` a split's name and rows; both give (n, *cut_point.shape).
    """

    cut_point: CutPoint
    train: Callable[[Rows, int], np.ndarray]
    plain: Callable[[str, Rows], np.ndarray]


@dataclass(frozen=True)
class Task:
    """A trial's work. `labels` by split are (n,) int32; `head` and `tail` are the inputs of the two phases.

    `devices` are those that train each batch together, where there is more than one.
    """

    variant: Variant
    weights: str
    classes: int
    labels: dict[str, np.ndarray]
    head: Inputs
    tail: Inputs
    devices: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        variant = self.variant
        return Shape(
            variant.backbone,
            self.weights,
            variant.image_size,
            variant.unfreeze,
            self.classes,
            variant.precision,
            self.head.cut_point,
            self.tail.cut_point,
            self.devices,
        )

    def with_batches(self, size: int) -> "Task":
        return dataclasses.replace(self, variant=dataclasses.replace(self.variant, batch_size=size))


OnEpoch = Callable[[Checkpoint, np.ndarray], None]


def stored_inputs(variant: Variant, feature_spec: FeatureSpec, uri: str, cut_point: CutPoint) -> Inputs:
    """Inputs of a phase from the feature store at `uri`."""
    readers: dict[tuple[str, int | None], Reader] = {}

    def rows(split: str, view: int | None, numbers: Rows) -> np.ndarray:
        if (split, view) not in readers:
            readers[split, view] = Reader(uri, feature_spec.feature(split, cut_point, view))
        return readers[split, view].rows(numbers)

    return Inputs(
        cut_point,
        lambda numbers, epoch: rows("train", variant.view(epoch), numbers),
        lambda split, numbers: rows(split, None, numbers),
    )


def direct_inputs(variant: Variant, dataset: Dataset) -> Inputs:
    """Inputs of a phase from the images, read, decoded and augmented anew in every epoch."""

    def pixels(split: str, number: int) -> np.ndarray:
        return decode.load_known(dataset.uri(dataset.splits[split].paths[number]), variant.image_size)

    def view(number: int, epoch: int) -> np.ndarray:
        image, drawn = pixels("train", number), variant.view(epoch)
        original = int(dataset.splits["train"].numbers[number])
        return image if drawn is None else augment.view(image, variant.augment_seed, original, drawn)

    return Inputs(
        CutPoint(PIXELS, (variant.image_size, variant.image_size, 3)),
        lambda numbers, epoch: np.stack([view(int(number), epoch) for number in numbers]),
        lambda split, numbers: np.stack([pixels(split, int(number)) for number in numbers]),
    )


def task(plan: Plan, name: str) -> Task:
    """The work of a sweep's trial, reading stored features or images as the plan says."""
    variant = plan.variants[name]
    labels = {split: plan.data.splits[split].labels for split in ("train", *plan.scored)}
    if name in plan.stored:
        about, feature_spec = plan.backbones[variant.backbone], plan.feature_specs[variant.backbone]
        head, tail = (
            stored_inputs(variant, feature_spec, plan.store, cut_point)
            for cut_point in (about.pooled, about.cut_points[variant.unfreeze])
        )
    else:
        head = tail = direct_inputs(variant, plan.data)
    devices = tuple(device.name for device in tf.config.list_logical_devices("GPU")) if plan.gpus > 1 else ()
    return Task(variant, plan.config.weights, len(plan.data.classes), labels, head, tail, devices)


def train(task: Task, state: Checkpoint, on_epoch: OnEpoch) -> np.ndarray | None:
    """Run the epochs that `state` does not have yet; `on_epoch` gets each new state and the valid scores.

    Returns the test split's probabilities (n, classes) if the task has its labels. The state given to
    `on_epoch` is that of (valid) probabilities (n, classes) float32 in the second argument. A trial that is too
    large for the device's memory restarts, once, with batches of half the size at the same learning rate:
    its history says so. Raises OutOfMemoryError where these are too large as well, and NotFiniteError, before
    `on_epoch`, where an epoch gives a number that is not finite.
    """
    size = task.variant.batch_size
    if state.history:
        task = task.with_batches(state.history[-1].batch_size)
    try:
        return _train(task, state, on_epoch)
    except tf.errors.ResourceExhaustedError as error:
        if task.variant.batch_size < size or size == 1:
            raise _too_large(task) from error
    _STAGES.clear()
    half = task.with_batches(size // 2)
    try:
        return _train(half, Checkpoint(), on_epoch)
    except tf.errors.ResourceExhaustedError as error:
        raise _too_large(half) from error


def _too_large(task: Task) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"batches of {task.variant.batch_size} do not fit into the device's memory; give a smaller --batch-size "
        "or --image-size, or more --gpus-per-trial"
    )


def _train(task: Task, state: Checkpoint, on_epoch: OnEpoch) -> np.ndarray | None:
    variant, stage = task.variant, None
    for epoch in range(len(state.history), variant.epochs):
        in_head = epoch < variant.head_epochs
        if stage is None or epoch == variant.head_epochs:
            stage = _STAGES.get(task.shape, in_head)
            rate = variant.learning_rate * (1.0 if in_head else variant.fine_tune_factor)
            stage.reset(rate, variant.seed)
            stage.load(state.weights, state.optimizer if 0 < epoch != variant.head_epochs else None)
        inputs = task.head if in_head else task.tail
        result, scores = _epoch(task, stage, inputs, epoch)
        state = Checkpoint([*state.history, result], *stage.state())
        _check_finite(state, scores, variant.precision)
        on_epoch(state, scores)
    if "test" not in task.labels:
        return None
    in_head = variant.epochs == variant.head_epochs
    if stage is None:
        stage = _STAGES.get(task.shape, in_head)
        stage.reset(0.0, variant.seed)
        stage.load(state.weights)
    return _score(task, stage, task.head if in_head else task.tail, "test")


def _check_finite(state: Checkpoint, scores: np.ndarray, precision: str) -> None:
    """Raises NotFiniteError where the state's last epoch left a number that means nothing."""
    epoch = state.history[-1]
    losses = {"loss": np.array(epoch.loss), "valid loss": np.array(epoch.valid_loss)}
    for name, value in (losses | {"probabilities of valid": scores} | state.weights).items():
        if not np.isfinite(value).all():
            steadier = "" if precision == "float32" else " or --precision float32"
            raise NotFiniteError(
                f"{name} not finite after epoch {epoch.epoch}; give a lower --learning-rate{steadier}"
            )


def sees_gpu() -> bool:
    """Whether TensorFlow does; Ray may know of one where TensorFlow lacks what it takes to use it."""
    return bool(tf.config.list_physical_devices("GPU"))


def order(seed: int, epoch: int, count: int) -> Rows:
    """The order of the training rows in an epoch: another one each time, the same for the same arguments."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def _epoch(task: Task, stage: Stage, inputs: Inputs, epoch: int) -> tuple[Epoch, np.ndarray]:
    start = time.monotonic()
    variant, labels = task.variant, task.labels["train"]
    rows = order(variant.seed, epoch, len(labels))
    totals = [stage.step(x, labels[part]) for part, x in _batches(rows, variant, lambda r: inputs.train(r, epoch))]
    loss, hits = (float(sum(values)) for values in zip(*totals, strict=True))
    trained = time.monotonic()
    scores = _score(task, stage, inputs, "valid")
    valid_loss, valid_accuracy = _evaluate(scores, task.labels["valid"])
    result = Epoch(
        epoch + 1,
        "head" if epoch < variant.head_epochs else "fine-tune",
        float(stage.optimizer.learning_rate.numpy()),
        loss / len(rows),
        hits / len(rows),
        valid_loss,
        valid_accuracy,
        time.monotonic() - start,
        len(rows) / (trained - start),
        variant.batch_size,
    )
    return result, scores


def _score(task: Task, stage: Stage, inputs: Inputs, split: str) -> np.ndarray:
    """(n, classes) float32 probabilities of a split's images as they are."""
    rows = np.arange(len(task.labels[split]))
    parts = [stage.predict(x) for _, x in _batches(rows, task.variant, lambda part: inputs.plain(split, part))]
    return np.concatenate([part.numpy() for part in parts])


def _evaluate(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy, with Keras's clipping at 1e-7, and accuracy."""
    chosen = scores[np.arange(len(labels)), labels].astype(np.float64)
    loss = -np.log(np.clip(chosen, 1e-7, 1 - 1e-7)).mean()
    return float(loss), float((scores.argmax(axis=1) == labels).mean())


def _batches(
    rows: Rows, variant: Variant, make: Callable[[Rows], np.ndarray]
) -> Iterator[tuple[Rows, np.ndarray]]:
    """Batches of rows and what `make` gives for them, a few of them made ahead by threads."""
    size = variant.batch_size
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    yield from zip(parts, prefetch(make, parts, _READERS, window=_READERS + 1), strict=True)
