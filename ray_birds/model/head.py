"""The softmax layer on pooled features, and the model from a cut point to class probabilities."""

from typing import TYPE_CHECKING

from ray_birds.model.cut import PIXELS, POOLED, CutPoint

if TYPE_CHECKING:
    import keras


def classifier(model: "keras.Model", cut_point: CutPoint, classes: int, *, unit: bool = False) -> "keras.Model":
    """From the tensor at `cut point` to class probabilities (B, classes): the tail, pooling and a new head.

    From PIXELS it is the whole model. BatchNorm stays in inference mode in training too. `unit` as in `head`.
    """
    import keras

    inputs = keras.Input(cut_point.shape, name=cut_point.name)
    if cut_point.name == PIXELS:
        features = model(inputs, training=False)
    else:
        tail = keras.Model(model.get_layer(cut_point.name).output, model.output, name="tail")
        features = tail(inputs, training=False)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    return keras.Model(inputs, head(pooled, classes, unit=unit))


def divide_logits(model: "keras.Model", temperature: float) -> None:
    """Give a model, or its head, another temperature: the last layer's kernel and bias take it in."""
    layer = model.get_layer("head")
    layer.set_weights([weight / temperature for weight in layer.get_weights()])


def from_pooled(cut_point: CutPoint, classes: int, *, unit: bool) -> "keras.Model":
    """The head alone, from pooled features (B, d)."""
    import keras

    inputs = keras.Input(cut_point.shape, name=POOLED)
    return keras.Model(inputs, head(inputs, classes, unit=unit))


def head(features: "keras.KerasTensor", classes: int, *, unit: bool) -> "keras.KerasTensor":
    """(B, classes) probabilities of pooled features (B, d), in float32.

    `unit` first brings each image's features to the norm sqrt(d): bright and contrasted images have larger ones,
    which say little of the class, and one penalty then suits all images and every backbone.
    """
    import keras

    if unit:
        features = keras.layers.UnitNormalization(dtype="float32", name="unit")(features)
        features = keras.layers.Rescaling(features.shape[-1] ** 0.5, dtype="float32", name="scale")(features)
    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="head")(features)
