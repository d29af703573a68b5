"""A million small files end to end: python benchmarks/million.py --files 1000000 --work /some/folder.

Real files, no links: JPEGs of `--side` pixels, some thousand different ones, each under many names, in a folder
for each class. The job is watched from its start to its end: seconds of its phases (imports and listing, the start
of Ray and the model, scoring, checking and report), images a second, the peak memory of the driver and of all
processes, the rows that pyarrow counts. Files that are there already are used again.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import photographs
import psutil
import pyarrow.dataset as ds
import timing
import tyro

from ray_birds.core import terminal

_CLASSES = 400  # as many as the model has
_LINES = {"list": "images to score", "start": "Loading the model", "score": "Scoring: "}  # what ends a phase


@dataclass(frozen=True)
class Options:
    files: int = 1_000_000
    different: int = 4_000
    side: int = 96
    """Pixels, of the files and for the model."""
    backbone: str = "MobileNetV2-0.35"
    engine: str = "auto"
    work: str = ""
    """Folder to make the files in, which stay there; by default a temporary one."""
    only_make: bool = False
    """Make the files, and no more."""


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory(prefix="ray-birds-million-") as name:
        folder = Path(options.work or name)
        images = folder / f"images{options.files}"
        if not images.is_dir():
            make(images, options)
        if not options.only_make:
            record = {"kind": "million", "options": vars(options), "machine": timing.machine()}
            terminal.say(json.dumps(record | measure(folder, images, options), indent=2))


def make(images: Path, options: Options) -> None:
    """Draw and write the files; a folder that is there is whole."""
    drawn = list(_draw(options.different, options.side))
    begun = images.with_name(f"{images.name}.part")
    for number in range(_CLASSES):
        folder = begun / f"CLASS {number:03}"
        folder.mkdir(parents=True, exist_ok=True)
        for image in range(number, options.files, _CLASSES):
            (folder / f"{image:07}.jpg").write_bytes(drawn[image % len(drawn)])
    begun.rename(images)


def _draw(count: int, side: int) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    for tint in rng.uniform(60, 195, (count, 3)):
        small = cv2.resize(photographs.photograph(rng, tint), (side, side), interpolation=cv2.INTER_AREA)
        yield cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def measure(folder: Path, images: Path, options: Options) -> dict[str, object]:
    """Predict all files by the command, and what it took."""
    model, output, peak = folder / "bundle", folder / "out", Peak()
    shutil.rmtree(output, ignore_errors=True)
    kind = ["--backbone", options.backbone, "--image-size", str(options.side)]
    if not model.is_dir():
        made = [sys.executable, "benchmarks/plain_predict.py", "make", "--bundle", str(model), *kind]
        timing.run(made, folder / "make.log")
    command = [sys.executable, "jobs/predict.py", "--model", str(model), "--input", str(images)]
    command += ["--output", str(output), "--engine", options.engine]
    timed = timing.run(command, folder / "predict.log", peak.watch)
    manifest = json.loads((output / "_manifest.json").read_text(encoding="utf-8"))
    rows = ds.dataset(str(output), format="parquet").count_rows()
    at = {phase: max(one for one, line in timed.lines if text in line) for phase, text in _LINES.items()}
    ends = [0.0, *at.values(), timed.seconds]
    return {
        "seconds": dict(zip([*at, "end"], np.diff(ends).round(1).tolist(), strict=True)),
        "total": timed.seconds,
        "images_per_second": manifest["images_per_second"],
        "driver_mb": round(peak.driver / 1e6, 1),
        "all_mb": round(peak.all / 1e6, 1),
        "driver_cpu": round(peak.cpu, 1),
        "rows": rows,
        "failed": manifest["failed"],
    }


class Peak:
    """The largest memory of a driver and, by what is their own, of all processes, in bytes; its CPU seconds."""

    def __init__(self) -> None:
        self.driver = self.all = 0
        self.cpu = 0.0

    def watch(self, driver: int) -> None:
        """Look at the processes until the driver ends."""
        process = psutil.Process(driver)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            with suppress(psutil.Error):  # it may end between two lines
                self.driver = max(self.driver, process.memory_info().rss)
                self.cpu = sum(process.cpu_times()[:2])
                self.all = max(self.all, sum(map(_own, [process, *process.children(recursive=True)])))
            time.sleep(0.5)


def _own(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss - process.memory_info().shared)
    return 0


if __name__ == "__main__":
    main(tyro.cli(Options))
