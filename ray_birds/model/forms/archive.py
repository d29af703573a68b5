"""A bundle in one zip file."""

import tempfile
import zipfile
from pathlib import Path

import numpy as np

from ray_birds.model import bundle, classifier
from ray_birds.model.bundle import Bundle


def write(model: Bundle, path: Path) -> None:
    """The files of the bundle, and nothing else that lies there, below one folder, which is called as the zip."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for name, data in bundle.files(model.uri).items():
            archive.writestr(f"{path.stem}/{name}", data)


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        return classifier.load(bundle.verify(str(Path(folder, path.stem))))(pixels)
