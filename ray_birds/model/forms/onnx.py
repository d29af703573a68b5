"""A bundle as an ONNX file, for ONNX Runtime; classes and pixels.py are among its metadata."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ray_birds.core.errors import ModelError, first_line
from ray_birds.model import classifier
from ray_birds.model.bundle import Bundle
from ray_birds.model.forms import extra

if TYPE_CHECKING:
    import keras


def write(model: Bundle, path: Path) -> None:
    import keras
    import onnx

    network = classifier.network(model)
    _plain_constants(network)
    # Given, since Keras itself finds it only for a model that has been called.
    pixels = keras.InputSpec(network.input.dtype, network.input.shape, name=network.input.name)
    network.export(str(path), format="onnx", input_signature=[pixels], verbose=False)
    made = onnx.load(str(path))
    texts = extra.files(model)
    onnx.helper.set_model_props(made, {"classes": texts["classes.json"], "pixels.py": texts["pixels.py"]})
    onnx.save(made, str(path))


def _plain_constants(network: "keras.Model") -> None:
    """Keep mean and variance of Normalization layers as NumPy arrays, or ONNX would ask the user for them.

    Keras holds them as tensors made outside the graph. TensorFlow lists these among a function's inputs
    (tensorflow/core/function/capture/capture_container.py, `capture_by_value`), and tf2onnx declares all of a
    function's inputs as inputs of the model (`from_function` in tf2onnx/convert.py).
    """
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.Model):
            _plain_constants(layer)
        elif isinstance(layer, keras.layers.Normalization):
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    """What ONNX Runtime answers. Raises ModelError where it refuses the file, or asks for more than images."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes of exceptions have no common parent
        reason = first_line(error)
        raise ModelError(
            f"--format onnx: ONNX Runtime does not open what Keras wrote ({reason}); try saved_model"
        ) from error
    wanted = [entry.name for entry in session.get_inputs()]
    given = [entry.name for entry in session.get_outputs()]
    if len(wanted) != 1 or len(given) != 1:
        raise ModelError(
            f"--format onnx: Keras's export has inputs {wanted} and outputs {given}, expected one of each; "
            "nothing was kept: try saved_model"
        )
    return np.asarray(session.run(None, {wanted[0]: pixels.astype(np.float32)})[0])
