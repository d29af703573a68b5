"""One number that makes a model's probabilities honest: the temperature that its logits are divided by.

C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017. The order of the classes stays as it is.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.optimize import minimize_scalar

from ray_birds.evaluation.calibration import calibration_error, certainty
from ray_birds.evaluation.metrics import ALPHA

_RANGE = 0.02, 50.0
_LEAST = 1e-30  # of a probability: float32 reaches no lower


@dataclass(frozen=True)
class Temperature:
    """`value` is 1 where the `images` that it was fitted on do not show that another one is better.

    These are of valid, or what the models of so many `folds` say of the images that they held out.
    """

    value: float
    images: int
    folds: int = 0

    def measured(self, probabilities: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float]]:
        """Log loss and expected calibration error of a model that has it, and without it, for metrics.json."""
        without = apply(probabilities, 1 / self.value)
        return {"calibration": _honesty(probabilities, labels), "uncalibrated": _honesty(without, labels)}

    @property
    def sentence(self) -> str:
        images = f"{self.images:,} valid images"
        if self.folds:
            images = f"the {self.images:,} images that {self.folds} folds held out"
        if self.value == 1:
            return (
                f"Its probabilities are as training left them: {images} do not show that a temperature would make "
                "them better."
            )
        softer = "less" if self.value > 1 else "more"
        return (
            f"Its probabilities are calibrated: a temperature of {self.value:.3g}, fitted on {images} and part of "
            f"its last layer, makes it {softer} certain."
        )


def fit(probabilities: np.ndarray, labels: np.ndarray, folds: int = 0) -> Temperature:
    """The temperature of least log loss on (n, classes) probabilities and (n,) labels, or 1.

    It is 1 where a likelihood-ratio test does not tell the two apart at 5 %, as with few images.
    """
    images = len(labels)
    if not images:
        return Temperature(1.0, 0, folds)
    bounds = np.log(_RANGE)
    found = minimize_scalar(
        lambda log: log_loss(apply(probabilities, float(np.exp(log))), labels), bounds=bounds, method="bounded"
    )
    gain = log_loss(probabilities, labels) - float(found.fun)
    told = 2 * images * gain > special.chdtri(1, ALPHA)
    return Temperature(float(np.exp(found.x)) if told else 1.0, images, folds)


def apply(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(n, classes) float64: what the same logits give when divided by `temperature`."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), _LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(chosen, _LEAST)).mean())


def _honesty(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    predictions = probabilities.argmax(axis=1)
    seen = certainty(probabilities.max(axis=1), predictions == labels)
    return {"log_loss": log_loss(probabilities, labels), "calibration_error": calibration_error(seen)}
