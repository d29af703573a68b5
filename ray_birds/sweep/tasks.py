"""What a trial has to do and what it reads: stored features, or the images themselves (the reference path).

Both feed the same loop, in the same order, from the same first weights.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ray_birds.core.prefetch import prefetch
from ray_birds.data import augment, decode
from ray_birds.data.dataset import Dataset
from ray_birds.features.store import FeatureSpec, Reader
from ray_birds.model.cut import PIXELS, CutPoint
from ray_birds.model.train_step import Recipe, Shape
from ray_birds.sweep import heads
from ray_birds.sweep.factors import Variant, View
from ray_birds.sweep.heads import SharedHead
from ray_birds.sweep.member import ALONE, Member
from ray_birds.sweep.plan import Plan

Rows = np.ndarray  # (n,) int64: numbers of rows of a split
_READERS = 3  # threads that make batches ready while one is trained on


@dataclass(frozen=True)
class Inputs:
    """What one phase's model reads, as a function of a split's rows.

    `train` takes rows and which view of them, `plain` a split's name and rows; both give (n, *cut_point.shape).
    `readers` threads make batches ready.
    """

    cut_point: CutPoint
    train: Callable[[Rows, View | None], np.ndarray]
    plain: Callable[[str, Rows], np.ndarray]
    readers: int = _READERS


@dataclass(frozen=True)
class Task:
    """A trial's work. `labels` by split are (n,) int32; `head` and `tail` are the inputs of the two phases.

    `devices` are those that train each batch together, where there is more than one. `shared` is where a solved
    head is found or left, if other trials begin with the same one. `member` is this process among those that train
    the trial together. What holds no images out, since it has the recipe from the folds, has no labels of valid:
    it ends after the epoch `until`, and its head has the `penalty`.
    """

    variant: Variant
    weights: str
    classes: int
    labels: dict[str, np.ndarray]
    head: Inputs
    tail: Inputs
    devices: tuple[str, ...] = ()
    shared: SharedHead | None = None
    member: Member = ALONE
    until: int | None = None
    penalty: float | None = None

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
            Recipe.of(variant),
            variant.solved,
            self.member.workers,
        )

    @property
    def class_weights(self) -> np.ndarray:
        """(classes,) float32: what an image of each class weighs in training, 1 on average over the images."""
        if self.variant.class_weights == "none":
            return np.ones(self.classes, np.float32)
        counts = np.bincount(self.labels["train"], minlength=self.classes)
        return (len(self.labels["train"]) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)

    def inputs(self, in_head: bool) -> Inputs:
        return self.head if in_head else self.tail

    def with_batches(self, size: int) -> "Task":
        return dataclasses.replace(self, variant=dataclasses.replace(self.variant, batch_size=size))


def stored_inputs(feature_spec: FeatureSpec, uri: str, cut_point: CutPoint) -> Inputs:
    """Inputs of a phase from the feature store at `uri`."""
    readers: dict[tuple[str, View | None], Reader] = {}

    def rows(split: str, view: View | None, numbers: Rows) -> np.ndarray:
        if (split, view) not in readers:
            readers[split, view] = Reader(uri, feature_spec.feature(split, cut_point, view))
        return readers[split, view].rows(numbers)

    return Inputs(
        cut_point,
        lambda numbers, view: rows("train", view, numbers),
        lambda split, numbers: rows(split, None, numbers),
    )


def direct_inputs(variant: Variant, dataset: Dataset, cpus: int = 1) -> Inputs:
    """Inputs of a phase from the images, read, decoded and augmented anew in every epoch, on `cpus`."""

    def pixels(split: str, number: int) -> np.ndarray:
        uri = dataset.uri(dataset.splits[split].paths[number])
        return decode.load_known(uri, variant.image_size, variant.resize)

    def seen(number: int, view: View | None) -> np.ndarray:
        image, original = pixels("train", number), int(dataset.splits["train"].numbers[number])
        if view is None:
            return image
        return augment.view(image, variant.augment_seed, original, view.number, augment.POLICIES[view.policy])

    return Inputs(
        CutPoint(PIXELS, (variant.image_size, variant.image_size, 3)),
        lambda numbers, view: np.stack([seen(int(number), view) for number in numbers]),
        lambda split, numbers: np.stack([pixels(split, int(number)) for number in numbers]),
        max(_READERS, cpus),
    )


def of_fold(inputs: Inputs, learned: Rows, held_out: Rows) -> Inputs:
    """Inputs whose train and valid are these rows of train."""
    return Inputs(
        inputs.cut_point,
        lambda numbers, view: inputs.train(learned[numbers], view),
        lambda split, numbers: inputs.plain("train", held_out[numbers]),
    )


def task(plan: Plan, name: str, member: Member = ALONE) -> Task:
    """The work of a sweep's trial, reading stored features or images as the plan says."""
    variant = plan.variants[name]
    labels = {split: plan.data.splits[split].labels for split in ("train", *plan.scored)}
    if name in plan.stored:
        about, feature_spec = plan.backbones[variant.backbone], plan.feature_spec(variant)
        head, tail = (
            stored_inputs(feature_spec, plan.store, cut_point)
            for cut_point in (about.pooled, about.cut_points[variant.unfreeze])
        )
    else:
        head = tail = direct_inputs(variant, plan.data, plan.threads)
    if plan.folds and variant.fold is not None:
        rows = plan.folds.rows(variant.fold)
        labels = {split: labels["train"][some] for split, some in zip(("train", "valid"), rows, strict=True)}
        head, tail = of_fold(head, *rows), of_fold(tail, *rows)
    devices = tuple(device.name for device in tf.config.list_logical_devices("GPU")) if plan.gpus > 1 else ()
    shared = SharedHead(plan.directory, heads.key(variant, stored=name in plan.stored))
    return Task(variant, plan.config.weights, len(plan.data.classes), labels, head, tail, devices, shared, member)


class Waiting:
    """Takes the time that the device has nothing to do because the next batch is not there yet.

    A GPU works on while Python does: where a batch is late, its last step is waited for first, and then the clock
    starts.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: tuple[tf.Tensor, ...] = ()

    def after(self, step: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Note, and return, what the step that was begun last will give."""
        self._last = step
        return step

    @contextmanager
    def __call__(self) -> Iterator[None]:
        for value in self._last:
            value.numpy()
        start = time.monotonic()
        yield
        self.seconds += time.monotonic() - start


def batches(
    rows: Rows,
    size: int,
    make: Callable[[Rows], np.ndarray],
    readers: int = _READERS,
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[tuple[Rows, np.ndarray]]:
    """Batches of rows and what `make` gives for them, a few of them made ahead by `readers` threads."""
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    yield from zip(parts, prefetch(make, parts, readers, readers + 1, waiting), strict=True)
