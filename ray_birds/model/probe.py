"""The softmax head on frozen pooled features, solved to convergence: a convex problem, so there is one answer.

Multinomial logistic regression with an L2 penalty on the kernel, by L-BFGS over all batches of each evaluation:
only one batch is in memory at a time, so the features may be a memory-mapped store of any size. It moves along the
principal axes of the features, each scaled by what the loss's curvature there is about: pooled features vary
a thousand times more along some than along others, which costs L-BFGS ten times the iterations. Products are
float32 on TensorFlow's device; sums over batches, and L-BFGS itself, are float64.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

Batch = tuple[np.ndarray, np.ndarray]  # (n, d) float32 and labels (n,) int32
Batches = Callable[[], Iterable[Batch]]  # goes through all of them, in the same order each time

PENALTIES = tuple(10.0 ** (-step / 2) for step in range(4, 17))  # on features of mean square norm 1
PATIENCE = 1  # weaker penalties tried in vain before the rest are left out: the valid loss has one minimum
# Relative decrease of the loss at which L-BFGS stops: of a penalty that is tried, and of the one that is chosen.
ROUGH, FINE = 1e-6, 1e-9
MAX_ITERATIONS = 500
# Threads of NumPy's and SciPy's own products, which are small here. More of them wait for one another busily, and
# so take the cores from TensorFlow, which does the large ones: three times the CPU seconds on two cores.
BLAS_THREADS = 1
FLAT = 1e-9  # of the largest variance: axes below are noise of float32, and left out


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
    train: Batches,
    valid: Batches,
    weights: np.ndarray,
    penalties: Iterable[float] = PENALTIES,
    patience: int = PATIENCE,
) -> Probe:
    """The head for each penalty in turn, from strong to weak, each starting from the one before.

    Chosen by the loss on valid: it is smooth, where accuracy on few images is a tie or a matter of luck. `weights`
    (classes,) are those of an image of each class, in both losses; they are 1 on average over the training images.
    """
    problem = Problem(train, weights)
    best, best_point, tried = -1, None, []
    for number, penalty in enumerate(sorted(penalties, reverse=True)):
        solution = problem.solve(penalty, ROUGH)
        tried.append(Tried(penalty, solution.loss, *evaluate(solution.head, valid, weights), solution.iterations))
        if best_point is None or tried[-1].valid_loss < tried[best].valid_loss:
            best, best_point = number, solution.point
        elif number - best >= patience:
            break
    if best_point is None:
        raise ValueError("no penalties to try; expected at least one")
    penalty = tried[best].penalty
    return Probe(problem.solve(penalty, FINE, best_point).head, penalty, tried)


@dataclass(frozen=True)
class Solution:
    """A head with its mean loss on train (without the penalty), its place among all heads and its iterations."""

    head: Head
    loss: float
    point: np.ndarray
    iterations: int


class Problem:
    """The training loss as a function of the head, on centred features whose mean square norm is 1.

    So a penalty means the same for every backbone; scale and centring end up in kernel and bias. A head's place is
    its kernel along the principal axes of the features, (r, classes), and then its bias, (classes,): more than r
    axes the best kernel does not have, since the penalty draws what the features do not reach to 0.
    """

    def __init__(self, train: Batches, weights: np.ndarray) -> None:
        self._train, classes = train, len(weights)
        self._weights = tf.constant(weights, tf.float32)
        self._total, self._mean, covariance, square = _moments(train)
        self._scale = 1 / np.sqrt(square)
        with threadpool_limits(BLAS_THREADS, "blas"):
            variances, axes = np.linalg.eigh(covariance / square)
        kept = variances > FLAT * variances[-1]
        self._variances = variances[kept]
        self._axes = tf.constant(axes[:, kept], tf.float32)
        self._shape = int(kept.sum()), classes
        self._solution = np.zeros((self._shape[0] + 1) * classes)

    def solve(self, penalty: float, tolerance: float = FINE, start: np.ndarray | None = None) -> Solution:
        """The head that minimises mean loss + penalty / 2 x sum of squares of the scaled kernel.

        Starts from the last solution, unless told where.
        """
        classes = self._shape[1]
        # The curvature by a class's weights is some p(1 - p) x variance, with p = 1 / classes to begin with.
        scales = np.append(1 / np.sqrt(self._variances / classes + penalty), np.sqrt(classes)).repeat(classes)

        def objective(scaled: np.ndarray) -> tuple[float, np.ndarray]:
            point = scaled * scales
            loss, gradient = self._loss(point)
            kernel = point[:-classes]
            gradient[:-classes] += penalty * kernel
            return loss + penalty / 2 * float(kernel @ kernel), gradient * scales

        first = (self._solution if start is None else start) / scales
        options = {"maxiter": MAX_ITERATIONS, "ftol": tolerance, "gtol": 1e-7, "maxcor": 10}
        with threadpool_limits(BLAS_THREADS, "blas"):
            found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
        self._solution = found.x * scales
        kernel = self._solution[:-classes]
        loss = float(found.fun - penalty / 2 * kernel @ kernel)
        return Solution(self._head(self._solution), loss, self._solution, int(found.nit))

    def _head(self, point: np.ndarray) -> Head:
        """The head on the features as they are: axes, scale and centring go into kernel and bias."""
        classes = self._shape[1]
        along = tf.constant(point[:-classes].reshape(self._shape), tf.float32)
        kernel = tf.matmul(self._axes, along).numpy() * np.float32(self._scale)
        return Head(kernel, (point[-classes:] - self._mean @ kernel).astype(np.float32))

    def _loss(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean loss and its gradient by the place, float64."""
        head = self._head(point)
        constants = tf.constant(head.kernel), tf.constant(head.bias), self._weights
        loss, by_kernel, by_bias = 0.0, np.zeros(head.kernel.shape), np.zeros(head.bias.shape)
        for batch in self._train():
            parts = _gradients(*constants, *batch)
            loss += float(parts[0])
            by_kernel += parts[1].numpy()
            by_bias += parts[2].numpy()
        by_kernel = (by_kernel - np.outer(self._mean, by_bias)) * (self._scale / self._total)
        along = tf.matmul(self._axes, tf.constant(by_kernel, tf.float32), transpose_a=True).numpy()
        return loss / self._total, np.append(along.astype(np.float64), by_bias / self._total)


def _moments(train: Batches) -> tuple[int, np.ndarray, np.ndarray, float]:
    """Number, mean (d,), covariance (d, d) and mean square norm of the features, float64."""
    total, first, second = 0, np.float64(0), np.float64(0)
    for features, _ in train():
        total += len(features)
        first = first + features.sum(axis=0, dtype=np.float64)
        second = second + tf.matmul(features, features, transpose_a=True).numpy()
    mean, square = np.asarray(first) / total, np.asarray(second) / total
    return total, mean, square - np.outer(mean, mean), float(np.trace(square))


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
def _gradients(
    kernel: tf.Tensor, bias: tf.Tensor, weights: tf.Tensor, features: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sum of a batch's weighted losses (float64) and its gradients by kernel and bias (float32)."""
    logits = tf.matmul(features, kernel) + bias
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    own = tf.gather(weights, labels)
    excess = (tf.nn.softmax(logits) - tf.one_hot(labels, tf.shape(kernel)[1])) * own[:, None]
    loss = tf.reduce_sum(tf.cast(losses * own, tf.float64))
    return loss, tf.matmul(features, excess, transpose_a=True), tf.reduce_sum(excess, axis=0)


def evaluate(head: Head, batches: Batches, weights: np.ndarray | None = None) -> tuple[float, float]:
    """Mean loss, weighted by class where there are weights, and accuracy."""
    loss, weight, hits, total = 0.0, 0.0, 0, 0
    for features, labels in batches():
        logits = features @ head.kernel + head.bias
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
        own = np.ones(len(labels)) if weights is None else weights[labels].astype(np.float64)
        loss, weight = loss + float(losses @ own), weight + float(own.sum())
        hits += int((logits.argmax(axis=1) == labels).sum())
        total += len(labels)
    return loss / weight, hits / total
