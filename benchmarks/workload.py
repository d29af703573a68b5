"""Jobs that a drill breaks: a sweep and a prediction of drawn birds, with results that can be compared."""

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from workplace import ROOT

from ray_birds.core.tables import read_csv
from ray_birds.demo.birds import draw_dataset

_LIMIT = 900  # seconds for a job
_FILES = 1536  # of a prediction; 64 of them are a part
_EPOCHS = 4  # of each phase


def prepare(material: Path) -> None:
    """What the jobs read, drawn birds and many links to them, and the undisturbed runs to compare with."""
    birds = draw_dataset(material / "birds", train=40, valid=4, test=4)
    sources = sorted(birds.rglob("*.jpg"))
    (material / "images").mkdir()
    for number in range(_FILES):
        (material / "images" / f"{number:06}.jpg").symlink_to(sources[number % len(sources)])
    for kind in (Sweep, Prediction):
        job = kind(material, "undisturbed", material)
        job.finish(job.start())


class Job:
    """A command with results that can be compared; `repeated` counts finished pieces that were made again.

    `material` is the folder of `prepare`, `uri` the one that this job writes to.
    """

    unit = ""
    total = 0

    def __init__(self, material: Path, name: str, uri: Path) -> None:
        self._material, self._name, self._uri = material, name, uri
        self._seen: dict[object, object] = {}
        self.repeated = 0

    def command(self) -> list[str]:
        raise NotImplementedError

    def pieces(self) -> dict[object, object]:
        """Finished pieces, each with something that changes when it is made again."""
        raise NotImplementedError

    def failures(self) -> object:
        return ""

    def compare(self) -> str:
        raise NotImplementedError

    def start(self, *more: str) -> "subprocess.Popen[str]":
        command = [sys.executable, *self.command(), *more]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, driver: "subprocess.Popen[str]") -> None:
        deadline = time.monotonic() + _LIMIT
        while driver.poll() is None and time.monotonic() < deadline:
            self.look()
            time.sleep(0.02)
        driver.kill()
        out, err = driver.communicate()
        self.look()
        if driver.returncode:
            raise SystemExit(f"error: {self._name} ended with {driver.returncode}: {out[-2000:]}{err}")

    def done(self) -> int:
        return len(self._seen)

    def look(self) -> None:
        for piece, mark in self.pieces().items():
            self.repeated += self._seen.get(piece, mark) != mark
            self._seen[piece] = mark


class Sweep(Job):
    unit = "epochs"
    total = 3 * _EPOCHS  # depth 0 has one phase, depth 10 both

    @property
    def _results(self) -> Path:
        return self._uri / "results" / self._name

    @property
    def _store(self) -> Path:
        return self._material / "features"

    def command(self) -> list[str]:
        weights = ROOT / "ray_birds/demo/backbone.weights.h5"
        uris = ["--data", str(self._material / "birds"), "--results", str(self._uri / "results")]
        store = ["--features-dir", str(self._store)]
        model = ["--backbone", "MobileNetV2-0.35", "--weights", str(weights), "--image-size", "96"]
        grid = ["--augment", "off", "--unfreeze", "0", "10", "--learning-rate", "0.005", "--cpus-per-trial", "1"]
        grid += ["--head", "adam"]
        epochs = ["--head-epochs", str(_EPOCHS), "--fine-tune-epochs", str(_EPOCHS), "--name", self._name]
        return ["jobs/tune.py", *uris, *store, *model, *grid, *epochs]

    def pieces(self) -> dict[object, object]:
        """(trial, epoch) -> the seconds that it took, which no second time takes again."""
        found: dict[object, object] = {}
        for path in self._results.glob("trials/*/history.csv"):
            for row in read_csv(str(path)):
                found[path.parent.name, row["epoch"]] = row["seconds"]
        return found

    def failures(self) -> object:
        return sum(int(row["failures"]) for row in read_csv(str(self._results / "trials.csv")))

    def compare(self) -> str:
        expected = self._material / "results/undisturbed/trials.csv"
        pairs = zip(read_csv(str(expected)), read_csv(str(self._results / "trials.csv")), strict=True)
        for reference, ours in pairs:
            if any(reference[key] != ours[key] for key in ("trial", "status", "epochs")):
                return f"{ours['trial']}: {ours['status']} after {ours['epochs']} epochs"
            for key in ("valid_accuracy", "valid_loss", "test_accuracy"):
                if abs(float(reference[key] or 0) - float(ours[key] or 0)) > 1e-6:
                    return f"{ours['trial']}: {key} {ours[key]}, not {reference[key]}"
        return "equal"


class Features(Sweep):
    """A sweep with a store of its own, broken while that is filled."""

    unit = "shards"
    total = 2 * (8 + 1)  # of two tensors: 480 images of train, 64 to a shard, and 48 of valid

    @property
    def _store(self) -> Path:
        return self._uri / "features"

    def pieces(self) -> dict[object, object]:
        return {path.name: path.stat().st_mtime_ns for path in self._store.rglob("*.npy")}


class Prediction(Job):
    unit = "parts"
    total = _FILES // 64

    @property
    def _output(self) -> Path:
        return self._uri / f"predictions-{self._name}"

    def command(self) -> list[str]:
        model = self._material / "results/undisturbed/best"
        where = ["--input", str(self._material / "images"), "--output", str(self._output)]
        return ["jobs/predict.py", "--model", str(model), *where]

    def pieces(self) -> dict[object, object]:
        found: dict[object, object] = {}
        for folder in (Path(f"{self._output}.partial"), self._output):
            for path in folder.glob("part-*.parquet"):
                try:
                    found[path.name] = path.stat().st_mtime_ns
                except FileNotFoundError:  # published meanwhile
                    continue
        return found

    def compare(self) -> str:
        expected, found = (
            pd.read_parquet(uri).sort_values("path", ignore_index=True)
            for uri in (self._material / "predictions-undisturbed", self._output)
        )
        return "equal" if expected.equals(found) else f"{len(found)} rows that differ"
