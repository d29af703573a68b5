"""How a model's weights are trained, step by step: loss, regularisation and optimizer. Knows Keras, not Ray."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ray_birds.model import losses

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Recipe:
    """What a step does, beside its learning rate. The defaults are the article's: Adam on cross-entropy.

    `clip` bounds the norm of all gradients together, `ema` is the momentum of the moving average of the weights
    that is scored in their place; 0 leaves either out.
    """

    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0  # times the learning rate, of kernels alone
    clip: float = 0.0
    ema: float = 0.0
    loss: losses.Kind = "cross_entropy"
    label_smoothing: float = 0.0
    dropout: float = 0.0  # of the pooled features


ARTICLE = Recipe()


def make_optimizer(recipe: Recipe, trained: list["keras.Variable"]) -> "keras.Optimizer":
    """Not yet built; the learning rate is set before each step."""
    import keras

    options = {
        "global_clipnorm": recipe.clip or None,
        "use_ema": bool(recipe.ema),
        "ema_momentum": recipe.ema or 0.99,
    }
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(**options)
    optimizer = keras.optimizers.AdamW(weight_decay=recipe.weight_decay, **options)
    # Biases, and scales and shifts of normalisation, have one axis: decay would only pull them off their place.
    optimizer.exclude_from_weight_decay(var_list=[each for each in trained if len(each.shape) < 2])
    return optimizer
