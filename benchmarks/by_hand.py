"""What a practitioner writes by hand, on decoded images: a recipe, chosen on valid and scored once on test.

`accuracy.py` sets ray-birds against these. They use nothing of it: plain Keras, and scikit-learn's logistic
regression on features that Keras pooled. They read SPLIT-images.npy (n, size, size, 3) uint8 and SPLIT-labels.npy
(n,) int32 of train, valid and test.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import plain_keras
import tensorflow as tf
import tyro
from keras import layers
from plain_keras import Recipe
from sklearn.linear_model import LogisticRegression

Split = tuple[np.ndarray, np.ndarray]  # images and labels
BATCH = 32


@dataclass(frozen=True)
class ByHand(Recipe):
    """A recipe on the arrays in the folder `data`."""

    side: Literal["article", "logistic", "strong"] = "strong"
    epochs: int = 8
    """Of the strong script."""


def main(recipe: ByHand) -> None:
    folder = Path(recipe.data)
    data = {
        name: (np.load(folder / f"{name}-images.npy"), np.load(folder / f"{name}-labels.npy"))
        for name in ("train", "valid", "test")
    }
    sides = {"article": article, "logistic": logistic, "strong": strong}
    valid, right, chosen = sides[recipe.side](data, recipe)
    found = {"valid_accuracy": valid, "right": int(right.sum()), "winner": chosen}
    Path(recipe.output).write_text(json.dumps(found), encoding="utf-8")


def article(data: dict[str, Split], recipe: ByHand) -> tuple[float, np.ndarray, str]:
    """The article's models, see plain_keras: the best of them on valid."""
    train, valid = feed(data, "train", recipe.seed), feed(data, "valid", recipe.seed)
    best, winner, accuracies, _ = plain_keras.search(recipe, train, valid, classes(data))
    return accuracies[winner], is_right(best, data["test"]), winner


def logistic(data: dict[str, Split], recipe: ByHand) -> tuple[float, np.ndarray, str]:
    """Logistic regression on pooled features, each image's of norm 1; C chosen on valid."""
    x, _ = pooled(data, recipe)
    valid, model = regression(x, data)
    return valid, model.predict(x["test"]) == data["test"][1], f"C {model.C:g}"


def strong(data: dict[str, Split], recipe: ByHand) -> tuple[float, np.ndarray, str]:
    """Head solved first, then all layers: AdamW, warm-up and cosine, light augmentation, smoothing, best epoch."""
    keras.utils.set_random_seed(recipe.seed)
    x, norm = pooled(data, recipe)
    _, head = regression(x, data)
    base = plain_keras.backbone(recipe)
    inputs = changed = keras.Input((recipe.image_size, recipe.image_size, 3))
    for change in (
        layers.RandomFlip("horizontal"),
        layers.RandomTranslation(0.08, 0.08),
        layers.RandomZoom(0.15),
        layers.RandomRotation(10 / 360),
        layers.RandomBrightness(0.15),
        layers.RandomContrast(0.15),
    ):
        changed = change(changed)
    features = layers.GlobalAveragePooling2D()(base(plain_keras.scaled(recipe.backbone, changed), training=False))
    model = keras.Model(inputs, layers.Dense(classes(data), activation="softmax")(features))
    # The solved head reads features of norm 1: the mean norm stands for the norm of each.
    model.layers[-1].set_weights([(head.coef_.T / norm).astype(np.float32), head.intercept_.astype(np.float32)])
    for layer in base.layers:  # BatchNorm stays as it is, as Keras's guide to fine-tuning advises
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    steps = recipe.epochs * -(-len(data["train"][1]) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=5e-4, warmup_steps=steps // 10
    )
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.02), loss, metrics=["accuracy"])
    best = Path(recipe.output).with_suffix(".weights.h5")
    keep = keras.callbacks.ModelCheckpoint(best, "val_accuracy", save_best_only=True, save_weights_only=True)
    train, valid = feed(data, "train", recipe.seed), feed(data, "valid", recipe.seed)
    history = model.fit(train, validation_data=valid, epochs=recipe.epochs, verbose=2, callbacks=[keep])
    accuracies = history.history["val_accuracy"]
    model.load_weights(best)
    return max(accuracies), is_right(model, data["test"]), f"epoch {int(np.argmax(accuracies)) + 1}"


def pooled(data: dict[str, Split], recipe: ByHand) -> tuple[dict[str, np.ndarray], float]:
    """Features (n, d) of norm 1 for each split, and the mean norm that they had on train."""
    base = plain_keras.backbone(recipe)
    inputs = keras.Input((recipe.image_size, recipe.image_size, 3))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(base(plain_keras.scaled(recipe.backbone, inputs))))
    found = {name: model.predict(images, batch_size=BATCH, verbose=0) for name, (images, _) in data.items()}
    norms = {name: np.linalg.norm(x, axis=1, keepdims=True) for name, x in found.items()}
    return {name: x / norms[name] for name, x in found.items()}, float(norms["train"].mean())


def regression(x: dict[str, np.ndarray], data: dict[str, Split]) -> tuple[float, LogisticRegression]:
    """The best on valid, and its accuracy there."""
    models = [
        LogisticRegression(C=float(c), max_iter=1000).fit(x["train"], data["train"][1])
        for c in np.logspace(-1, 4, 11)
    ]
    scores = [float(model.score(x["valid"], data["valid"][1])) for model in models]
    best = int(np.argmax(scores))
    return scores[best], models[best]


def feed(data: dict[str, Split], name: str, seed: int) -> tf.data.Dataset:
    """Batches of images and labels as vectors of a split; train's in another order in each epoch."""
    images, labels = (tf.constant(array) for array in data[name])
    rows, count = tf.data.Dataset.range(len(labels)), classes(data)
    if name == "train":
        rows = rows.shuffle(len(labels), seed=seed)

    def take(part: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(images, part), tf.one_hot(tf.gather(labels, part), count)

    return rows.batch(BATCH).map(take, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def is_right(model: keras.Model, split: Split) -> np.ndarray:
    """(n,) bool."""
    images, labels = split
    return model.predict(images, batch_size=BATCH, verbose=0).argmax(axis=1) == labels


def classes(data: dict[str, Split]) -> int:
    return int(data["train"][1].max()) + 1


if __name__ == "__main__":
    main(tyro.cli(ByHand))
