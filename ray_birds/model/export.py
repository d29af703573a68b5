"""A bundle in the forms that other programs run, each run and compared with the Keras model before it is kept.

SavedModel and ONNX take images as float32 (batch, size, size, 3), RGB, 0..255, and give probabilities
float32 (batch, classes). The class names go along, and the lines that make such an image of a file: in the
folder assets.extra of a SavedModel (TensorFlow's place for files of one's own) as classes.json and pixels.py, as
`classes` and `pixels.py` among the metadata of an ONNX file. A zip holds the whole bundle, a folder for the
Hugging Face Hub what Keras loads from there too.
"""

import importlib.util
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pyarrow import fs

from ray_birds.config import ExportConfig
from ray_birds.core import artifact, storage, terminal
from ray_birds.core.errors import DataError, ModelError, SettingsError, first_line
from ray_birds.data import decode, walk
from ray_birds.model import bundle, classifier, hub, lines
from ray_birds.model.bundle import Bundle
from ray_birds.sweep.factors import Variant

if TYPE_CHECKING:
    import keras

_IMAGES = 32  # of a folder, the most that are compared
_DRAWN = 8  # compared where there is no folder

# Another order of float32 operations moves a probability by some 1e-5 of what tells two images apart (seen
# with EfficientNetB0 in ONNX Runtime); a lost or wrong constant by about as much as that itself.
_TOLERANCE = 1e-3
_LEAST_SPREAD = 1e-4  # where images differ by less, rounding would decide

Write = Callable[[Bundle, Path], None]
Run = Callable[[Path, np.ndarray], np.ndarray]


def export(config: ExportConfig) -> str:
    """Write the bundle `config.model` in another form to `config.output`; returns where, once it has passed.

    Raises ModelError where what was written does not run or computes something else, OutputError where the
    output exists or cannot be written, DataError for --images without images, SettingsError for --format
    onnx without its packages.
    """
    output = artifact.new(config.output)
    if config.format == "onnx":
        _require_onnx()
    model = bundle.verify(config.model)
    pixels = _images(config.images, model.variant)
    terminal.say(f"Writing {model.uri} as {config.format}; comparing it on {len(pixels)} images")
    with artifact.writing(output) as made, terminal.quiet(config.verbose):
        difference = _make(config, model, made, pixels)
    terminal.say(f"Its probabilities differ from those of the Keras model by {difference:.1e} at most")
    return str(output)


def _require_onnx() -> None:
    missing = [name for name in ("onnx", "onnxruntime", "tf2onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"--format onnx needs {', '.join(missing)}, which are not installed: pip install 'ray-birds[onnx]'"
        )


def _images(folder: str, variant: Variant) -> np.ndarray:
    """(n, size, size, 3) uint8: images evenly spread over a folder, or drawn ones."""
    if not folder:
        return _drawn(variant.image_size)
    uri = storage.resolve(folder)
    paths = walk.sort(walk.walk(uri))[0].files if storage.kind(uri) == fs.FileType.Directory else []
    numbers = np.linspace(0, len(paths) - 1, min(len(paths), _IMAGES)).astype(int)
    images = [
        decode.load(storage.join(uri, paths[number]), variant.image_size, resize=variant.resize)
        for number in numbers
    ]
    pixels = [image.pixels for image in images if image.pixels is not None]
    if not pixels:
        raise DataError(f"--images {folder}: no image there that can be read; expected a folder of images")
    return np.stack(pixels)


def _drawn(size: int) -> np.ndarray:
    """Random colours, from a few large spots to many small ones; always the same."""
    random = np.random.default_rng(0)
    coarse = [random.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in range(2, 2 + _DRAWN)]
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(spots).resize((size, size), bicubic)) for spots in coarse])


def _make(config: ExportConfig, model: Bundle, made: Path, pixels: np.ndarray) -> float:
    """Write, run and compare; returns the largest difference of a probability from the Keras model's."""
    import tensorflow as tf

    # On a GPU, TensorFlow would round to TF32's 10 bits, and ONNX Runtime would not.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    write, run = _forms(config)[config.format]
    expected = classifier.load(model)(pixels)
    try:
        write(model, made)
    except tf.errors.OpError as error:  # TensorFlow's own way of saying it
        raise OSError(error.message.splitlines()[0][:200]) from error
    return _difference(config.format, expected, run(made, pixels))


def _difference(form: str, expected: np.ndarray, got: np.ndarray) -> float:
    """Largest difference of two sets of probabilities (n, classes). Raises ModelError where it is too large.

    What is too large depends on how far the images themselves lie apart: two exports of a model that
    answers the same to everything always agree.
    """
    spread = float(np.ptp(expected, axis=0).max())
    if not spread >= _LEAST_SPREAD:  # NaN too
        raise ModelError(
            f"the model's answers to {len(expected)} images are all alike (within {spread:.0e}), so comparing "
            "proves nothing; give --images a folder with images of several classes"
        )
    difference = float(np.abs(got - expected).max()) if got.shape == expected.shape else float("nan")
    if not difference <= _TOLERANCE * spread:
        raise ModelError(
            f"--format {form}: what was written computes something else: probabilities {got.shape} that differ "
            f"by {difference:.1e} from the Keras model's {expected.shape}; nothing was kept"
        )
    return difference


def _write_saved_model(model: Bundle, path: Path) -> None:
    _network(model).export(str(path), format="tf_saved_model", verbose=False)
    extra = path / "assets.extra"
    extra.mkdir()
    storage.write_json(storage.from_os(str(extra / "classes.json")), model.classes)
    (extra / "pixels.py").write_text(_pixels_py(model), encoding="utf-8")


def _run_saved_model(path: Path, pixels: np.ndarray) -> np.ndarray:
    """What TensorFlow Serving would answer."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    (scores,) = serve(**{name: tf.constant(pixels, tf.float32)}).values()
    return np.asarray(scores)


def _write_onnx(model: Bundle, path: Path) -> None:
    import keras
    import onnx

    network = _network(model)
    _plain_constants(network)
    # Given, since Keras itself finds it only for a model that has been called.
    pixels = keras.InputSpec(network.input.dtype, network.input.shape, name=network.input.name)
    network.export(str(path), format="onnx", input_signature=[pixels], verbose=False)
    made = onnx.load(str(path))
    names = json.dumps(model.classes, ensure_ascii=False)
    onnx.helper.set_model_props(made, {"classes": names, "pixels.py": _pixels_py(model)})
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


def _run_onnx(path: Path, pixels: np.ndarray) -> np.ndarray:
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


def _pixels_py(model: Bundle) -> str:
    return lines.pixels(model.variant.image_size, model.variant.resize)


def _write_zip(model: Bundle, path: Path) -> None:
    """The files of the bundle, and nothing else that lies there, below one folder, which is called as the zip."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for name, data in bundle.files(model.uri).items():
            archive.writestr(f"{path.stem}/{name}", data)


def _run_zip(path: Path, pixels: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        return classifier.load(bundle.verify(str(Path(folder, path.stem))))(pixels)


def _forms(config: ExportConfig) -> dict[str, tuple[Write, Run]]:
    return {
        "saved_model": (_write_saved_model, _run_saved_model),
        "onnx": (_write_onnx, _run_onnx),
        "zip": (_write_zip, _run_zip),
        "huggingface": (partial(hub.write, license=config.license), hub.run),
    }


def _network(model: Bundle) -> "keras.Model":
    """The Keras model of a bundle that `classifier.load` has opened."""
    import keras

    with storage.temporary_file(storage.read(storage.join(model.uri, "model.keras")), ".keras") as path:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
