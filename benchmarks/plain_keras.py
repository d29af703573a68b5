"""The article's recipe in plain Keras: one variant after another, from the images in every epoch.

This is what `sweep.py` measures ray-birds against, so it is written as a careful reader of the article would
write it: one script, one loop, images read and decoded by parallel threads ahead of the model, augmentation
as Keras layers in the model. It uses nothing of ray-birds.
"""

import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf
import tyro
from keras import layers


@dataclass(frozen=True)
class Recipe:
    data: str
    output: str
    """JSON file to write the winner and its accuracies to."""
    augment: tuple[str, ...] = ("off", "article")
    unfreeze: tuple[int, ...] = (0, 10, 100)
    learning_rate: tuple[float, ...] = (1e-3,)
    backbone: str = "EfficientNetB0"
    weights: str = "imagenet"
    """imagenet, none, or a Keras weight file without top."""
    image_size: int = 224
    head_epochs: int = 5
    fine_tune_epochs: int = 5
    seed: int = 0


def main(recipe: Recipe) -> None:
    train, valid, test = (images(recipe, split) for split in ("train", "valid", "test"))
    classes = len(train.class_names)
    train, valid, test = (split.prefetch(tf.data.AUTOTUNE) for split in (train, valid, test))
    best, winner, accuracies, seconds = search(recipe, train, valid, classes)
    _, test_accuracy = best.evaluate(test, verbose=2)
    outcome = {"winner": winner, "valid_accuracy": accuracies[winner], "test_accuracy": test_accuracy}
    Path(recipe.output).write_text(json.dumps(outcome | {"trials": seconds}), encoding="utf-8")


def search(
    recipe: Recipe, train: tf.data.Dataset, valid: tf.data.Dataset, classes: int
) -> tuple[keras.Model, str, dict[str, float], dict[str, float]]:
    """The best variant on valid, its name, and each variant's valid accuracy and seconds."""
    best: keras.Model | None = None
    winner = ""
    accuracies: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for unfreeze, augment, rate in itertools.product(recipe.unfreeze, recipe.augment, recipe.learning_rate):
        start = time.perf_counter()
        keras.utils.clear_session()
        keras.utils.set_random_seed(recipe.seed)
        base, model = build(recipe, augment == "article", classes)
        history = fit(model, rate, train, valid, recipe.head_epochs)
        if unfreeze:
            for number, layer in enumerate(base.layers):
                layer.trainable = number >= len(base.layers) - unfreeze
            history = fit(model, rate * 0.1, train, valid, recipe.fine_tune_epochs)
        name = f"{'plain' if augment == 'off' else augment}-unfreeze{unfreeze}-lr{rate:g}"
        accuracies[name] = history.history["val_accuracy"][-1]
        seconds[name] = round(time.perf_counter() - start, 2)
        print(f"{name}: valid accuracy {accuracies[name]:.4f}")
        if best is None or accuracies[name] > accuracies[winner]:
            best, winner = model, name
    assert best is not None
    return best, winner, accuracies, seconds


def images(recipe: Recipe, split: str) -> tf.data.Dataset:
    return keras.utils.image_dataset_from_directory(
        Path(recipe.data, split),
        label_mode="categorical",
        batch_size=32,
        image_size=(recipe.image_size, recipe.image_size),
        shuffle=split == "train",
        seed=recipe.seed,
    )


def build(recipe: Recipe, augment: bool, classes: int) -> tuple[keras.Model, keras.Model]:
    """The frozen backbone, and the model with its head: raw pixels in, class probabilities out."""
    base = backbone(recipe)
    for layer in base.layers:
        layer.trainable = False
    inputs = x = keras.Input((recipe.image_size, recipe.image_size, 3))
    if augment:
        # Keras 3 has no RandomHeight and RandomWidth: the second zoom stretches height and width independently.
        x = layers.RandomFlip("horizontal")(x)
        x = layers.RandomRotation(0.2)(x)
        x = layers.RandomZoom(0.2)(x)
        x = layers.RandomZoom(0.2, 0.2)(x)
    x = layers.GlobalAveragePooling2D()(base(scaled(recipe.backbone, x), training=False))
    return base, keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def scaled(backbone: str, x: tf.Tensor) -> tf.Tensor:
    """Pixels 0..255 as a backbone of this name expects them."""
    if backbone.startswith(("MobileNetV2", "ResNet", "NASNet")):
        return layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    if backbone.startswith("DenseNet"):
        mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        shift = [-m / d for m, d in zip(mean, deviation, strict=True)]
        return layers.Rescaling([1 / (255 * d) for d in deviation], offset=shift)(x)
    return x


def backbone(recipe: Recipe) -> keras.Model:
    family, _, width = recipe.backbone.partition("-")
    base = getattr(keras.applications, family)(
        input_shape=(recipe.image_size, recipe.image_size, 3),
        include_top=False,
        weights="imagenet" if recipe.weights == "imagenet" else None,
        **({"alpha": float(width)} if width else {}),
    )
    if recipe.weights not in ("imagenet", "none"):
        base.load_weights(recipe.weights)
        if family.startswith("EfficientNetB"):
            # Their input is also divided by sqrt(stddev), but Keras does so only where weights are asked for as
            # "imagenet": here it goes into the variance.
            normalization = next(layer for layer in base.layers if isinstance(layer, layers.Normalization))
            mean, variance, count = normalization.get_weights()
            normalization.set_weights([mean, variance * [0.229, 0.224, 0.225], count])
            normalization.finalize_state()
    return base


def fit(
    model: keras.Model, rate: float, train: tf.data.Dataset, valid: tf.data.Dataset, epochs: int
) -> keras.callbacks.History:
    model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"])
    return model.fit(train, validation_data=valid, epochs=epochs, verbose=2)


if __name__ == "__main__":
    main(tyro.cli(Recipe))
