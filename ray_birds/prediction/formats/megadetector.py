"""Predictions in MegaDetector's output format (version 1.4), which Timelapse and its relatives read.

The format is described at https://lila.science/megadetector-output-format. It is one of detections: here each
image has one, as large as the image. Its confidence is the probability of the most probable class, for whether
anything is there at all this model was not asked; its classifications are the classes of the column top_k.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from ray_birds.prediction.formats.kinds import kind
from ray_birds.prediction.formats.rows import Finished, Row

_VERSION = "1.4"
_CATEGORIES = {"animal": "1", "human": "2", "vehicle": "3"}
_WHOLE = [0.0, 0.0, 1.0, 1.0]


def write(predictions: Finished, path: Path) -> None:
    """An image per file; one that could not be scored has a `failure`."""
    classes: dict[str, str] = {}
    with path.open("w", encoding="utf-8") as file:
        file.write('{"images": [')
        for number, row in enumerate(predictions.rows(["input", "path", "prediction", "top_k", "error"])):
            image = json.dumps(_image(predictions.file(row), row, classes), ensure_ascii=False)
            file.write(f"{',' if number else ''}\n{image}")
        about = {
            "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
            "classification_categories": {number: name for name, number in classes.items()},
            "info": _info(predictions),
        }
        file.write(f"\n],\n{json.dumps(about, ensure_ascii=False)[1:]}\n")


def _image(path: str, row: Row, classes: dict[str, str]) -> dict[str, Any]:
    """The classes get their numbers as they come."""
    if row["error"]:
        return {"file": path, "failure": row["error"], "detections": None}
    found = [
        [classes.setdefault(choice["label"], str(len(classes))), choice["probability"]] for choice in row["top_k"]
    ]
    category = _CATEGORIES.get(kind(row["prediction"]), "1")
    detection = {"category": category, "conf": found[0][1], "bbox": _WHOLE, "classifications": found}
    return {"file": path, "detections": [detection]}


def _info(predictions: Finished) -> dict[str, Any]:
    finished = datetime.fromisoformat(predictions.manifest["finished"])
    threshold = predictions.manifest.get("answer", {}).get("threshold")
    return {
        "format_version": _VERSION,
        "detector": "none (whole images)",
        "detector_metadata": {
            "megadetector_version": "none",
            "typical_detection_threshold": 0.0,
            "conservative_detection_threshold": 0.0,
        },
        "classifier": predictions.model,
        "classifier_metadata": {"typical_classification_threshold": threshold or 0.0},  # which Timelapse wants
        "classification_completion_time": finished.strftime("%Y-%m-%d %H:%M:%S"),
    }
