"""One variant's training, the article's recipe: the head on frozen features, then the top layers too.

Knows Keras, not Ray. What a phase reads is an `Inputs`: stored features, or the images themselves (the
reference path). Both feed the same loop, in the same order, from the same first weights.
"""

import gc
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import keras
import numpy as np
import tensorflow as tf

from ray_birds import augment, backbone, images
from ray_birds.backbone import PIXELS, POOLED, Tap
from ray_birds.config import Depth, Variant
from ray_birds.dataset import Dataset
from ray_birds.errors import DataError
from ray_birds.plan import Plan
from ray_birds.results import Results
from ray_birds.store import Catalogue, Reader

Rows = np.ndarray  # (n,) int64: numbers of rows of a split
AHEAD = 3  # batches made ready while one is trained on


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. Losses are categorical cross-entropy in nats, accuracies shares."""

    epoch: int  # from 1, over both phases
    phase: str  # head | fine-tune
    learning_rate: float
    loss: float
    accuracy: float
    valid_loss: float
    valid_accuracy: float
    seconds: float
    images_per_second: float  # while training


@dataclass(frozen=True)
class Inputs:
    """What one phase's model reads, as a function of a split's rows.

    `train` takes rows and the epoch (from 0), `plain` a split's name and rows; both give (n, *tap.shape).
    """

    tap: Tap
    train: Callable[[Rows, int], np.ndarray]
    plain: Callable[[str, Rows], np.ndarray]


@dataclass
class State:
    """All that a killed trial needs to go on with the same numbers: as of the end of its last epoch."""

    history: list[Epoch] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)  # of what is trained, by Keras path
    optimizer: list[np.ndarray] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        arrays = {f"weight:{path}": value for path, value in self.weights.items()}
        arrays |= {f"optimizer:{number:04d}": value for number, value in enumerate(self.optimizer)}
        history = np.array(json.dumps([asdict(epoch) for epoch in self.history]))
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, history=history, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "State":
        """Raises ValueError, OSError or KeyError where the bytes are cut short or damaged."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            history = [Epoch(**epoch) for epoch in json.loads(str(arrays["history"]))]
            weights = {key.partition(":")[2]: arrays[key] for key in arrays.files if key.startswith("weight:")}
            optimizer = [arrays[key] for key in sorted(arrays.files) if key.startswith("optimizer:")]
        return cls(history, weights, optimizer)


@dataclass(frozen=True)
class Task:
    """A trial's work. `labels` by split are (n,) int32; `head` and `tail` are the inputs of the two phases."""

    variant: Variant
    weights: str
    classes: int
    labels: dict[str, np.ndarray]
    head: Inputs
    tail: Inputs


OnEpoch = Callable[[State, np.ndarray], None]


def stored_inputs(variant: Variant, catalogue: Catalogue, place: str, tap: Tap) -> Inputs:
    """Inputs of a phase from the feature store at `place`."""
    readers: dict[tuple[str, int | None], Reader] = {}

    def rows(split: str, view: int | None, numbers: Rows) -> np.ndarray:
        if (split, view) not in readers:
            readers[split, view] = Reader(place, catalogue.feature(split, tap, view))
        return readers[split, view].rows(numbers)

    return Inputs(
        tap,
        lambda numbers, epoch: rows("train", variant.view(epoch), numbers),
        lambda split, numbers: rows(split, None, numbers),
    )


def direct_inputs(variant: Variant, dataset: Dataset) -> Inputs:
    """Inputs of a phase from the images, read, decoded and augmented anew in every epoch."""

    def pixels(split: str, number: int) -> np.ndarray:
        place = dataset.place(dataset.splits[split].paths[number])
        picture = images.load(place, variant.image_size)
        if picture.pixels is None:
            raise DataError(f"{place}: {picture.error} since the sweep began")
        return picture.pixels

    def view(number: int, epoch: int) -> np.ndarray:
        picture, drawn = pixels("train", number), variant.view(epoch)
        original = int(dataset.splits["train"].numbers[number])
        return picture if drawn is None else augment.view(picture, variant.augment_seed, original, drawn)

    return Inputs(
        Tap(PIXELS, (variant.image_size, variant.image_size, 3)),
        lambda numbers, epoch: np.stack([view(int(number), epoch) for number in numbers]),
        lambda split, numbers: np.stack([pixels(split, int(number)) for number in numbers]),
    )


def task(plan: Plan, name: str) -> Task:
    """The work of a sweep's trial, reading stored features or images as the plan says."""
    variant = plan.variants[name]
    labels = {split: plan.data.splits[split].labels for split in ("train", *plan.scored)}
    if name in plan.stored:
        about, catalogue = plan.backbones[variant.backbone], plan.catalogues[variant.backbone]
        head, tail = (
            stored_inputs(variant, catalogue, plan.store, tap)
            for tap in (about.pooled, about.taps[variant.unfreeze])
        )
    else:
        head = tail = direct_inputs(variant, plan.data)
    return Task(variant, plan.config.weights, len(plan.data.classes), labels, head, tail)


def last_state(results: Results, name: str) -> State:
    """What a trial goes on from; from nothing where its file is not there or cannot be read."""
    data = results.state(name)
    if data is None:
        return State()
    try:
        return State.from_bytes(data)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile):  # cut short, as by a full disk
        return State()


def train(task: Task, state: State, on_epoch: OnEpoch) -> np.ndarray | None:
    """Run the epochs that `state` does not have yet; `on_epoch` gets each new state and the valid scores.

    Returns the test split's probabilities (n, classes) if the task has its labels. The state given to
    `on_epoch` is that of (valid) probabilities (n, classes) float32 in the second argument.
    """
    variant, stage = task.variant, None
    for epoch in range(len(state.history), variant.epochs):
        in_head = epoch < variant.head_epochs
        if stage is None or epoch == variant.head_epochs:
            stage = _STAGES.get(task, in_head)
            rate = variant.learning_rate * (1.0 if in_head else variant.fine_tune_factor)
            stage.reset(rate, variant.seed)
            stage.load(state, with_optimizer=0 < epoch != variant.head_epochs)
        inputs = task.head if in_head else task.tail
        result, scores = _epoch(task, stage, inputs, epoch)
        state = State([*state.history, result], *stage.state())
        on_epoch(state, scores)
    if "test" not in task.labels:
        return None
    in_head = variant.epochs == variant.head_epochs
    if stage is None:
        stage = _STAGES.get(task, in_head)
        stage.reset(0.0, variant.seed)
        stage.load(state, with_optimizer=False)
    return _score(task, stage, task.head if in_head else task.tail, "test")


def order(seed: int, epoch: int, count: int) -> Rows:
    """The order of the training rows in an epoch: another one each time, the same for the same arguments."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def _epoch(task: Task, stage: "Stage", inputs: Inputs, epoch: int) -> tuple[Epoch, np.ndarray]:
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
        float(stage.optimizer.learning_rate),
        loss / len(rows),
        hits / len(rows),
        valid_loss,
        valid_accuracy,
        time.monotonic() - start,
        len(rows) / (trained - start),
    )
    return result, scores


def _score(task: Task, stage: "Stage", inputs: Inputs, split: str) -> np.ndarray:
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
    with ThreadPoolExecutor(AHEAD) as pool:
        pending = [pool.submit(make, part) for part in parts[:AHEAD]]
        for number, part in enumerate(parts):
            if number + AHEAD < len(parts):
                pending.append(pool.submit(make, parts[number + AHEAD]))
            yield part, pending[number].result()
            pending[number].cancel()


class Stage:
    """One phase's model with its optimizer and compiled step, ready for one trial after another.

    Compiling a step costs some ten seconds; trials of the same shape share it and `reset` the numbers.
    """

    def __init__(self, model: keras.Model) -> None:
        self.optimizer = keras.optimizers.Adam()
        self._model = model
        self._trained = list(model.trainable_variables)
        self.optimizer.build(self._trained)
        self._first = [variable.numpy() for variable in self._trained]
        self._first_optimizer = [variable.numpy() for variable in self.optimizer.variables]
        dtype = tf.uint8 if model.input.name.startswith(PIXELS) else tf.float32
        features = tf.TensorSpec((None, *model.input.shape[1:]), dtype)
        labels = tf.TensorSpec((None,), tf.int32)
        self.step = tf.function(self._step, input_signature=[features, labels])
        self.predict = tf.function(self._predict, input_signature=[features])

    def _step(self, features: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One step; returns the sum of the batch's losses and the number it got right before the step."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in self._trained])
            scores = self._predict(features)
            losses = keras.losses.sparse_categorical_crossentropy(labels, scores)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [variable.value for variable in self._trained])
        self.optimizer.apply(gradients, self._trained)
        hits = tf.equal(tf.argmax(scores, axis=1, output_type=tf.int32), labels)
        return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(hits, tf.float32))

    def _predict(self, features: tf.Tensor) -> tf.Tensor:
        return self._model(tf.cast(features, tf.float32), training=False)

    def reset(self, learning_rate: float, seed: int) -> None:
        """Back to the first weights: the pretrained ones, and a head drawn from `seed` (Glorot uniform)."""
        for variable, value in zip(self._trained, self._first, strict=True):
            if variable.path == "head/kernel":
                variable.assign(keras.initializers.GlorotUniform(seed)(variable.shape))
            else:
                variable.assign(value)
        for variable, value in zip(self.optimizer.variables, self._first_optimizer, strict=True):
            variable.assign(value)
        self.optimizer.learning_rate.assign(learning_rate)

    def load(self, state: State, *, with_optimizer: bool) -> None:
        """Take over the weights that `state` has, and the optimizer's moments within a phase."""
        for variable in self._trained:
            if variable.path in state.weights:
                variable.assign(state.weights[variable.path])
        if with_optimizer:
            for variable, value in zip(self.optimizer.variables, state.optimizer, strict=True):
                variable.assign(value)

    def state(self) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        weights = {variable.path: variable.numpy() for variable in self._trained}
        return weights, [variable.numpy() for variable in self.optimizer.variables]


class _Stages:
    """The stages of the shape that this process trained last; another shape clears them and Keras's session."""

    def __init__(self) -> None:
        self._shape: tuple[object, ...] = ()
        self._stages: dict[bool, Stage] = {}

    def get(self, task: Task, in_head: bool) -> Stage:
        variant = task.variant
        shape = (
            variant.backbone,
            task.weights,
            variant.image_size,
            variant.unfreeze,
            task.classes,
            task.head.tap,
        )
        if shape != self._shape:
            self._stages.clear()
            keras.utils.clear_session()
            gc.collect()
            self._shape = shape
        if in_head not in self._stages:
            self._stages[in_head] = Stage(_model(task, task.head.tap if in_head else task.tail.tap, in_head))
        return self._stages[in_head]


_STAGES = _Stages()


def _model(task: Task, tap: Tap, in_head: bool) -> keras.Model:
    if tap.name == POOLED:
        inputs = keras.Input(tap.shape, name=POOLED)
        return keras.Model(inputs, backbone.head(task.classes)(inputs))
    depth: Depth = 0 if in_head else task.variant.unfreeze
    network = backbone.build(task.variant.backbone, task.weights, task.variant.image_size)
    backbone.freeze(network, depth)
    return backbone.classifier(network, tap, task.classes)


def assemble(variant: Variant, weights: str, classes: int, state: State) -> keras.Model:
    """The whole model of a trial, raw pixels in, with the weights it had after its last epoch."""
    network = backbone.build(variant.backbone, weights, variant.image_size)
    model = backbone.classifier(network, Tap(PIXELS, (variant.image_size, variant.image_size, 3)), classes)
    network.trainable = True
    backbone.freeze(network, variant.unfreeze)
    for variable in model.trainable_variables:
        variable.assign(state.weights[variable.path])
    backbone.freeze(network, 0)
    return model
