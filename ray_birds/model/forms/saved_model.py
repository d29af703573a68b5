"""A bundle as a SavedModel, for TensorFlow and TensorFlow Serving.

Classes and pixels.py lie in its folder assets.extra, TensorFlow's place for files of one's own.
"""

from pathlib import Path

import numpy as np

from ray_birds.model import classifier
from ray_birds.model.bundle import Bundle
from ray_birds.model.forms import extra


def write(model: Bundle, path: Path) -> None:
    classifier.network(model).export(str(path), format="tf_saved_model", verbose=False)
    folder = path / "assets.extra"
    folder.mkdir()
    for name, text in extra.files(model).items():
        (folder / name).write_text(text, encoding="utf-8")


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    """What TensorFlow Serving would answer."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    (scores,) = serve(**{name: tf.constant(pixels, tf.float32)}).values()
    return np.asarray(scores)
