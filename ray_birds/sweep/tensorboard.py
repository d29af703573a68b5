"""TensorBoard's event files: for each trial a folder with its scalars and its row of the HParams table."""

import io
import tempfile
from typing import Any

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from ray_birds.core import storage
from ray_birds.sweep import factors
from ray_birds.sweep.factors import Variant

_SCALARS = (
    *("kept_accuracy", "loss", "accuracy", "valid_loss", "valid_accuracy"),
    *("learning_rate", "images_per_second"),
)
# Columns of the HParams table: the last of these. The first is that of the epoch to be kept so far.
_METRICS = ("kept_accuracy", "valid_accuracy", "valid_loss", "accuracy", "loss")


class Logs:
    """Writes below a local folder; a trial gets its row of the HParams table with its first epoch."""

    def __init__(self, uri: str, variants: dict[str, Variant]) -> None:
        self._uri, self._variants = uri, variants
        self._writers: dict[str, SummaryWriter] = {}
        self._full = False  # the disk; the trials say so, and a writer whose thread has ended would wait for ever

    def epoch(self, trial: str, result: dict[str, Any]) -> None:
        """An epoch's numbers, which epochs.Epoch names; none any more once the disk was full."""
        if self._full:
            return
        try:
            self._write(trial, result)
        except OSError:
            self._full = True

    def _write(self, trial: str, result: dict[str, Any]) -> None:
        writer = self._writers.get(trial)
        if writer is None:
            writer = self._writers[trial] = SummaryWriter(f"{self._uri}/{trial}", write_to_disk=True)
            about, start, _ = self._session(trial)
            writer.file_writer.add_summary(about)
            writer.file_writer.add_summary(start)
        for key in _SCALARS:
            writer.add_scalar(key, result[key], result["epoch"])
        writer.flush()

    def success(self, trial: str) -> None:
        """The trial has ended well; one that failed stays without an end."""
        if trial in self._writers and not self._full:
            self._writers[trial].file_writer.add_summary(self._session(trial)[2])

    def close(self) -> None:
        if not self._full:
            for writer in self._writers.values():
                writer.close()

    def _session(self, trial: str) -> tuple[Any, Any, Any]:
        """The table's columns, this trial's settings, and that it has ended well, as the plugin's summaries."""
        variant = self._variants[trial]
        types = factors.types(type(variant))
        # One kind of value in every trial: a depth is a text, since it may be "all".
        settings = {
            name: value if types[name] in (int, float) else str(value) for name, value in variant.values.items()
        }
        columns: tuple[Any, Any, Any] = hparams(settings, dict.fromkeys(_METRICS, 0.0))
        return columns


def add_image(uri: str, tag: str, png: bytes) -> None:
    """Add an image to the events of a trial that has ended, whose folder is at `uri`."""
    with tempfile.TemporaryDirectory() as folder:
        # Its own ending, so that the file cannot have the name of the one with the scalars.
        with SummaryWriter(folder, filename_suffix=f".{tag}", write_to_disk=True) as writer:
            pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
            writer.add_image(tag, pixels, dataformats="HWC")
        storage.copy(folder, uri)
