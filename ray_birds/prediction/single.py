"""A bundle's model in this process, without Ray: a photo, or as many images as fit into memory.

It gives the rows of the batch job, from the same decoder, the same compiled shape and the same columns.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ray_birds.config import PredictConfig, Tta
from ray_birds.core import storage, terminal
from ray_birds.core.errors import DataError, SettingsError
from ray_birds.data import decode
from ray_birds.model import bundle, classifier
from ray_birds.model.bundle import Bundle
from ray_birds.prediction import answer, inputs, labelled
from ray_birds.prediction.answer import Answer
from ray_birds.prediction.image import load
from ray_birds.prediction.inputs import Found
from ray_birds.prediction.listing import File
from ray_birds.prediction.output import schema, scored
from ray_birds.prediction.result import Predictions

if TYPE_CHECKING:
    import pandas as pd

Path = str | os.PathLike[str]  # or a URI


class Model:
    """The model of a bundle. `classes` are its classes, in the order of the probabilities."""

    def __init__(self, uri: Path, tta: Tta = "none") -> None:
        """`tta` as in Classifier. Raises ModelError where there is no bundle, or a damaged one, at `uri`."""
        self.bundle = bundle.verify(os.fspath(uri))
        self.classes = self.bundle.classes
        with terminal.quiet(verbose=False):
            self._classifier = classifier.load(self.bundle, tta=tta)

    def __repr__(self) -> str:
        return f"<Model: {self.bundle.variant.backbone}, {len(self.classes)} classes, {self.bundle.uri!r}>"

    def predict(self, images: Path | Iterable[Path], top_k: int = 5) -> "pd.DataFrame":
        """One row per image, with the columns of the batch job, of files, folders or patterns.

        Raises DataError where one of these leads nowhere; a file that cannot be decoded is a row with its error.
        """
        several = (images,) if isinstance(images, (str, os.PathLike)) else images
        found = inputs.find(tuple(os.fspath(one) for one in several))
        rows = [self._row(found, file, top_k) for file in found.files(self.classes)]
        return pa.Table.from_pylist(rows, schema=schema()).to_pandas()

    def _row(
        self,
        found: Found,
        file: File,
        top_k: int,
        max_pixels: int = decode.MAX_PIXELS,
        max_bytes: int = decode.MAX_BYTES,
        asked: Answer = Answer(),  # noqa: B008
    ) -> dict[str, Any]:
        uri = storage.at(found.roots[file.input], file.path)
        image = load(uri, self.bundle, max_pixels, max_bytes, stamp=(file.size, file.modified))
        row: dict[str, Any] = {"input": file.input, "path": file.path, "label": file.label}
        row |= {"width": image.width, "height": image.height}
        row["size"], row["modified"] = image.stamp
        row |= {"error": image.error, "seen": image.seen, "model": self.bundle.digest}
        if image.pixels is None:
            return row
        scores, features = self._classifier.embed(image.pixels[None])
        scores = asked.among(scores)
        told = scored(scores[0], self.classes, file.label, asked.most(top_k))
        return row | told | asked.columns(scores, features)[0]

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """(n, size, size, 3) uint8 -> (n, classes) float32."""
        return self._classifier(pixels)


def predict(config: PredictConfig, bundled: Bundle, asked: Answer) -> Predictions:
    """Score the one image that --input leads to, and answer what is `asked`; nothing is written.

    Raises SettingsError where there are several, DataError where it cannot be read or decoded, or ModelError.
    """
    found = labelled.find(config, bundled.classes)
    if len(found) > 1:
        raise SettingsError(
            f"--output is missing: the folder for the predictions of {len(found):,} images; "
            "without it a single photo is shown"
        )
    model = Model(config.model, config.tta)
    for line in inputs.notes(found, model.classes):
        terminal.say(f"note: {line}")
    (file,) = found.files(model.classes)
    row = model._row(found, file, config.top_k, config.max_pixels, config.max_bytes, asked)
    if row["error"]:
        raise DataError(f"{storage.at(found.roots[file.input], file.path)}: {row['error']}")
    manifest = {"rows": 1, "failed": 0, "failures": {}, "roots": found.roots}
    return Predictions(
        "", manifest, None, None, pa.Table.from_pylist([row], schema=schema(answer=answer.fields(config)))
    )
