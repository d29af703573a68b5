"""A trained model as a directory that any Keras user can open without this package.

model.keras     raw 0..255 pixels in, class probabilities out, no custom code
classes.json    class names in the order of the probabilities
variant.json    the recipe it was trained by
metrics.json    what it scored
seen.npy        digests of the images that it was trained on and chosen by, see data.seen
versions.json   versions it was made with, the earliest Keras that opens it, and the digests of the files above
"""

import importlib.metadata
import io
import json
import platform
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import ModelError, SettingsError, first_line
from ray_birds.data import seen
from ray_birds.sweep.factors import Variant

if TYPE_CHECKING:
    import keras

FORMAT = 2
# The earliest Keras that opens what Keras 3.15 saves. Tried: 3.10.0, 3.11.3, 3.12.0, 3.13.0 and 3.14.0 do
# not, for they do not know an argument of GlorotUniform.
LEAST_KERAS = "3.15"
_CONTENT = ("model.keras", "classes.json", "variant.json", "metrics.json", "seen.npy")


Score = Callable[[str], dict[str, Any]]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: everything but the network itself. `digest` stands for all of it.

    `seen` (n,) uint64 lists the images that it was trained on and chosen by, see data.seen; empty where unknown.
    """

    uri: str
    classes: tuple[str, ...]
    variant: Variant
    digest: str
    seen: np.ndarray = field(compare=False, repr=False)


def save(
    model: "keras.Model",
    uri: str,
    classes: tuple[str, ...],
    variant: Variant,
    score: Score,
    images: np.ndarray = seen.NONE,
) -> dict[str, Any]:
    """Write a bundle at `uri` and return its metrics.

    `score` is given the path of the saved model, so that what is measured is what is kept. `images` lists those
    that it has seen. Raises ModelError, and writes nothing, where a weight is not finite.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        model.save(path / "model.keras")
        _check_finite(uri, (path / "model.keras").read_bytes())
        metrics = score(str(path / "model.keras"))
        (path / "classes.json").write_text(
            json.dumps(classes, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
        )
        (path / "variant.json").write_text(variant.to_json(), encoding="utf-8")
        (path / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        (path / "seen.npy").write_bytes(seen.to_bytes(images))
        digests = {name: storage.digest([(path / name).read_bytes()]) for name in _CONTENT}
        about = {
            "format": FORMAT,
            "versions": versions(),
            "needs": {"keras": f">={LEAST_KERAS}"},
            "digests": digests,
        }
        (path / "versions.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        storage.remove(uri)
        storage.copy(folder, uri)
    return metrics


def versions() -> dict[str, str]:
    names = ("ray-birds", "ray", "tensorflow", "keras", "numpy", "pillow", "opencv-python-headless")
    return {"python": platform.python_version()} | {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # ray-birds itself, run from a job's working directory
        from ray_birds import __version__

        return __version__ if name == "ray-birds" else "unknown"


def verify(uri: str) -> Bundle:
    """Read a bundle's description and compare its files with their digests, without TensorFlow.

    Raises ModelError where it is no bundle, damaged, made by a later version of this package, or has a weight
    that is not finite. This finds damage, not malice: nothing in a bundle is ever unpickled.
    """
    uri = storage.resolve(uri)
    try:
        about = storage.read_json(storage.join(uri, "versions.json"))
        if about["format"] != FORMAT:
            raise ModelError(
                f"{uri}: a bundle of format {about['format']}; this ray-birds reads format {FORMAT}; "
                "use the one that made it (its versions.json), or train the model again"
            )
        content = {name: storage.read(storage.join(uri, name)) for name in _CONTENT}
        for name, data in content.items():
            if storage.digest([data]) != about["digests"][name]:
                raise ModelError(f"{uri}/{name}: damaged (its digest differs); copy or train the model again")
        _check_finite(uri, content["model.keras"])
        classes = tuple(json.loads(content["classes.json"]))
        variant = Variant.from_json(content["variant.json"].decode())
        images = seen.from_bytes(content["seen.npy"])
    except (OSError, ValueError, KeyError, TypeError, SettingsError) as error:
        reason = first_line(error)
        raise ModelError(
            f"{uri}: not a bundle ({reason}); expected a folder such as <results>/<name>/best"
        ) from error
    digest = storage.digest(about["digests"][name] for name in _CONTENT)
    return Bundle(uri, classes, variant, digest, images)


def _check_finite(uri: str, model: bytes) -> None:
    """Raises ModelError for weights that predict nothing; a file that Keras cannot open is left to Keras."""
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            weights = archive.read("model.weights.h5")
    except (zipfile.BadZipFile, KeyError):
        return
    with h5py.File(io.BytesIO(weights)) as file:
        name = file.visititems(_not_finite)
    if name:
        raise ModelError(
            f"{uri}: its weights are not finite ({name}), it can predict nothing; train it again, with a lower "
            "--learning-rate or --precision float32"
        )


def _not_finite(name: str, item: h5py.Dataset | h5py.Group) -> str | None:
    """`name` where these are weights that are not finite; what ends h5py's walk."""
    floats = isinstance(item, h5py.Dataset) and item.dtype.kind == "f"
    return name if floats and not np.isfinite(item[()]).all() else None
