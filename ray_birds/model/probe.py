"""The softmax head on frozen pooled features, solved to convergence: a convex problem, so there is one answer.

Multinomial logistic regression with an L2 penalty on the kernel, by L-BFGS over all batches of each evaluation:
only one batch is in memory at a time, so the features may be a memory-mapped store of any size. Products are
float32 on TensorFlow's device; sums over batches, and L-BFGS itself, are float64.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

Batch = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # features (n, d) float32, labels (n,) int32, weights (n,) float32
Batches = Callable[[], Iterable[Batch]]  # goes through all of them, in the same order each time

# On features of mean square norm 1, in half decades; the range is not yet tried on data.
PENALTIES = tuple(10.0 ** (-step / 2) for step in range(2, 17))
PATIENCE = 3  # weaker penalties tried in vain before the rest are left out: the valid loss has one minimum
TOLERANCE = 1e-9  # relative decrease of the loss at which L-BFGS stops
MAX_ITERATIONS = 500


@dataclass(frozen=True)
class Head:
    """A softmax head: kernel (d, classes) and bias (classes,), float32, on the features as they are."""

    kernel: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Tried:
    """A penalty, the loss on train without it, and loss and accuracy on valid."""

    penalty: float
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    iterations: int


@dataclass(frozen=True)
class Probe:
    """The head with the penalty that is best on valid, and all that were tried, from strong to weak."""

    head: Head
    penalty: float
    tried: list[Tried]


def solve(
    train: Batches, valid: Batches, classes: int, penalties: Iterable[float] = PENALTIES, patience: int = PATIENCE
) -> Probe:
    """The head for each penalty in turn, from strong to weak, each starting from the one before.

    Chosen by the loss on valid: it is smooth, where accuracy on few images is a tie or a matter of luck.
    """
    problem = Problem(train, classes)
    best, best_head, tried = -1, None, []
    for number, penalty in enumerate(sorted(penalties, reverse=True)):
        head, loss, iterations = problem.solve(penalty)
        tried.append(Tried(penalty, loss, *evaluate(head, valid), iterations))
        if best_head is None or tried[-1].valid_loss < tried[best].valid_loss:
            best, best_head = number, head
        elif number - best >= patience:
            break
    if best_head is None:
        raise ValueError("no penalties to try; expected at least one")
    return Probe(best_head, tried[best].penalty, tried)


class Problem:
    """The training loss as a function of the head, in coordinates where its curvature is much the same everywhere.

    The kernel is taken along the principal axes of the centred features and scaled by the square root of the
    curvature that these predict, shared out over the classes. What that gains in iterations is not yet measured.
    `scale` makes the features' mean square norm 1, so that a penalty
    means the same for every backbone; it ends up in the kernel.
    """

    def __init__(self, train: Batches, classes: int) -> None:
        self._train, self._classes = train, classes
        self._total, self._mean, covariance, square = _moments(train)
        self._scale = 1 / np.sqrt(square)
        values, self._axes = np.linalg.eigh(covariance * self._scale**2)
        self._curvature = values.clip(0) / classes
        self._size = len(self._mean)
        self._kernel = np.zeros((self._size, classes))  # on scaled, centred features: those of the last solution
        self._bias = np.zeros(classes)

    def solve(self, penalty: float) -> tuple[Head, float, int]:
        """The head that minimises mean loss + penalty / 2 x sum of squares of the scaled kernel.

        Returns it with its mean loss (without the penalty) and the number of iterations. Starts from the last.
        """
        steps = 1 / np.sqrt(self._curvature + penalty)[:, None]

        def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
            kernel, bias = self._unpack(point, steps)
            loss, by_kernel, by_bias = self._loss(kernel, bias)
            by_kernel += penalty * kernel
            gradient = np.concatenate([(self._axes.T @ by_kernel * steps).ravel(), by_bias])
            return loss + penalty / 2 * np.sum(kernel**2), gradient

        start = np.concatenate([((self._axes.T @ self._kernel) / steps).ravel(), self._bias])
        options = {"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE, "gtol": 1e-7, "maxcor": 10}
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
        self._kernel, self._bias = self._unpack(found.x, steps)
        loss = float(found.fun - penalty / 2 * np.sum(self._kernel**2))
        return self._head(self._kernel, self._bias), loss, int(found.nit)

    def _unpack(self, point: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = self._size * self._classes
        return self._axes @ (point[:count].reshape(self._size, self._classes) * steps), point[count:]

    def _head(self, kernel: np.ndarray, bias: np.ndarray) -> Head:
        """The same head on the features as they are: scale and centring go into kernel and bias."""
        raw = kernel * self._scale
        return Head(raw.astype(np.float32), (bias - self._mean @ raw).astype(np.float32))

    def _loss(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Mean loss and its gradients by the scaled kernel and the bias, float64."""
        head = self._head(kernel, bias)
        weights = tf.constant(head.kernel), tf.constant(head.bias)
        loss, by_kernel, by_bias = 0.0, np.zeros_like(kernel), np.zeros_like(bias)
        for batch in self._train():
            parts = _gradients(*weights, *batch)
            loss += float(parts[0])
            by_kernel += parts[1].numpy()
            by_bias += parts[2].numpy()
        by_kernel = (by_kernel - np.outer(self._mean, by_bias)) * self._scale
        return loss / self._total, by_kernel / self._total, by_bias / self._total


def _moments(train: Batches) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Sum of weights; weighted mean (d,), covariance (d, d) and mean square norm of the features, float64."""
    total, first, second = 0.0, 0.0, 0.0
    for features, _, weights in train():
        total += float(weights.sum(dtype=np.float64))
        first = first + features.T @ weights.astype(np.float64)
        second = second + _gram(features, weights).numpy().astype(np.float64)
    mean, second = np.asarray(first) / total, np.asarray(second) / total
    return total, mean, second - np.outer(mean, mean), float(np.trace(second))


@tf.function(reduce_retracing=True)
def _gram(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.matmul(features * weights[:, None], features, transpose_a=True)


@tf.function(reduce_retracing=True)
def _gradients(
    kernel: tf.Tensor, bias: tf.Tensor, features: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Weighted sum of a batch's losses (float64) and its gradients by kernel and bias (float32)."""
    logits = tf.matmul(features, kernel) + bias
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    excess = (tf.nn.softmax(logits) - tf.one_hot(labels, tf.shape(kernel)[1])) * weights[:, None]
    loss = tf.reduce_sum(tf.cast(losses * weights, tf.float64))
    return loss, tf.matmul(features, excess, transpose_a=True), tf.reduce_sum(excess, axis=0)


def logits(head: Head, batches: Batches) -> Iterator[np.ndarray]:
    """(n, classes) float32 of each batch."""
    for features, *_ in batches():
        yield features @ head.kernel + head.bias


def evaluate(head: Head, batches: Batches) -> tuple[float, float]:
    """Weighted mean loss and accuracy."""
    loss = hits = total = 0.0
    for values, (_, labels, weights) in zip(logits(head, batches), batches(), strict=True):
        shifted = values.astype(np.float64) - values.max(axis=1, keepdims=True)
        losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
        loss += float(losses @ weights)
        hits += float((values.argmax(axis=1) == labels) @ weights)
        total += float(weights.sum())
    return loss / total, hits / total
