"""A bundle as a repository of the Hugging Face Hub: its files, a card that the Hub reads, what Keras loads there.

The Hub takes what it shows and searches from the YAML in front of README.md
(https://huggingface.co/docs/hub/model-cards, "Model card metadata"). Keras loads from the Hub not model.keras but
a folder of the files in it (`load_model` in keras/src/saving/saving_lib.py), so both are there.
"""

import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ray_birds.core.errors import ModelError, first_line
from ray_birds.core.text import printable
from ray_birds.model import bundle
from ray_birds.model.bundle import CARD, Bundle

TASK = "image-classification"  # by the Hub's name
DATASET = "dataset"  # in metrics.json, the data set's name
# Ours -> the Hub's type, name and arguments of a metric.
_METRICS: dict[str, dict[str, Any]] = {
    "accuracy": {"type": "accuracy", "name": "accuracy"},
    "macro_f1": {"type": "f1", "name": "macro F1", "args": {"average": "macro"}},
}
_FRONT_MATTER = re.compile(r"\A---\n.*?^---\n+", re.DOTALL | re.MULTILINE)


def write(model: Bundle, path: Path, license: str) -> None:
    """The folder `path`, ready to be pushed; `license` is the Hub's identifier, such as apache-2.0.

    Raises ModelError where metrics.json, which nobody has looked at so far, holds no scores.
    """
    path.mkdir()
    files = bundle.files(model.uri)
    try:
        about = metadata(path.name, license, model.variant.backbone, json.loads(files["metrics.json"]))
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{model.uri}/metrics.json: not the scores of a model ({first_line(error)})") from error
    files[CARD] = card(files.get(CARD, b"").decode(), about).encode()
    for name, data in files.items():
        (path / name).write_bytes(data)
    with zipfile.ZipFile(io.BytesIO(files["model.keras"])) as archive:  # three members, as `saved.check` saw
        archive.extractall(path)


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    """What it answers to whoever loads it as Keras does from the Hub; (n, classes).

    Raises ModelError where the folder is no whole bundle any more.
    """
    import keras

    bundle.verify(str(path))
    network = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    return np.asarray(network.predict(pixels, batch_size=32, verbose=0))


def card(text: str, about: dict[str, Any]) -> str:
    """A model card with `about` in front of it, in place of what stood there."""
    front = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{_FRONT_MATTER.sub('', text)}"


def metadata(name: str, license: str, backbone: str, metrics: dict[str, Any]) -> dict[str, Any]:
    """What the Hub is told of a model: of metrics.json the scores of each split, with the data set's name."""
    data = printable(str(metrics.get(DATASET, "unknown")))
    own = ("test",) if metrics.get("folds") else ("test", "valid")  # with folds valid is of others' predictions
    results = [_result(data, split, metrics[split]) for split in own if split in metrics]
    results = [result for result in results if result["metrics"]]
    return {
        "license": license,
        "library_name": "keras",
        "pipeline_tag": TASK,
        "tags": [TASK, "keras", "transfer-learning", "ray-birds", backbone],
    } | ({"model-index": [{"name": name, "results": results}]} if results else {})


def _result(data: str, split: str, scores: dict[str, Any]) -> dict[str, Any]:
    """A split's scores as an entry of the Hub's model-index, without those that are not known."""
    values = {key: scores.get(key, {}).get("value") for key in _METRICS}
    return {
        "task": {"type": TASK},
        "dataset": {"type": re.sub(r"[^\w.-]+", "-", data), "name": data, "split": split},
        "metrics": [
            {**_METRICS[key], "value": value}
            for key, value in values.items()
            if value is not None and math.isfinite(value)
        ],
    }
