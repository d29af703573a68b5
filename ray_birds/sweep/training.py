"""One variant's training: the head on frozen features, then the top layers too; by which recipe, the variant says.

Knows Keras, not Ray.
"""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import tensorflow as tf

from ray_birds.core.errors import NotFiniteError, OutOfMemoryError
from ray_birds.evaluation import metrics
from ray_birds.model import probe
from ray_birds.model.cut import POOLED
from ray_birds.model.schedule import Schedule
from ray_birds.model.train_step import Stage, Stages
from ray_birds.sweep import epochs
from ray_birds.sweep.checkpoint import Checkpoint
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import Variant, View
from ray_birds.sweep.heads import Solved
from ray_birds.sweep.tasks import Inputs, Rows, Task, Waiting, batches

OnEpoch = Callable[[Checkpoint, np.ndarray], None]
_PROBE_ROWS = 1024  # of stored features at a time
_STAGES = Stages()


def train(task: Task, state: Checkpoint, on_epoch: OnEpoch) -> np.ndarray | None:
    """Run the epochs that `state` does not have yet; `on_epoch` gets each new state and the valid scores.

    Returns the test split's probabilities (n, classes) if the task has its labels. The state given to
    `on_epoch` is that of (valid) probabilities (n, classes) float32 in the second argument. A trial that is too
    large for the device's memory restarts, once, with batches of half the size at the same learning rate:
    its history says so. Raises OutOfMemoryError where these are too large as well, or where others train with
    this process, and NotFiniteError, before `on_epoch`, where an epoch gives a number that is not finite.
    """
    size = task.variant.batch_size
    if state.history:
        task = task.with_batches(state.history[-1].batch_size)
    try:
        return _train(task, state, on_epoch)
    except tf.errors.ResourceExhaustedError as error:
        if task.variant.batch_size < size or size == 1 or task.member.workers > 1:
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
    while not epochs.ended(state.history, variant) and len(state.history) != task.until:
        epoch = len(state.history)
        in_head = epoch < variant.head_phase
        if stage is None or epoch == variant.head_phase:
            stage = _STAGES.get(task.shape, in_head)
            stage.reset(variant.seed)
            stage.load(state.weights, state.optimizer if 0 < epoch != variant.head_phase else None)
        result, scores = _solve(task, stage) if in_head and variant.head == "probe" else _epoch(task, stage, epoch)
        state = _after(state, result, stage, variant)
        _check_finite(state, scores, task)
        on_epoch(state, scores)
    if "test" not in task.labels:
        return None
    in_head = epochs.kept(state.history, variant).epoch <= variant.head_phase
    stage = _STAGES.get(task.shape, in_head)
    stage.reset(variant.seed)
    stage.load(state.kept)
    return _score(task, stage, task.inputs(in_head), "test")


def _after(state: Checkpoint, result: Epoch, stage: Stage, variant: Variant) -> Checkpoint:
    """The state after another epoch; where an earlier one is still the one to keep, with its weights."""
    history = [*state.history, result]
    is_kept = epochs.kept(history, variant) is result
    return Checkpoint(history, *stage.state(), {} if is_kept else state.kept)


def _check_finite(state: Checkpoint, scores: np.ndarray, task: Task) -> None:
    """Raises NotFiniteError where the state's last epoch left a number that means nothing."""
    epoch, precision = state.history[-1], task.variant.precision
    losses = {"loss": np.array(epoch.loss)}
    losses |= {"valid loss": np.array(epoch.valid_loss)} if "valid" in task.labels else {}
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


def _epoch(task: Task, stage: Stage, epoch: int) -> tuple[Epoch, np.ndarray]:
    start = time.monotonic()
    variant, labels, weights = task.variant, task.labels["train"], task.class_weights
    in_head = epoch < variant.head_phase
    inputs, (view,) = task.inputs(in_head), variant.views(epoch)
    rows = order(variant.seed, epoch, len(labels))
    steps = -(-len(rows) // variant.batch_size)
    rates = schedule(variant, steps, in_head=in_head)
    first = (epoch if in_head else epoch - variant.head_phase) * steps
    share, shares, waiting = task.member.share, task.member.shares, Waiting()
    seen = batches(rows, variant.batch_size, lambda part: inputs.train(share(part), view), inputs.readers, waiting)
    stage.swap()
    totals = []
    for step, (part, x) in enumerate(seen, first):
        mine, each = labels[share(part)], shares(weights[labels[part]])
        totals.append(waiting.after(stage.step(x, mine, rates.rate(step), each, len(part))))
        task.member.beat()
    loss, hits = (float(sum(values)) for values in zip(*totals, strict=True))
    stage.swap()
    trained = time.monotonic()
    valid, scores = _valid(task, stage, inputs)
    result = Epoch(
        epoch=epoch + 1,
        phase="head" if in_head else "fine-tune",
        learning_rate=float(stage.optimizer.learning_rate.numpy()),
        loss=loss / len(rows),
        accuracy=hits / len(rows),
        seconds=time.monotonic() - start,
        images_per_second=len(rows) / (trained - start),
        waited=waiting.seconds / (trained - start),
        batch_size=variant.batch_size,
        **valid,
    )
    return result, scores


def schedule(variant: Variant, steps: int, *, in_head: bool) -> Schedule:
    """The learning rates of a phase whose epochs have so many steps."""
    if in_head:
        return Schedule(variant.learning_rate, variant.head_epochs * steps)
    peak, warmup = variant.learning_rate * variant.fine_tune_factor, round(variant.warmup_epochs * steps)
    return Schedule(peak, variant.fine_tune_epochs * steps, warmup, variant.schedule)


def _solve(task: Task, stage: Stage) -> tuple[Epoch, np.ndarray]:
    """The head solved to convergence, which counts as one epoch; by another trial, if one has.

    The seconds are those that it took whoever solved it: a trial costs no less for being the second.
    """

    def solve() -> Solved:
        return _solved(task, stage)

    solved = task.member.once(lambda: task.shared.get(solve) if task.shared else solve())
    start = time.monotonic()
    stage.load({"head/kernel": solved.head.kernel, "head/bias": solved.head.bias})
    valid, scores = _valid(task, stage, task.head)
    images = len(task.labels["train"]) * len(task.variant.views(0))
    result = Epoch(
        epoch=1,
        phase="head",
        learning_rate=0.0,
        loss=solved.loss,
        accuracy=solved.accuracy,
        seconds=solved.seconds + time.monotonic() - start,
        images_per_second=images / solved.seconds,
        batch_size=task.variant.batch_size,
        **valid,
    )
    return result, scores


def _solved(task: Task, stage: Stage) -> Solved:
    start = time.monotonic()
    train = _read_by_head(task, stage, task.labels["train"], task.head.train, task.variant.views(0))
    if task.penalty is not None:
        head = probe.Problem(train, task.class_weights).solve(task.penalty).head
        loss, accuracy = probe.evaluate(head, train)
        return Solved(head, task.penalty, loss, accuracy, time.monotonic() - start)
    plain = partial(task.head.plain, "valid")
    valid = _read_by_head(task, stage, task.labels["valid"], lambda rows, view: plain(rows), (None,))
    found = probe.solve(train, valid, task.class_weights)
    loss, accuracy = probe.evaluate(found.head, train)
    return Solved(found.head, found.penalty, loss, accuracy, time.monotonic() - start)


def _read_by_head(
    task: Task,
    stage: Stage,
    labels: np.ndarray,
    read: Callable[[Rows, View | None], np.ndarray],
    views: tuple[View | None, ...],
) -> probe.Batches:
    """What the head reads of these images, (n, d) at a time, in one view after the other.

    It is made once and held in memory, unless it comes from stored features: these are read anew each time, which
    takes little, since the probe holds its own form of those that it needs often.
    """
    is_stored = task.head.cut_point.name == POOLED
    size = _PROBE_ROWS if is_stored else task.variant.batch_size
    rows = np.arange(len(labels))

    def make() -> Iterator[probe.Batch]:
        for view in views:
            for part, x in batches(rows, size, partial(_at, read, view), task.head.readers):
                yield stage.pool(x).numpy(), labels[part]

    if is_stored:
        return make
    held = list(make())
    return lambda: held


def _at(read: Callable[[Rows, View | None], np.ndarray], view: View | None, rows: Rows) -> np.ndarray:
    return read(rows, view)


def _score(task: Task, stage: Stage, inputs: Inputs, split: str) -> np.ndarray:
    """(n, classes) float32 probabilities of a split's images as they are, of which each worker finds its share."""
    rows, member = np.arange(len(task.labels[split])), task.member
    mine, read = rows[member.rank :: member.workers], partial(inputs.plain, split)
    parts = []
    for part, x in batches(mine, task.variant.batch_size, read, inputs.readers):
        parts.append((part, stage.predict(x)))
        member.beat()
    scores = np.zeros((len(rows), task.classes), np.float32)
    for part, found in parts:
        scores[part] = found.numpy()
    return stage.add_up(scores)


def _valid(task: Task, stage: Stage, inputs: Inputs) -> tuple[dict[str, float], np.ndarray]:
    """The numbers of valid in an Epoch, by name, NaN without it; and the probabilities (n, classes) of these."""
    if "valid" not in task.labels:
        nothing = dict.fromkeys(("valid_loss", "valid_accuracy", "valid_macro_f1"), math.nan)
        return nothing, np.zeros((0, task.classes), np.float32)
    scores, labels = _score(task, stage, inputs, "valid"), task.labels["valid"]
    loss, accuracy = _evaluate(scores, labels)
    f1 = metrics.mean_f1(metrics.confusion(labels, scores.argmax(axis=1), scores.shape[1]))
    return {"valid_loss": loss, "valid_accuracy": accuracy, "valid_macro_f1": f1}, scores


def _evaluate(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy, with Keras's clipping at 1e-7, and accuracy."""
    chosen = scores[np.arange(len(labels)), labels].astype(np.float64)
    loss = -np.log(np.clip(chosen, 1e-7, 1 - 1e-7)).mean()
    return float(loss), float((scores.argmax(axis=1) == labels).mean())
