"""A bundle whose weights are not numbers is neither written nor read."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from ray_birds.core import storage
from ray_birds.core.errors import ModelError
from ray_birds.model import bundle
from ray_birds.sweep.factors import Variant


def test_a_model_without_numbers_is_not_written(tmp_path: Path) -> None:
    import keras

    pixels = keras.Input((8, 8, 3))
    model = keras.Model(pixels, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(pixels)))
    model.layers[-1].bias.assign([1.0, np.inf])
    with pytest.raises(ModelError, match=r"best: its weights are not finite .*--learning-rate"):
        bundle.save(model, str(tmp_path / "best"), ("a", "b"), Variant(), lambda path: {})
    assert not (tmp_path / "best").exists()


def test_nor_read(bundles: Path, tmp_path: Path) -> None:
    spoiled = Path(shutil.copytree(bundles / "bundle", tmp_path / "spoiled"))
    assert bundle.verify(str(spoiled)).classes
    spoil(spoiled / "model.keras")
    about = json.loads((spoiled / "versions.json").read_text())
    assert about["needs"] == {"keras": f">={bundle.LEAST_KERAS}"}
    about["digests"]["model.keras"] = storage.digest([(spoiled / "model.keras").read_bytes()])
    (spoiled / "versions.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match=r"its weights are not finite \(layers/.*/vars/0\)"):
        bundle.verify(str(spoiled))


def spoil(model: Path) -> None:
    """Put a NaN into the last weights of a saved model."""
    with zipfile.ZipFile(model) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(files["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        last = next(name for name in reversed(names) if file[name].ndim and file[name].dtype.kind == "f")
        file[last][0] = np.nan
    with zipfile.ZipFile(model, "w") as archive:
        for name, data in (files | {"model.weights.h5": weights.getvalue()}).items():
            archive.writestr(name, data)
