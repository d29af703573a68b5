"""A bundle's model at work: images in, probabilities and pooled features out."""

import io
import json
import math
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ray_birds.config import Tta
from ray_birds.core import storage
from ray_birds.core.errors import ModelError, first_line
from ray_birds.core.prefetch import prefetch
from ray_birds.model import device
from ray_birds.model.bundle import Bundle, read, verify
from ray_birds.model.folding import folded

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class Classifier:
    """A model that scores images in pieces of one fixed shape, the last one padded.

    One compiled shape and one code path for the sweep's test score and for batch prediction: the same
    images get the same probabilities. With `tta` flip, these are the means over an image and its mirror image.
    `lanes` pieces go through at a time, see device.use_lanes.
    """

    def __init__(self, model: "keras.Model", batch_size: int = 32, tta: Tta = "none", lanes: int = 1) -> None:
        import keras
        import tensorflow as tf

        self._piece, self._tta, self._lanes = device.piece(batch_size, model.input.shape[1]), tta, lanes
        both = folded(keras.Model(model.input, [model.output, model.layers[-1].input]))
        self.input_shape: tuple[int, int, int] = tuple(model.input.shape[1:])
        self.output_shape: tuple[int, ...] = tuple(model.output.shape[1:])
        self.features: int = model.layers[-1].input.shape[-1]
        signature = [tf.TensorSpec((self._piece, *self.input_shape), tf.uint8)]
        self._function = tf.function(
            lambda pixels: both(tf.cast(pixels, tf.float32), training=False), input_signature=signature
        )
        self._function.get_concrete_function()  # here, where what the model cannot do is told of the model

    def warm_up(self) -> None:
        self(np.zeros((1, *self.input_shape), np.uint8))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(n, size, size, 3) uint8 -> probabilities (n, classes) float32."""
        return self.embed(pixels)[0]

    def embed(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, size, size, 3) uint8, n > 0 -> probabilities (n, classes) and pooled features (n, d), float32.

        The features are those of the images as they are. Raises ModelError where a probability is not finite.
        """
        scores, features = self._run(pixels)
        return scores if self._tta == "none" else self.with_mirror(pixels, scores), features

    def with_mirror(self, pixels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The means of the images' own probabilities, `scores`, and of those of their mirror images."""
        return (scores + self._run(pixels[:, :, ::-1])[0]) / 2

    def _run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        def score(start: int) -> "tuple[tf.Tensor, tf.Tensor]":
            part = pixels[start : start + self._piece]
            missing = self._piece - len(part)
            return self._function(np.pad(part, [(0, missing), (0, 0), (0, 0), (0, 0)]) if missing else part)

        results = list(prefetch(score, range(0, len(pixels), self._piece), self._lanes))
        # Fetched when all are under way, so that a GPU does not wait between batches.
        columns = zip(*results, strict=True)
        scores, features = (np.concatenate([tensor.numpy() for tensor in column]) for column in columns)
        if not np.isfinite(scores[: len(pixels)]).all():
            raise ModelError(
                "the model gives probabilities that are not numbers; train it again, with a lower --learning-rate "
                "or --precision float32"
            )
        return scores[: len(pixels)], features[: len(pixels)]


def opened(path: str) -> "keras.Model":
    """A saved model, frozen; code in it is not run."""
    import keras

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    model.trainable = False  # whoever saved it: only what is frozen is folded
    return model


def load(bundle: Bundle, batch_size: int = 32, tta: Tta = "none", lanes: int = 1) -> Classifier:
    """The classifier of a verified bundle, from anywhere.

    Raises ModelError where the bundle is no longer the one verified, or where Keras refuses its model: above
    all for code in it, which safe mode does not run.
    """
    if verify(bundle.uri).digest != bundle.digest:
        raise ModelError(f"{bundle.uri}: has changed since this job began; run it again")
    data = read(bundle.uri, "model.keras")
    with storage.temporary_file(data, ".keras") as path:
        try:
            _check_parameters(data)
            classifier = Classifier(opened(path), batch_size, tta, lanes)
            if classifier.output_shape != (len(bundle.classes),):
                raise ValueError(f"gives {classifier.output_shape}, not {len(bundle.classes)} probabilities")
            known, width = bundle.reference.centres, classifier.features
            if len(known) and known.shape[1] != width:
                raise ValueError(f"has {width} features, ood.npz has {known.shape[1]}")
        except Exception as error:  # of a description that is not its own Keras makes whatever it can
            reason = first_line(error)
            raise ModelError(
                f"{bundle.uri}/model.keras: Keras does not open it ({reason}); expected a classifier of a sweep"
            ) from error
    return classifier


def network(bundle: Bundle) -> "keras.Model":
    """The Keras model of a bundle that `load` has opened."""
    with storage.temporary_file(read(bundle.uri, "model.keras"), ".keras") as path:
        return opened(path)


def _check_parameters(data: bytes) -> None:
    """Raises ValueError where a model.keras describes more parameters than it holds: Keras would make them all,
    at random, before it looks for their values. Here none is made."""
    with ThreadPoolExecutor(1) as own:  # each has a list of what Keras makes as soon as it may
        count = own.submit(_described, data).result()
    if 4 * count > len(data):
        raise ValueError(f"it describes {count:,} parameters and has {len(data):,} bytes")


def _described(data: bytes) -> int:
    """The number of parameters that a model.keras describes."""
    import keras

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        config = json.loads(archive.read("config.json"))
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return sum(math.prod(weight.shape) for weight in model.weights)
