"""What a model.keras holds, looked at without Keras before Keras opens it: sizes first, then contents.

Keras stores three members uncompressed, and in the HDF5 file of weights all numbers as they are. So neither can
take more room than the file that they came in, and a file where they would is no work of Keras.
"""

import io
import json
import zipfile
from typing import Any

import h5py
import numpy as np

from ray_birds.core.errors import ModelError, first_line

_WEIGHTS = "model.weights.h5"
_MEMBERS = {"metadata.json", "config.json", _WEIGHTS}
_MOST_CONFIG = 16_000_000  # bytes; that of EfficientNetB0 has 0.2 MB


def check(uri: str, data: bytes, classes: int, image_size: int) -> None:
    """Raises ModelError where the model.keras `data` of the bundle `uri` is no classifier of images of this size
    into so many classes, would unpack to more than it is, or has a weight that is not finite."""
    try:
        members = _members(uri, data)
        _check_network(uri, json.loads(members["config.json"]), classes, image_size)
        _check_numbers(uri, members[_WEIGHTS])
    except ModelError:
        raise
    except Exception as error:  # on damaged content zipfile, json and h5py raise whatever they meet
        raise _refused(uri, f"not what Keras saves of a classifier ({first_line(error)})") from error


def check_finite(uri: str, data: bytes) -> None:
    """Raises ModelError where a weight of the model.keras `data`, which is our own, is not finite."""
    _check_numbers(uri, _members(uri, data)[_WEIGHTS])


def _refused(uri: str, what: str) -> ModelError:
    return ModelError(f"{uri}/model.keras: {what}; get the model again from where it was made, or train it again")


def _members(uri: str, data: bytes) -> dict[str, bytes]:
    """The members of the zip file, none of them before all sizes are known."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if sorted(names) != sorted(_MEMBERS):
            raise _refused(uri, f"holds {', '.join(names)[:200]}; expected {', '.join(sorted(_MEMBERS))}")
        for entry in entries:
            most = len(data) if entry.filename == _WEIGHTS else _MOST_CONFIG
            if entry.file_size > most:
                raise _refused(uri, f"{entry.filename} unpacks to {entry.file_size:,} bytes, over {most:,}")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _refused(uri, f"{entry.filename} is packed in a way that Keras does not use")
        return {name: archive.read(name) for name in names}  # no byte more than was announced


def _check_network(uri: str, network: Any, classes: int, image_size: int) -> None:
    """Compare what Keras's description says of input and output; that of a network within counts for nothing."""
    config = network["config"]
    layers = {layer["name"]: layer["config"] for layer in config["layers"]}
    shape = layers[config["input_layers"][0]]["batch_shape"]
    if shape != [None, image_size, image_size, 3]:
        raise _refused(
            uri, f"takes images of {str(shape)[:100]}; variant.json says [None, {image_size}, {image_size}, 3]"
        )
    units = layers[config["output_layers"][0]]["units"]
    if units != classes:
        raise _refused(uri, f"gives {units!r:.100} probabilities; classes.json names {classes:,} classes")


def _check_numbers(uri: str, weights: bytes) -> None:
    """Raises ModelError where the HDF5 file announces more numbers than it holds, or one that is not finite."""
    with h5py.File(io.BytesIO(weights)) as file:
        links: list[tuple[str, object]] = []
        file.visititems_links(lambda name, link: links.append((name, link)))
        found = {name: file[name] for name, link in links if isinstance(link, h5py.HardLink)}
        odd = [name for name, link in links if name not in found or not _is_plain(found[name])]
        if odd:
            raise _refused(uri, f"{odd[0]} in {_WEIGHTS} is a link, or no array of numbers")
        found = {name: item for name, item in found.items() if isinstance(item, h5py.Dataset)}
        total = sum((item.size or 0) * item.dtype.itemsize for item in found.values())
        if total > len(weights):
            raise _refused(uri, f"its weights unpack to {total:,} bytes, over {len(weights):,}")
        bad = next((name for name, item in found.items() if not np.isfinite(item[()]).all()), "")
    if bad:
        raise ModelError(
            f"{uri}: its weights are not finite ({bad}), it can predict nothing; train it again, with a lower "
            "--learning-rate or --precision float32"
        )


def _is_plain(item: h5py.Dataset | h5py.Group) -> bool:
    """Whether this is an array of numbers that lie in the file, or a group of them."""
    if isinstance(item, h5py.Group):
        return True
    return (
        isinstance(item, h5py.Dataset) and not item.external and not item.is_virtual and item.dtype.kind in "fiub"
    )
