"""TensorBoard's files, read back as TensorBoard reads them."""

import io
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ray_birds.sweep import tensorboard
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.tensorboard import Logs

sys.modules.setdefault(
    "tensorboard.compat.notf", types.ModuleType("notf")
)  # or it imports TensorFlow to open files
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # noqa: E402

VARIANTS = {
    "plain": Variant(unfreeze=10, learning_rate=0.005),
    "aug": Variant(augment="on", unfreeze="all", seed=3),
    "failed": Variant(),
}
KEYS = ("kept_accuracy", "loss", "accuracy", "valid_loss", "valid_accuracy", "learning_rate", "images_per_second")


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def hparams(read: EventAccumulator) -> tuple[dict[str, Any], list[str], bool]:
    """A trial's settings, the metrics of the table, and whether the trial has ended."""
    found = {tag: HParamsPluginData.FromString(data) for tag, data in read.PluginTagToContent("hparams").items()}
    start = found["_hparams_/session_start_info"].session_start_info.hparams
    settings = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.items()}
    metrics = [info.name.tag for info in found["_hparams_/experiment"].experiment.metric_infos]
    return settings, metrics, "_hparams_/session_end_info" in found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    uri = tmp_path_factory.mktemp("logs")
    made = Logs(str(uri), VARIANTS)
    for epoch in (1, 2):
        for number, trial in enumerate(VARIANTS):
            made.epoch(trial, {"epoch": epoch} | dict.fromkeys(KEYS, epoch + number + 0.5))
    made.success("plain")
    made.success("aug")
    made.close()
    return uri


def test_scalars_of_every_epoch(written: Path) -> None:
    for number, trial in enumerate(VARIANTS):
        read = events(written / trial)
        assert set(read.Tags()["scalars"]) == set(KEYS)
        for key in KEYS:
            seen = [(event.step, event.value) for event in read.Scalars(key)]
            assert seen == [(1, number + 1.5), (2, number + 2.5)]


def test_a_row_of_the_hparams_table_for_each_trial(written: Path) -> None:
    settings, metrics, ended = hparams(events(written / "plain"))
    expected = {
        "backbone": "EfficientNetB0",
        "resize": "stretch",
        "augment": "off",
        "unfreeze": "10",
        "head": "probe",
        "learning_rate": 0.005,
        "optimizer": "adamw",
        "weight_decay": 0.02,
        "schedule": "cosine",
        "label_smoothing": 0.1,
        "dropout": 0.0,
        "ema": 0.0,
        "clip_norm": 0.0,
        "loss": "cross_entropy",
        "class_weights": "none",
        "seed": 0,
    }
    assert settings == expected and ended
    assert metrics[0] == "kept_accuracy" and set(metrics) <= set(KEYS)  # shown from the scalars of these names
    settings, _, ended = hparams(events(written / "aug"))
    assert (settings["augment"], settings["unfreeze"], settings["seed"]) == ("on", "all", 3) and ended
    assert not hparams(events(written / "failed"))[2]


def test_a_image_is_added_to_a_trial_that_has_ended(written: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    tensorboard.add_image(str(written / "plain"), "confusion", png.getvalue())
    read = events(written / "plain")
    (image,) = read.Images("confusion")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), pixels)
    assert len(read.Scalars("loss")) == 2
