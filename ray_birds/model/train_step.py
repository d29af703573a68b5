"""One phase's model with its optimizer and compiled step; knows Keras, not Ray.

Compiling a step costs some ten seconds: trials of the same shape share a stage, and `reset` the numbers.
"""

import gc
from dataclasses import dataclass, fields
from functools import cache
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from ray_birds.model import backbones, cut, device, head
from ray_birds.model.cut import PIXELS, POOLED, CutPoint
from ray_birds.model.folding import folded
from ray_birds.sweep.factors import Depth, Variant

Weights = dict[str, np.ndarray]  # of what is trained, by Keras path
_PACK = 4 * 2**20  # bytes of gradients that workers add up at a time


@dataclass(frozen=True)
class Recipe:
    """What a step does beside its rate, by factors; the default is the article's, which trains heads too."""

    optimizer: Literal["adamw", "adam"] = "adam"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    dropout: float = 0.0
    ema: float = 0.0
    clip_norm: float = 0.0

    @classmethod
    def of(cls, variant: Variant) -> "Recipe":
        """That of a variant's fine-tuning."""
        return cls(**{field.name: getattr(variant, field.name) for field in fields(cls)})

    @property
    def is_plain(self) -> bool:
        """Whether what is made small is cross-entropy as it is."""
        return self.loss == "cross_entropy" and not self.label_smoothing

    def make_optimizer(self, trained: list[keras.Variable], replicas: int = 1) -> keras.Optimizer:
        """Not yet built; the learning rate is set before each step. Each replica clips its equal share."""
        clip = self.clip_norm / replicas or None
        options = {"use_ema": self.ema > 0, "ema_momentum": self.ema, "global_clipnorm": clip}
        if self.optimizer == "adam":
            return keras.optimizers.Adam(**options)
        optimizer = keras.optimizers.AdamW(weight_decay=self.weight_decay, **options)
        # Biases, and scales and shifts of normalisation, have one axis: decay would pull them off their place.
        optimizer.exclude_from_weight_decay(var_list=[each for each in trained if len(each.shape) < 2])
        return optimizer

    def losses(self, labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        """(n,) losses of (n, classes) probabilities, with a share of each label given to all classes alike."""
        wanted, share = tf.one_hot(labels, scores.shape[1]), self.label_smoothing
        if self.loss == "focal":  # alpha weighs classes against a background, which there is none of
            return keras.losses.categorical_focal_crossentropy(
                wanted, scores, alpha=1.0, gamma=2.0, label_smoothing=share
            )
        return keras.losses.categorical_crossentropy(wanted, scores, label_smoothing=share)


@dataclass(frozen=True)
class Shape:
    """What decides the graph of a trial's two phases; `head` and `tail` are the cut points that they start from.

    `devices` of one node train a batch together; none or one: TensorFlow's default device. With several `workers`
    it is all the devices of each.
    """

    backbone: str
    weights: str
    image_size: int
    unfreeze: Depth
    classes: int
    precision: str
    head: CutPoint
    tail: CutPoint
    devices: tuple[str, ...] = ()
    fine_tuning: Recipe = Recipe()
    unit: bool = False  # whether the head reads features of one norm
    workers: int = 1  # processes that train together

    def model(self, in_head: bool) -> keras.Model:
        """From the phase's cut point to class probabilities (B, classes) float32."""
        cut_point = self.head if in_head else self.tail
        if cut_point.name == POOLED:
            return head.from_pooled(cut_point, self.classes, unit=self.unit)
        network = backbones.build(self.backbone, self.weights, self.image_size)
        cut.freeze(network, 0 if in_head else self.unfreeze)
        return head.classifier(network, cut_point, self.classes, unit=self.unit)


class Stage:
    """A model ready for one trial after another."""

    def __init__(self, shape: Shape, in_head: bool) -> None:
        self._strategy = _strategy(shape)
        self._replicas = self._strategy.num_replicas_in_sync
        self._local = self._replicas // shape.workers  # those of this process
        several = self._replicas > 1
        device.use_precision(shape.precision)
        with self._strategy.scope():
            model = shape.model(in_head)
            self._head = model.get_layer("head")
            self._both = folded(keras.Model(model.input, [model.output, self._head.input]))
            self._trained = list(model.trainable_variables)
            self._recipe = Recipe() if in_head else shape.fine_tuning
            self._seed = tf.Variable(0, dtype=tf.int64)
            optimizer = self._recipe.make_optimizer(self._trained, self._replicas)
            # Gradients below float16's smallest number would be lost without a scale on the loss.
            half = shape.precision == "mixed_float16"
            self.optimizer = keras.optimizers.LossScaleOptimizer(optimizer) if half else optimizer
            self._sums_first = several and (half or self._recipe.clip_norm > 0)
            self.optimizer.build(self._trained)
        self._steps = optimizer.iterations
        self._most = 0  # rows of a trial's largest batch so far
        averages = [one for one in optimizer.variables if one.path.endswith("_average")]
        self._averaged = list(zip(self._trained, averages, strict=False))  # none without --ema
        self._first = [variable.numpy() for variable in self._trained]
        self._first_optimizer = [variable.numpy() for variable in self.optimizer.variables]
        dtype = tf.uint8 if model.input.name.startswith(PIXELS) else tf.float32
        features = tf.TensorSpec((None, *model.input.shape[1:]), dtype)
        each = [tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32)]
        # XLA makes EfficientNetB0 some ten times slower on a CPU; across devices it does not reach.
        self._xla = bool(tf.config.list_physical_devices("GPU")) and not several
        self._compiled = tf.function(self._step, input_signature=[features, *each], jit_compile=self._xla or None)
        self.predict = tf.function(self._predict, input_signature=[features])
        self.pool = tf.function(self._pool, input_signature=[features])

    def step(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        rate: float,
        weights: np.ndarray | float = 1.0,
        size: int = 0,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One step on (n, *cut point.shape) and (n,) int32 at this learning rate; `weights` (n,) or of all alike.

        With several workers these are each one's share of the batch, `size` is that of the batch, and rows that
        weigh nothing are not counted. Returns the sum of the batch's losses and the number it got right before
        the step.
        """
        self.optimizer.learning_rate.assign(rate)
        weights = np.full(len(labels), weights / np.float32(size or len(labels)), np.float32)
        if lack := self._lack(len(labels)):  # rows that fill up weigh nothing
            features, labels, weights = (
                np.pad(rows, [(0, lack)] + [(0, 0)] * (rows.ndim - 1)) for rows in (features, labels, weights)
            )
        if self._replicas > 1:
            return self._across(*(self._own(np.split(rows, self._local)) for rows in (features, labels, weights)))
        return self._compiled(features, labels, weights)

    def _lack(self, rows: int) -> int:
        """How many rows to add: each device takes as many, and for smaller batches XLA would compile once more."""
        if self._replicas > 1:
            return -rows % self._local
        self._most = max(self._most, rows)
        return self._most - rows if self._xla else 0

    def _own(self, values: list[np.ndarray]) -> "tf.distribute.DistributedValues":
        """One of the values for each device of this process."""
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.convert_to_tensor(values[context.replica_id_in_sync_group % self._local])
        )

    def add_up(self, values: np.ndarray) -> np.ndarray:
        """The sum over the workers of arrays of one shape, which each gives at the same time."""
        if self._replicas == self._local:
            return values
        each = [values, *[np.zeros_like(values)] * (self._local - 1)]
        total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, self._own(each), axis=None)
        return np.asarray(total.numpy())

    @tf.function  # type: ignore[untyped-decorator]
    def _across(self, *parts: "tf.distribute.DistributedValues") -> tuple[tf.Tensor, tf.Tensor]:
        def own(*part: tf.Tensor) -> tf.Tensor:
            return tf.stack(self._step(*part))  # they travel once

        sums = self._strategy.reduce(tf.distribute.ReduceOp.SUM, self._strategy.run(own, parts), axis=None)
        return sums[0], sums[1]

    def _step(self, features: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A device's share of a step; `weights` are shares of the whole batch, and gradients are added."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in self._trained])
            scores = self._scores(features)
            losses = keras.losses.sparse_categorical_crossentropy(labels, scores)
            costs = losses if self._recipe.is_plain else self._recipe.losses(labels, scores)
            loss = self.optimizer.scale_loss(tf.reduce_sum(costs * weights))
        gradients = tape.gradient(loss, [variable.value for variable in self._trained])
        if self._sums_first:
            # Keras clips, and looks for what is not finite, before it adds up. What counts is the norm of the sum,
            # and all must find the same: it gets equal shares of that.
            total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            gradients = [each / self._replicas for each in total]
        self.optimizer.apply(gradients, self._trained)
        counts = tf.cast(weights > 0, tf.float32)
        hits = tf.cast(tf.equal(tf.argmax(scores, axis=1, output_type=tf.int32), labels), tf.float32)
        return tf.reduce_sum(losses * counts), tf.reduce_sum(hits * counts)

    def _scores(self, features: tf.Tensor) -> tf.Tensor:
        """Probabilities in training: with dropout, drawn from the seed, the number of the step and the replica.

        So a trial that resumes draws what it would have drawn. It is not a layer of the model, called with
        training=True, because that would reach the frozen layers too.
        """
        if not self._recipe.dropout:
            return self._predict(features)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        number = tf.cast(self._steps.value, tf.int64) * self._replicas + tf.cast(replica, tf.int64)
        seed = tf.stack([self._seed, number])
        return self._head(tf.nn.experimental.stateless_dropout(self._pool(features), self._recipe.dropout, seed))

    def _predict(self, features: tf.Tensor) -> tf.Tensor:
        return self._both(tf.cast(features, tf.float32), training=False)[0]

    def _pool(self, features: tf.Tensor) -> tf.Tensor:
        """What the head reads, (n, d) float32."""
        return tf.cast(self._both(tf.cast(features, tf.float32), training=False)[1], tf.float32)

    def swap(self) -> None:
        """Exchange the weights with their moving averages, where there are any.

        Steps are made from the weights; what is scored and kept are the averages, and the weights wait meanwhile
        where the optimizer has its averages: so a state holds both.
        """
        for variable, average in self._averaged:
            value = variable.numpy()
            variable.assign(average)
            average.assign(value)

    def reset(self, seed: int) -> None:
        """Back to the first weights: the pretrained ones, and a head drawn from `seed` (Glorot uniform).

        Dropout is drawn from the seed too.
        """
        self._most = 0
        self._seed.assign(seed)
        for variable, value in zip(self._trained, self._first, strict=True):
            if variable.path == "head/kernel":
                variable.assign(keras.initializers.GlorotUniform(seed)(variable.shape))
            else:
                variable.assign(value)
        for variable, value in zip(self.optimizer.variables, self._first_optimizer, strict=True):
            variable.assign(value)

    def load(self, weights: Weights, optimizer: list[np.ndarray] | None = None) -> None:
        """Take over the weights that are trained here, and within a phase the optimizer's moments and averages."""
        for variable in self._trained:
            if variable.path in weights:
                variable.assign(weights[variable.path])
        if optimizer is None:
            for variable, average in self._averaged:
                average.assign(variable)
        else:
            for variable, value in zip(self.optimizer.variables, optimizer, strict=True):
                variable.assign(value)

    def state(self) -> tuple[Weights, list[np.ndarray]]:
        weights = {variable.path: variable.numpy() for variable in self._trained}
        return weights, [variable.numpy() for variable in self.optimizer.variables]


def _strategy(shape: Shape) -> tf.distribute.Strategy:
    if shape.workers > 1:
        return across_workers()
    return _mirrored(shape.devices) if len(shape.devices) > 1 else tf.distribute.get_strategy()


@cache
def across_workers() -> tf.distribute.Strategy:
    """That of the processes which TF_CONFIG names; a process makes it before TensorFlow's first operation, once.

    They add up by NCCL between GPUs, else by rings over gRPC; in packs, so that the gradients of the layers above
    travel while those below are still to be found (Li et al. 2020, "PyTorch Distributed"). No time-out is set,
    for TensorFlow keeps a thread for each operation until that is over: who starts the processes watches them.
    """
    options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=_PACK)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


@cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """One for all stages of a process: two would number their collective operations alike, and mix them up."""
    return tf.distribute.MirroredStrategy(devices)


class Stages:
    """The stages of the shape that this process trained last; another shape clears them and Keras's session."""

    def __init__(self) -> None:
        self._shape: Shape | None = None
        self._stages: dict[bool, Stage] = {}

    def get(self, shape: Shape, in_head: bool) -> Stage:
        if shape != self._shape:
            self.clear()
            self._shape = shape
        if in_head not in self._stages:
            self._stages[in_head] = Stage(shape, in_head)
        return self._stages[in_head]

    def clear(self) -> None:
        """Give back the memory."""
        self._shape = None
        self._stages.clear()
        keras.utils.clear_session()
        gc.collect()


def assemble(variant: Variant, weights: str, classes: int, trained: Weights) -> keras.Model:
    """The whole model of a trial, raw pixels in, with its `trained` weights: the others are pretrained.

    It computes in float32 whatever it was trained in: a bundle must run well on any machine.
    """
    device.use_precision("float32")
    network = backbones.build(variant.backbone, weights, variant.image_size)
    pixels = CutPoint(PIXELS, (variant.image_size, variant.image_size, 3))
    model = head.classifier(network, pixels, classes, unit=variant.solved)
    network.trainable = True
    cut.freeze(network, variant.unfreeze)
    for variable in model.trainable_variables:
        if variable.path in trained:  # only the head is, where the epoch that is kept is of the head phase
            variable.assign(trained[variable.path])
    cut.freeze(network, 0)
    return model
