"""The softmax head on frozen pooled features, solved to convergence: a convex problem, so there is one answer.

Multinomial logistic regression with an L2 penalty on the kernel, by L-BFGS over all batches of each evaluation:
only one batch is in memory at a time, so the features may be a memory-mapped store of any size. Products are
float32 on TensorFlow's device; sums over batches, and L-BFGS itself, are float64.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

Batch = tuple[np.ndarray, np.ndarray]  # (n, d) float32 and labels (n,) int32
Batches = Callable[[], Iterable[Batch]]  # goes through all of them, in the same order each time

# On features of mean square norm 1.
PENALTIES = tuple(10.0**-step for step in range(2, 9))
PATIENCE = 2  # weaker penalties tried in vain before the rest are left out: the valid loss has one minimum
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
    """The training loss as a function of the head, on centred features whose mean square norm is 1.

    So a penalty means the same for every backbone; scale and centring end up in kernel and bias.
    """

    def __init__(self, train: Batches, classes: int) -> None:
        self._train = train
        self._total, self._mean, square = _moments(train)
        self._scale = 1 / np.sqrt(square)
        self._shape = len(self._mean), classes
        self._solution = np.zeros((len(self._mean) + 1) * classes)  # the last one: kernel, then bias

    def solve(self, penalty: float) -> tuple[Head, float, int]:
        """The head that minimises mean loss + penalty / 2 x sum of squares of the scaled kernel.

        Returns it with its mean loss (without the penalty) and the number of iterations. Starts from the last.
        """

        def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
            kernel, bias = self._unpack(point)
            loss, by_kernel, by_bias = self._loss(kernel, bias)
            gradient = np.concatenate([(by_kernel + penalty * kernel).ravel(), by_bias])
            return loss + penalty / 2 * np.sum(kernel**2), gradient

        options = {"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE, "gtol": 1e-7, "maxcor": 10}
        found = minimize(objective, self._solution, jac=True, method="L-BFGS-B", options=options)
        self._solution = found.x
        kernel, bias = self._unpack(found.x)
        return self._head(kernel, bias), float(found.fun - penalty / 2 * np.sum(kernel**2)), int(found.nit)

    def _unpack(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = self._shape[0] * self._shape[1]
        return point[:count].reshape(self._shape), point[count:]

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


def _moments(train: Batches) -> tuple[int, np.ndarray, float]:
    """Number, mean (d,) and mean square norm of the features, float64."""
    total, first, second = 0, 0.0, 0.0
    for features, _ in train():
        total += len(features)
        first = first + features.sum(axis=0, dtype=np.float64)
        second += float(np.square(features, dtype=np.float64).sum())
    return total, np.asarray(first) / total, second / total


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
def _gradients(
    kernel: tf.Tensor, bias: tf.Tensor, features: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sum of a batch's losses (float64) and its gradients by kernel and bias (float32)."""
    logits = tf.matmul(features, kernel) + bias
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    excess = tf.nn.softmax(logits) - tf.one_hot(labels, tf.shape(kernel)[1])
    loss = tf.reduce_sum(tf.cast(losses, tf.float64))
    return loss, tf.matmul(features, excess, transpose_a=True), tf.reduce_sum(excess, axis=0)


def evaluate(head: Head, batches: Batches) -> tuple[float, float]:
    """Mean loss and accuracy."""
    loss, hits, total = 0.0, 0, 0
    for features, labels in batches():
        logits = features @ head.kernel + head.bias
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        loss += float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]).sum())
        hits += int((logits.argmax(axis=1) == labels).sum())
        total += len(labels)
    return loss / total, hits / total
