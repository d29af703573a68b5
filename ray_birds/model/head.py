"""The softmax layer on pooled features, and the model from a cut point to class probabilities."""

from typing import TYPE_CHECKING

from ray_birds.model.cut import PIXELS, CutPoint

if TYPE_CHECKING:
    import keras


def classifier(model: "keras.Model", cut_point: CutPoint, classes: int) -> "keras.Model":
    """From the tensor at `cut point` to class probabilities (B, classes): the tail, pooling and a new head.

    From PIXELS it is the whole model. BatchNorm stays in inference mode in training too.
    """
    import keras

    inputs = keras.Input(cut_point.shape, name=cut_point.name)
    if cut_point.name == PIXELS:
        features = model(inputs, training=False)
    else:
        tail = keras.Model(model.get_layer(cut_point.name).output, model.output, name="tail")
        features = tail(inputs, training=False)
    return keras.Model(inputs, head(classes)(keras.layers.GlobalAveragePooling2D(name="pool")(features)))


def head(classes: int) -> "keras.Layer":
    """The softmax layer on pooled features."""
    import keras

    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="head")
