"""A trained model as a directory that any Keras user can open without this package.

model.keras     raw 0..255 pixels in, class probabilities out, no custom code
classes.json    class names in the order of the probabilities
variant.json    the recipe it was trained by
metrics.json    what it scored
seen.npy        digests of the images that it was trained on and chosen by, see data.seen
valid.npz       how sure, how right and how far away it was on valid, see evaluation.selective
ood.npz         what its training images are like, see evaluation.ood
README.md       the model card, see card; of all files the only one without a digest
versions.json   versions it was made with, the earliest Keras that opens it, and the digests of the files above
"""

import importlib.metadata
import json
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import ModelError, SettingsError, first_line
from ray_birds.data import seen
from ray_birds.evaluation.ood import Reference
from ray_birds.evaluation.selective import Known
from ray_birds.model import repository, saved
from ray_birds.sweep.factors import MAX_IMAGE_SIZE, Variant

if TYPE_CHECKING:
    import keras

FORMAT = 3
# The earliest Keras that opens what Keras 3.15 saves. Tried: 3.10.0, 3.11.3, 3.12.0, 3.13.0 and 3.14.0 do
# not, for they do not know an argument of GlorotUniform.
_OPENS_315 = (3, 15)
_CONTENT = ("model.keras", "classes.json", "variant.json", "metrics.json", "seen.npy", "valid.npz", "ood.npz")
CARD = "README.md"
# Bytes: 250 million parameters, ten times those of the largest backbone here; 100 million images, of
# valid 10 million, and class means of 20,000 classes.
_MOST = {"model.keras": 10**9, "seen.npy": 8 * 10**8, "valid.npz": 10**8, "ood.npz": 10**8}
_MOST_JSON = 16_000_000  # bytes: 200,000 classes with names of 80 characters
_AGAIN = "get the model again from where it was made, or train it again"
_SIZES = range(16, MAX_IMAGE_SIZE + 1)  # no network here works on less than 16 pixels


class Measured(NamedTuple):
    """What a saved model scored, for metrics.json; valid images as it sees them; what those of train are like."""

    metrics: dict[str, Any]
    known: Known = Known()
    reference: Reference = Reference()


Score = Callable[[str], Measured]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: everything but the network itself. `digest` stands for all of it.

    `seen` (n,) uint64 lists the images that it was trained on and chosen by, see data.seen; empty where unknown,
    as are `known` and `reference`.
    """

    uri: str
    classes: tuple[str, ...]
    variant: Variant
    digest: str
    seen: np.ndarray = field(compare=False, repr=False)
    known: Known = field(default_factory=Known, compare=False, repr=False)
    reference: Reference = field(default_factory=Reference, compare=False, repr=False)


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
        saved.check_finite(uri, (path / "model.keras").read_bytes())
        measured = score(str(path / "model.keras"))
        (path / "classes.json").write_text(
            json.dumps(classes, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
        )
        (path / "variant.json").write_text(variant.to_json(), encoding="utf-8")
        (path / "metrics.json").write_text(json.dumps(measured.metrics, indent=2) + "\n", encoding="utf-8")
        (path / "seen.npy").write_bytes(seen.to_bytes(images))
        (path / "valid.npz").write_bytes(measured.known.to_bytes())
        (path / "ood.npz").write_bytes(measured.reference.to_bytes())
        digests = {name: storage.digest([(path / name).read_bytes()]) for name in _CONTENT}
        about = {
            "format": FORMAT,
            "versions": versions(),
            "needs": {"keras": f">={least_keras()}"},
            "digests": digests,
        }
        (path / "versions.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        storage.remove(uri)
        storage.copy(folder, uri)
    return measured.metrics


def versions() -> dict[str, str]:
    names = ("ray-birds", "ray", "tensorflow", "keras", "numpy", "pillow", "opencv-python-headless")
    return {"python": platform.python_version()} | {name: _version(name) for name in names}


def least_keras() -> str:
    """The earliest minor version of Keras that opens what the installed one saves."""
    major, minor = map(int, importlib.metadata.version("keras").split(".")[:2])
    return ".".join(map(str, min((major, minor), _OPENS_315)))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # ray-birds itself, run from a job's working directory
        from ray_birds import __version__

        return __version__ if name == "ray-birds" else "unknown"


def verify(uri: str) -> Bundle:
    """Read a bundle's description and compare its files with their digests, without TensorFlow.

    `uri` is a folder, or hf://OWNER/NAME; of that the bundle's own `uri` names the commit.

    Raises ModelError where it is no bundle, damaged, made by a later version of this package, where its files do
    not fit together, or a weight is not finite. Sizes are looked at before contents, since a stranger may have
    made it; nothing in a bundle is ever unpickled.
    """
    try:
        uri = _resolve(uri)
        about = _json(uri, "versions.json", read(uri, "versions.json"))
        if about["format"] != FORMAT:
            raise ModelError(
                f"{uri}: a bundle of format {about['format']!r:.50}; this ray-birds reads format {FORMAT}; "
                "use the one that made it (its versions.json), or train the model again"
            )
        content = {name: read(uri, name) for name in _CONTENT}
        for name, data in content.items():
            if storage.digest([data]) != about["digests"][name]:
                raise ModelError(f"{uri}/{name}: damaged (its digest differs); copy or train the model again")
        classes = _classes(uri, _json(uri, "classes.json", content["classes.json"]))
        variant = _variant(uri, _json(uri, "variant.json", content["variant.json"]))
        images = seen.from_bytes(content["seen.npy"])
        known = Known.from_bytes(content["valid.npz"])
        reference = Reference.from_bytes(content["ood.npz"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = first_line(error)
        raise ModelError(
            f"{uri}: not a bundle ({reason}); expected a folder such as <results>/<name>/best"
        ) from error
    saved.check(uri, content["model.keras"], len(classes), variant.image_size)
    digest = storage.digest(about["digests"][name] for name in _CONTENT)
    return Bundle(uri, classes, variant, digest, images, known, reference)


def files(uri: str) -> dict[str, bytes]:
    """The files of a bundle by name, with the card where it has one.

    Raises ModelError for one that is a link out of the folder: what it leads to may be nobody else's business.
    """
    names = [*_CONTENT, "versions.json"] + [CARD] * _exists(uri, CARD)
    for path in (storage.local(uri) / name for name in names if storage.is_local(uri)):
        if not path.resolve().is_relative_to(storage.local(uri).resolve()):
            raise ModelError(f"{path}: is a link out of the bundle; put the file itself there")
    return {name: read(uri, name) for name in names}


def read(uri: str, name: str) -> bytes:
    """The bytes of a bundle's file. Raises ModelError where there are too many, or it is no file; OSError."""
    where, most = f"{uri}/{name}", _MOST.get(name, _MOST_JSON)
    try:
        if repository.is_address(uri):
            return repository.read(uri, name, most)
        where = storage.join(uri, name)
        if storage.kind(where) == fs.FileType.Unknown:  # a pipe would never end
            raise ModelError(f"{where}: not a file; expected one of a bundle")
        return storage.read_up_to(where, most)
    except storage.TooLargeError as error:
        raise ModelError(f"{where}: has {error.size:,} bytes, expected {most:,} at most; {_AGAIN}") from error


def _exists(uri: str, name: str) -> bool:
    if repository.is_address(uri):
        return repository.exists(uri, name)
    return storage.exists(storage.join(uri, name))


def _resolve(uri: str) -> str:
    """`uri` made absolute: the same for all processes, and of a repository the same commit."""
    return repository.pinned(uri, "versions.json") if repository.is_address(uri) else storage.resolve(uri)


def _json(uri: str, name: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{uri}/{name}: not JSON of a bundle ({first_line(error)}); {_AGAIN}") from error


def _classes(uri: str, names: Any) -> tuple[str, ...]:
    """Raises ModelError where these are not names of classes, each one once."""
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not texts or not names or len(set(names)) != len(names) or not _is_unicode("".join(names)):
        raise ModelError(f"{uri}/classes.json: expected a list of different names; {_AGAIN}")
    return tuple(names)


def _is_unicode(text: str) -> bool:
    """Whether a text can be written to a file: JSON may hold one half of a letter."""
    return text.encode(errors="ignore").decode() == text


def _variant(uri: str, values: Any) -> Variant:
    """Raises ModelError where these are no settings, or of images that no network here takes."""
    try:
        variant = Variant.from_options(values)
    except (SettingsError, TypeError, AttributeError) as error:
        raise ModelError(f"{uri}/variant.json: not settings ({first_line(error)}); {_AGAIN}") from error
    if variant.image_size not in _SIZES:
        expected = f"expected {_SIZES[0]} to {_SIZES[-1]:,}"
        raise ModelError(f"{uri}/variant.json: image_size {variant.image_size:.6g}, {expected}; {_AGAIN}")
    return variant
