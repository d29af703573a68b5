"""A bundle in the forms that other programs run, each run and compared with the Keras model before it is kept.

All but a zip and a folder for the Hugging Face Hub, which are bundles, take images as float32 (batch, size, size,
3), RGB, 0..255, and give probabilities float32 (batch, classes). The class names go along, and the lines that make
such an image of a file.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ray_birds.config import ExportConfig
from ray_birds.core import artifact, terminal
from ray_birds.core.errors import ModelError, SettingsError
from ray_birds.model import bundle, classifier, hub, repository, samples
from ray_birds.model.bundle import Bundle
from ray_birds.model.forms import archive, litert, onnx, openvino, saved_model
from ray_birds.model.samples import Samples

# Another order of float32 operations moves a probability by some 1e-5 of what tells two images apart (seen
# with EfficientNetB0 in ONNX Runtime); a lost or wrong constant by about as much as that itself.
_TOLERANCE = {"float32": 1e-3, "float16": 5e-2}
_LEAST_SPREAD = 1e-4  # where images differ by less, rounding would decide
_LEAST_AGREEMENT = 0.8  # of int8's classes with the Keras model's
_PACKAGES = {
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "litert": ("ai_edge_litert",),
    "openvino": ("openvino",),
}

Write = Callable[[Bundle, Path], None]
Run = Callable[[Path, np.ndarray], np.ndarray]


class Answers(NamedTuple):
    """Probabilities (n, classes) of the Keras model, and of what was written."""

    expected: np.ndarray
    got: np.ndarray

    @property
    def difference(self) -> float:
        """The largest of a probability; NaN where there are others than expected."""
        alike = self.got.shape == self.expected.shape
        return float(np.abs(self.got - self.expected).max()) if alike else float("nan")

    @property
    def agreed(self) -> int:
        """Images of which both name the same class."""
        return int((self.got.argmax(axis=1) == self.expected.argmax(axis=1)).sum())


def export(config: ExportConfig) -> str:
    """Write the bundle `config.model` in another form to `config.output`, or push it; returns where, once it has
    passed.

    Raises ModelError where what was written does not run or computes something else, OutputError where the
    output exists or cannot be written, DataError for --images without images, SettingsError for a format
    without its packages.
    """
    output = artifact.new(config.output) if config.output else None
    _require(config)
    model = bundle.verify(config.model)
    tried = _samples(config, model)
    terminal.say(f"Writing {model.uri} as {config.format}; comparing it on {len(tried.pixels)} images")
    with artifact.writing(output) if output else _temporary(config.push) as made:
        with terminal.quiet(config.verbose):
            answers = _make(config, model, made, tried)
        for line in _said(config, tried, answers):
            terminal.say(line)
        if config.push:
            terminal.say(f"Pushing to {config.push}; a new repository is private until you change it on the Hub")
            return repository.push(made, config.push)
    return str(output)


def _require(config: ExportConfig) -> None:
    packages = _PACKAGES.get(config.format, ())
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"--format {config.format} needs {', '.join(missing)}, not installed here: "
            f"pip install 'ray-birds[{config.format}]'"
        )
    if config.push:
        repository.check_login(config.push)


@contextmanager
def _temporary(push: str) -> Iterator[Path]:
    """A path for the folder to push, which has the name of its repository."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, push.rpartition("/")[2])


def _samples(config: ExportConfig, model: Bundle) -> Samples:
    if config.precision == "int8":
        return samples.of_dataset(config.images, model)
    return (
        samples.of_folder(config.images, model.variant)
        if config.images
        else samples.drawn(model.variant.image_size)
    )


def _make(config: ExportConfig, model: Bundle, made: Path, tried: Samples) -> Answers:
    """Write, run and compare."""
    import tensorflow as tf

    # On a GPU, TensorFlow would round to TF32's 10 bits, and others would not.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    write, run = _forms(config, tried)[config.format]
    expected = classifier.load(model)(tried.pixels)
    _check_spread(expected)
    try:
        write(model, made)
    except tf.errors.OpError as error:  # TensorFlow's own way of saying it
        raise OSError(error.message.splitlines()[0][:200]) from error
    answers = Answers(expected, run(made, tried.pixels))
    _check(config, answers)
    return answers


def _forms(config: ExportConfig, tried: Samples) -> dict[str, tuple[Write, Run]]:
    training = tried.pixels[:0] if tried.training is None else tried.training
    return {
        "saved_model": (saved_model.write, saved_model.run),
        "onnx": (onnx.write, onnx.run),
        "litert": (partial(litert.write, precision=config.precision, training=training), litert.run),
        "openvino": (openvino.write, openvino.run),
        "zip": (archive.write, archive.run),
        "huggingface": (partial(hub.write, license=config.license), hub.run),
    }


def _spread(expected: np.ndarray) -> float:
    """How far a probability (n, classes) lies apart from one image to another, at most."""
    return float(np.ptp(expected, axis=0).max())


def _check_spread(expected: np.ndarray) -> None:
    """Raises ModelError where two exports of a model would agree anyway, for it answers the same to everything."""
    spread = _spread(expected)
    if not spread >= _LEAST_SPREAD:  # NaN too
        raise ModelError(
            f"the model's answers to {len(expected)} images are all alike (within {spread:.0e}), so comparing "
            "proves nothing; give --images a folder with images of several classes"
        )


def _check(config: ExportConfig, answers: Answers) -> None:
    """Raises ModelError where what was written computes something else than the Keras model.

    With int8, whose probabilities are steps of 1/256 at best, that is which class is named; else how far a
    probability is off, measured by how far the images themselves lie apart.
    """
    expected, got = answers
    tolerance = _TOLERANCE.get(config.precision, float("inf"))
    if not answers.difference <= tolerance * _spread(expected):  # NaN too
        raise ModelError(
            f"--format {config.format}: what was written computes something else: probabilities {got.shape} that "
            f"differ by {answers.difference:.1e} from the Keras model's {expected.shape}; nothing was kept"
        )
    if config.precision == "int8" and answers.agreed < _LEAST_AGREEMENT * len(expected):
        raise ModelError(
            f"--precision int8: names the same class as the Keras model on only {answers.agreed:,} of "
            f"{len(expected):,} images; nothing was kept: take float16"
        )


def _said(config: ExportConfig, tried: Samples, answers: Answers) -> Iterator[str]:
    """How near it comes to the Keras model."""
    images = len(tried.pixels)
    same = "" if tried.drawn else f"; both name the same class on {answers.agreed:,} of {images:,} images"
    yield f"Its probabilities differ from those of the Keras model by {answers.difference:.1e} at most{same}"
    if tried.labels is not None and tried.training is not None:
        kept, made = (float((scores.argmax(axis=1) == tried.labels).mean()) for scores in answers)
        yield (
            f"Accuracy on these {images:,} images: {made:.4f} with {config.precision}, {kept:.4f} with float32; "
            f"calibrated on {len(tried.training):,} training images"
        )
