"""A bundle for OpenVINO: a folder with model.xml and model.bin (its IR format), classes.json and pixels.py."""

from pathlib import Path

import numpy as np

from ray_birds.core.errors import ModelError, first_line
from ray_birds.model import classifier
from ray_birds.model.bundle import Bundle
from ray_birds.model.forms import extra

_MODEL = "model.xml"


def write(model: Bundle, path: Path) -> None:
    path.mkdir()
    classifier.network(model).export(str(path / _MODEL), format="openvino", verbose=False)
    for name, text in extra.files(model).items():
        (path / name).write_text(text, encoding="utf-8")


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    """What OpenVINO answers on the CPU, in float32: by itself it would take fewer bits where the CPU has them."""
    import openvino

    try:
        compiled = openvino.Core().compile_model(path / _MODEL, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise ModelError(
            f"--format openvino: OpenVINO does not open what Keras wrote ({first_line(error)}); try onnx"
        ) from error
    return np.asarray(compiled({0: pixels.astype(np.float32)})[0])
