"""A bundle as a LiteRT file (.tflite), for phones and small boards; classes and pixels.py are zipped behind it.

A file may end in a zip, which LiteRT does not look at: that is where TensorFlow Lite's own metadata keep their
files (https://ai.google.dev/edge/litert/models/metadata). `unzip` finds them.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ray_birds.config import Precision
from ray_birds.core.errors import ModelError, first_line
from ray_birds.model import classifier
from ray_birds.model.bundle import Bundle
from ray_birds.model.forms import extra


def write(model: Bundle, path: Path, precision: Precision, training: np.ndarray) -> None:
    """Input and output are float32 in any precision. With float16 weights are halved; with int8 weights and
    activations have 8 bits, over the ranges that these take on the images `training` (m, size, size, 3) uint8."""
    from tensorflow.lite.python.convert import ConverterError

    options = _options(precision, training)
    try:
        classifier.network(model).export(str(path), format="litert", verbose=False, **options)
    except (ValueError, RuntimeError, ConverterError) as error:
        raise ModelError(
            f"--format litert: TensorFlow's converter refuses this network ({first_line(error)}); try onnx"
        ) from error
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, text in extra.files(model).items():
            archive.writestr(name, text)


def _options(precision: Precision, training: np.ndarray) -> dict[str, Any]:
    """What TensorFlow's converter is told (https://ai.google.dev/edge/litert/models/post_training_quantization)."""
    from tensorflow import float16, lite

    def images() -> Iterator[list[np.ndarray]]:
        for image in training:
            yield [image[None].astype(np.float32)]

    if precision == "float32":
        return {}
    options: dict[str, Any] = {"optimizations": [lite.Optimize.DEFAULT]}
    if precision == "float16":
        return options | {"target_spec": {"supported_types": [float16]}}
    kinds = [lite.OpsSet.TFLITE_BUILTINS_INT8, lite.OpsSet.TFLITE_BUILTINS]  # float where there is nothing else
    return options | {"representative_dataset": images, "target_spec": {"supported_ops": kinds}}


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    """What a phone answers, image by image. Raises ModelError where LiteRT does not run the file."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"--format litert: LiteRT does not run what Keras wrote ({first_line(error)}); try onnx"
        ) from error
    (given,), (answered,) = interpreter.get_input_details(), interpreter.get_output_details()
    scores = []
    for image in pixels:
        interpreter.set_tensor(given["index"], image[None].astype(np.float32))
        interpreter.invoke()
        scores.append(interpreter.get_tensor(answered["index"])[0])
    return np.stack(scores)
