"""What a practitioner writes by hand, on decoded images: three recipes, chosen on valid and scored once on test.

`accuracy.py` sets ray-birds against them. They use nothing of ray-birds: plain Keras, and scikit-learn's
logistic regression on features that Keras pooled.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from plain_keras import Recipe, backbone
from sklearn.linear_model import LogisticRegression

Split = tuple[np.ndarray, np.ndarray]  # (n, size, size, 3) uint8, (n,) int32
BATCH = 32


@dataclass(frozen=True)
class Outcome:
    side: str
    valid: float
    test: np.ndarray  # (n,) bool: which test images are right
    seconds: float
    chosen: str


def splits(folder: Path) -> dict[str, Split]:
    """Arrays `SPLIT-images.npy` and `SPLIT-labels.npy` of a folder."""
    names = ("train", "valid", "test")
    return {
        name: (np.load(folder / f"{name}-images.npy"), np.load(folder / f"{name}-labels.npy")) for name in names
    }


def article(data: dict[str, Split], recipe: Recipe) -> Outcome:
    """Five epochs of the head, five of the top layers, with and without augmentation: the best on valid."""
    start, best, valid, chosen = time.perf_counter(), None, -1.0, ""
    for unfreeze, augment in itertools.product(recipe.unfreeze, recipe.augment):
        keras.utils.set_random_seed(recipe.seed)
        changes = [layers.RandomFlip("horizontal"), layers.RandomRotation(0.2)]
        changes += [layers.RandomZoom(0.2), layers.RandomZoom(0.2, 0.2)]
        base, model = network(recipe, classes(data), changes if augment == "on" else [])
        base.trainable = False
        found = fit(model, keras.optimizers.Adam(recipe.learning_rate[0]), data, recipe.head_epochs)
        if unfreeze:
            base.trainable = True
            for number, layer in enumerate(base.layers):
                layer.trainable = number >= len(base.layers) - unfreeze
            optimizer = keras.optimizers.Adam(recipe.learning_rate[0] / 10)
            found = fit(model, optimizer, data, recipe.fine_tune_epochs)
        if found[-1] > valid:
            best, valid, chosen = model, found[-1], f"augment {augment}, unfreeze {unfreeze}"
    assert best is not None
    return Outcome("article, plain Keras", valid, right(best, data["test"]), time.perf_counter() - start, chosen)


def logistic(data: dict[str, Split], recipe: Recipe) -> Outcome:
    """Logistic regression on pooled features, normalised per image; C chosen on valid."""
    start = time.perf_counter()
    x = pooled(data, recipe)
    tried = regressions(x, data)
    valid, model = max(tried, key=lambda pair: pair[0])
    test = model.predict(x["test"]) == data["test"][1]
    return Outcome("scikit-learn", valid, test, time.perf_counter() - start, f"C {model.C:g}")


def pooled(data: dict[str, Split], recipe: Recipe) -> dict[str, np.ndarray]:
    base, _ = network(recipe, classes(data), [])
    features = keras.Model(base.input, layers.GlobalAveragePooling2D()(base.output))
    scaled = {name: preprocess(recipe, images) for name, (images, _) in data.items()}
    found = {
        name: np.concatenate([features(part, training=False) for part in parts]) for name, parts in scaled.items()
    }
    return {name: x / np.linalg.norm(x, axis=1, keepdims=True) for name, x in found.items()}


def preprocess(recipe: Recipe, images: np.ndarray) -> Iterator[np.ndarray]:
    """Batches as the backbone expects them."""
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH].astype(np.float32)
        yield batch / 127.5 - 1 if recipe.backbone.startswith(("MobileNetV2", "ResNet50V2")) else batch


def regressions(x: dict[str, np.ndarray], data: dict[str, Split]) -> list[tuple[float, LogisticRegression]]:
    """(valid accuracy, model) for each C of a grid."""
    (_, train), (_, valid) = data["train"], data["valid"]
    models = [LogisticRegression(C=float(c), max_iter=1000).fit(x["train"], train) for c in np.logspace(-1, 4, 11)]
    return [(float(model.score(x["valid"], valid)), model) for model in models]


def strong(data: dict[str, Split], recipe: Recipe, rate: float = 5e-4, epochs: int = 8) -> Outcome:
    """Head solved first, then all layers: AdamW, warm-up and cosine, light augmentation, smoothing, best epoch."""
    start = time.perf_counter()
    keras.utils.set_random_seed(recipe.seed)
    changes: list[keras.Layer] = [layers.RandomFlip("horizontal"), layers.RandomTranslation(0.08, 0.08)]
    changes += [layers.RandomZoom(0.15), layers.RandomRotation(10 / 360)]
    changes += [layers.RandomBrightness(0.15), layers.RandomContrast(0.15)]
    base, model = network(recipe, classes(data), changes)
    x = pooled(data, recipe)
    _, head = max(regressions(x, data), key=lambda pair: pair[0])
    # The solved head reads features of norm 1: the mean norm stands for the norm of each.
    norm = mean_norm(data, recipe)
    model.layers[-1].set_weights([(head.coef_.T / norm).astype(np.float32), head.intercept_.astype(np.float32)])
    for layer in base.layers:  # frozen, BatchNorm stays in inference mode, as Keras's guide to fine-tuning advises
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    steps = epochs * -(-len(data["train"][1]) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=rate, warmup_steps=steps // 10
    )
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    best = keep_best(model)
    valid = max(fit(model, keras.optimizers.AdamW(schedule, weight_decay=0.02), data, epochs, loss, [best]))
    model.set_weights(best.weights)
    return Outcome("strong Keras script", valid, right(model, data["test"]), time.perf_counter() - start, "")


def mean_norm(data: dict[str, Split], recipe: Recipe) -> float:
    base, _ = network(recipe, classes(data), [])
    features = keras.Model(base.input, layers.GlobalAveragePooling2D()(base.output))
    batches = preprocess(recipe, data["train"][0])
    return float(np.mean([np.linalg.norm(features(part, training=False), axis=1).mean() for part in batches]))


def network(recipe: Recipe, count: int, changes: list[keras.Layer]) -> tuple[keras.Model, keras.Model]:
    base = backbone(recipe)
    inputs = x = keras.Input((recipe.image_size, recipe.image_size, 3))
    for change in changes:
        x = change(x)
    if recipe.backbone.startswith(("MobileNetV2", "ResNet50V2")):  # these expect -1..1
        x = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    x = layers.GlobalAveragePooling2D()(base(x, training=False))
    return base, keras.Model(inputs, layers.Dense(count, activation="softmax")(x))


def fit(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    data: dict[str, Split],
    epochs: int,
    loss: "keras.losses.Loss | str" = "categorical_crossentropy",
    callbacks: list[keras.callbacks.Callback] | None = None,
) -> list[float]:
    """Accuracy on valid after each epoch."""
    model.compile(optimizer, loss, metrics=["accuracy"])
    count = classes(data)
    train, valid = (feed(data[name], count, shuffle=name == "train") for name in ("train", "valid"))
    history = model.fit(train, validation_data=valid, epochs=epochs, verbose=2, callbacks=callbacks)
    return [float(value) for value in history.history["val_accuracy"]]


def feed(split: Split, count: int, *, shuffle: bool) -> tf.data.Dataset:
    images, labels = split
    rows = tf.data.Dataset.range(len(labels))
    rows = rows.shuffle(len(labels), seed=0) if shuffle else rows

    def take(part: np.ndarray) -> list[np.ndarray]:
        return [images[part], np.eye(count, dtype=np.float32)[labels[part]]]

    return rows.batch(BATCH).map(lambda part: _shaped(part, take, images.shape[1:], count)).prefetch(2)


def _shaped(
    part: tf.Tensor, take: Callable[[np.ndarray], list[np.ndarray]], shape: tuple[int, ...], count: int
) -> tuple[tf.Tensor, tf.Tensor]:
    images, labels = tf.numpy_function(take, [part], [tf.uint8, tf.float32])
    return tf.ensure_shape(images, (None, *shape)), tf.ensure_shape(labels, (None, count))


def keep_best(model: keras.Model) -> keras.callbacks.Callback:
    class Best(keras.callbacks.Callback):
        weights: list[np.ndarray]
        score = -1.0

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            if logs and logs["val_accuracy"] > self.score:
                self.score, self.weights = logs["val_accuracy"], model.get_weights()

    return Best()


def right(model: keras.Model, split: Split) -> np.ndarray:
    images, labels = split
    return model.predict(images, batch_size=BATCH, verbose=0).argmax(axis=1) == labels


def classes(data: dict[str, Split]) -> int:
    return int(data["train"][1].max()) + 1
