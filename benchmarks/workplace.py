"""Where a measurement takes place: images, weights, the commands run on them and what these leave behind."""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import photographs
from options import Grid, Options

from ray_birds.config import ARTICLE_RECIPE
from ray_birds.core.settings import option

KERAS = "keras"  # what plain Keras's results are called
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Workplace:
    """A folder for one measurement, and the commands that it times; `weights` as in jobs/tune.py."""

    options: Options
    folder: Path
    data: Path
    weights: str

    @property
    def store(self) -> Path:
        return self.folder / "features"

    def results(self, name: str) -> Path:
        """Where a part leaves its results: a sweep's folder, or the JSON file of plain Keras."""
        return self.folder / "results" / name

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def outcome(self, name: str) -> dict[str, Any]:
        """Winner on valid and its accuracies, and the seconds that each trial trained."""
        if name == KERAS:
            return json.loads(self.results(name).read_text())
        return swept(self.results(name))

    def keras(self, grid: Grid) -> list[str]:
        output = self.results(KERAS)
        output.parent.mkdir(parents=True, exist_ok=True)
        return [sys.executable, "benchmarks/plain_keras.py", "--output", str(output), *self._shared(grid)]

    def tune(self, name: str, grid: Grid, *, store: Path | None, asha: bool = False) -> list[str]:
        """Our sweep; without a store it runs from images."""
        features = ["--features-dir", str(store)] if store else ["--features", "none"]
        scheduler = ["--scheduler", "asha"] if asha else []
        uri = ["--results", str(self.folder / "results"), "--name", name]
        return [sys.executable, "jobs/tune.py", *uri, *features, *scheduler, *self._shared(grid), *_RECIPE]

    def _shared(self, grid: Grid) -> list[str]:
        options = self.options
        return [
            *("--data", str(self.data), "--backbone", options.backbone, "--weights", self.weights),
            *("--image-size", str(options.image_size), "--head-epochs", str(options.head_epochs)),
            *("--fine-tune-epochs", str(options.fine_tune_epochs), *grid.arguments()),
        ]


# Our sweep trains as the plain Keras script does.
_RECIPE = [word for name, value in ARTICLE_RECIPE.items() for word in (option(name), str(value))]


def swept(folder: Path) -> dict[str, Any]:
    """A sweep's winner on valid and its accuracies, and the seconds that each trial trained."""
    winner = json.loads((folder / "run.json").read_text(encoding="utf-8"))["winner"]
    rows = {row["trial"]: row for row in trials(folder)}
    best = {key: float(rows[winner][key]) for key in ("valid_accuracy", "test_accuracy")}
    return {"winner": winner, **best, "trials": {name: float(row["seconds"]) for name, row in rows.items()}}


def trials(folder: Path) -> list[dict[str, str]]:
    """Rows of a sweep's trials.csv."""
    with (folder / "trials.csv").open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def prepare(options: Options, folder: Path, images: int) -> Workplace:
    """A workplace with all that the commands need: `images` training images and weights, where not given."""
    data = Path(options.data).resolve() if options.data else photographs.draw(folder / "images", images)
    weights = options.weights
    if weights not in ("random", "none", "imagenet"):
        weights = str(Path(weights).resolve())
    if weights == "random":
        weights = str(folder / "random.weights.h5")
        script = [sys.executable, "benchmarks/calibrate.py"]
        settings = [str(data), options.backbone, str(options.image_size), weights]
        subprocess.run([*script, *settings], cwd=ROOT, check=True, capture_output=True)
    return Workplace(options, folder, data, weights)
