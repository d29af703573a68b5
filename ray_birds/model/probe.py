"""The softmax head on frozen pooled features, solved to convergence: a convex problem, so there is one answer.

Multinomial logistic regression with an L2 penalty on the kernel, by L-BFGS over all batches of each evaluation:
only one batch is in memory at a time, so the features may be a memory-mapped store of any size. It moves along the
principal axes of the features, each scaled by what the loss's curvature there is about: pooled features vary
a thousand times more along some than along others, which costs L-BFGS ten times the iterations. From one penalty
to the next it starts on the line through the last two solutions, which costs it half the iterations. Products are
float32 on TensorFlow's device; sums over batches, and L-BFGS itself, are float64.
"""

from collections.abc import Callable, Iterable, Sequence
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
HELD = 1 << 29  # bytes of features that are held in memory, turned to their principal axes
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
    """The head for each penalty in turn, from strong to weak, each starting from those before.

    Chosen by the loss on valid: it is smooth, where accuracy on few images is a tie or a matter of luck. `weights`
    (classes,) are those of an image of each class, in both losses; they are 1 on average over the training images.
    """
    problem = Problem(train, weights)
    path: list[Solution] = []
    best, tried = -1, []
    for number, penalty in enumerate(sorted({*penalties}, reverse=True)):
        path.append(solution := problem.solve(penalty, ROUGH, path))
        tried.append(Tried(penalty, solution.loss, *evaluate(solution.head, valid, weights), solution.iterations))
        if number == 0 or tried[-1].valid_loss < tried[best].valid_loss:
            best = number
        elif number - best >= patience:
            break
    if not path:
        raise ValueError("no penalties to try; expected at least one")
    penalty = tried[best].penalty
    return Probe(problem.solve(penalty, FINE, [path[best]]).head, penalty, tried)


@dataclass(frozen=True)
class Solution:
    """The head for a penalty, its mean loss on train (without the penalty), its place and its iterations."""

    penalty: float
    head: Head
    loss: float
    point: np.ndarray
    iterations: int


class Problem:
    """The training loss as a function of the head, on centred features whose mean square norm is 1.

    So a penalty means the same for every backbone; scale and centring end up in kernel and bias. A head's place is
    its kernel along the principal axes of the features, (r, classes), and then its bias, (classes,): more than r
    axes the best kernel does not have, since the penalty draws what the features do not reach to 0. Features that
    fit into memory are turned to these axes once; of others, the head is turned to theirs each time.
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
        self._turned = [*map(self._turn, train())] if 4 * self._total * self._shape[0] <= HELD else None

    def solve(self, penalty: float, tolerance: float = FINE, path: Sequence[Solution] = ()) -> Solution:
        """The head that minimises mean loss + penalty / 2 x sum of squares of the scaled kernel.

        Starts where the last two solutions of `path`, those of other penalties, lead to.
        """
        classes = self._shape[1]
        # The curvature by a class's weights is about mean p(1 - p) x variance: p = 1 / classes to begin with; once
        # most images are right, the loss is what the right class lacks, and the other classes have the same again.
        curvature = float(np.clip(2 * path[-1].loss, FLAT, 1)) / classes if path else 1 / classes
        scales = 1 / np.sqrt(np.append(self._variances * curvature + penalty, curvature)).repeat(classes)

        def objective(scaled: np.ndarray) -> tuple[float, np.ndarray]:
            point = scaled * scales
            loss, gradient = self._loss(point)
            kernel = point[:-classes]
            gradient[:-classes] += penalty * kernel
            return loss + penalty / 2 * float(kernel @ kernel), gradient * scales

        first = self._start(penalty, path) / scales
        options = {"maxiter": MAX_ITERATIONS, "ftol": tolerance, "gtol": 1e-7, "maxcor": 20}
        with threadpool_limits(BLAS_THREADS, "blas"):
            found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
        point = found.x * scales
        kernel = point[:-classes]
        loss = float(found.fun - penalty / 2 * kernel @ kernel)
        return Solution(penalty, self._head(point), loss, point, int(found.nit))

    def _start(self, penalty: float, path: Sequence[Solution]) -> np.ndarray:
        """Solutions lie on a line by the logarithm of the penalty, once the features tell all images apart."""
        if not path:
            return np.zeros((self._shape[0] + 1) * self._shape[1])
        *before, last = path[-2:]
        steps = [np.log(penalty / last.penalty) / np.log(last.penalty / one.penalty) for one in before]
        return last.point + sum(step * (last.point - one.point) for step, one in zip(steps, before, strict=True))

    def _head(self, point: np.ndarray) -> Head:
        """The head on the features as they are: axes, scale and centring go into kernel and bias."""
        along = self._along(point)
        kernel = tf.matmul(self._axes, along.kernel).numpy() * np.float32(self._scale)
        return Head(kernel, (point[-self._shape[1] :] - self._mean @ kernel).astype(np.float32))

    def _along(self, point: np.ndarray) -> Head:
        """The head on the turned features."""
        classes = self._shape[1]
        return Head(point[:-classes].reshape(self._shape).astype(np.float32), point[-classes:].astype(np.float32))

    def _turn(self, batch: Batch) -> tuple[tf.Tensor, np.ndarray]:
        """A batch's features along the axes, (n, r) float32, centred and scaled."""
        features, labels = batch
        return tf.matmul(((features - self._mean) * self._scale).astype(np.float32), self._axes), labels

    def _loss(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean loss and its gradient by the place, float64."""
        if self._turned is not None:
            loss, by_kernel, by_bias = self._sums(self._turned, self._along(point))
            return loss / self._total, np.append(by_kernel, by_bias) / self._total
        loss, by_kernel, by_bias = self._sums(self._train(), self._head(point))
        by_kernel = (by_kernel - np.outer(self._mean, by_bias)) * (self._scale / self._total)
        along = tf.matmul(self._axes, tf.constant(by_kernel, tf.float32), transpose_a=True).numpy()
        return loss / self._total, np.append(along.astype(np.float64), by_bias / self._total)

    def _sums(
        self, batches: Iterable[tuple[tf.Tensor, np.ndarray]], head: Head
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """The loss summed over images, and its gradients by kernel and bias, float64."""
        constants = tf.constant(head.kernel), tf.constant(head.bias), self._weights
        loss, by_kernel, by_bias = 0.0, np.zeros(head.kernel.shape), np.zeros(head.bias.shape)
        for batch in batches:
            parts = _gradients(*constants, *batch)
            loss += float(parts[0])
            by_kernel += parts[1].numpy()
            by_bias += parts[2].numpy()
        return loss, by_kernel, by_bias


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
