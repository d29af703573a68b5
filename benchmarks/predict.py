"""Time a prediction job against a plain Keras predict loop: python benchmarks/predict.py --count 4000.

Every part runs in a process of its own; ours, Keras and the forward pass alone take turns, and the medians
count. `start` is from the process's start to its end, Ray's and TensorFlow's start included; `steady` is
images per second once the model is at work. Ours runs in one process and on Ray; with --decoders on Ray, once for
each number of decoding tasks. With --grow the driver's peak memory is shown at each number of images instead.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import photographs
import psutil
import timing
import tyro
from workplace import ROOT

from ray_birds.core import terminal


@dataclass(frozen=True)
class Options:
    count: int = 4000
    """Images: links to those of --data."""
    data: str = "../shared/data/birds263"
    """Folder of JPEGs; where it is absent, images are drawn."""
    backbone: str = "EfficientNetB0"
    image_size: int = 224
    batch_size: int = 32
    decoders: tuple[int, ...] = ()
    """Numbers of decoding tasks to try; by default the job's own choice."""
    grow: tuple[int, ...] = ()
    """Measure the driver's memory at these numbers of images."""
    repeat: int = 3
    output: str = ""
    """File to append the results to, one line of JSON each time."""


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory(prefix="ray-birds-predict-") as name:
        folder = Path(name)
        bench = Bench(options, folder)
        timing.warm_up()
        bench.plain("make")
        found = bench.growth() if options.grow else bench.speed()
    record = {"kind": "predict", "options": vars(options), "machine": timing.machine(), **found}
    terminal.say(json.dumps(record, indent=2))
    if options.output:
        with Path(options.output).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class Bench:
    def __init__(self, options: Options, folder: Path) -> None:
        self._options, self._folder, self._peak = options, folder, 0
        data = Path(ROOT, options.data)
        self._sources = sorted((data if data.is_dir() else photographs.draw(folder / "drawn", 400)).rglob("*.jpg"))

    def speed(self) -> dict[str, object]:
        links = self._links(self._options.count)
        kinds = [f"ray, {count} decoders" for count in self._options.decoders] or ["local", "ray"]
        seconds: dict[str, list[float]] = {kind: [] for kind in (*kinds, "keras")}
        rates: dict[str, list[float]] = {kind: [] for kind in (*kinds, "keras", "forward")}
        for repeat in range(self._options.repeat):
            for kind in rates:
                rate, took = self._measure(kind, links)
                rates[kind].append(rate)
                if kind in seconds:
                    seconds[kind].append(took)
                terminal.say(f"run {repeat + 1}, {kind}: {took:.1f} s, {rate:.1f} images/s")
        steady = {kind: statistics.median(values) for kind, values in rates.items()}
        whole = {kind: statistics.median(values) for kind, values in seconds.items()}
        return {
            "steady": steady,
            "seconds": whole,
            "start over keras": {kind: round(whole["keras"] / whole[kind], 3) for kind in kinds},
            "steady over keras": {kind: round(steady[kind] / steady["keras"], 3) for kind in kinds},
            "steady over forward": {kind: round(steady[kind] / steady["forward"], 3) for kind in kinds},
        }

    def growth(self) -> dict[str, object]:
        peaks = {}
        for count in self._options.grow:
            self._peak = 0
            self._ours(self._links(count), ("--engine", "ray"), watch=True)
            peaks[count] = round(self._peak / 1e6, 1)
            terminal.say(f"{count:,} images: {peaks[count]} MB")
        return {"driver_mb": peaks, "ratio": round(max(peaks.values()) / min(peaks.values()), 3)}

    def plain(self, part: str, *more: str) -> timing.Timed:
        model = ["--backbone", self._options.backbone, "--image-size", str(self._options.image_size)]
        where = ["--bundle", str(self._folder / "bundle"), "--batch-size", str(self._options.batch_size)]
        command = [sys.executable, "benchmarks/plain_predict.py", part, *where, *model, *more]
        return timing.run(command, self._folder / f"{part}.log")

    def _measure(self, kind: str, links: Path) -> tuple[float, float]:
        """Images per second in the steady state, and seconds from start to end."""
        engine, _, decoders = kind.partition(", ")
        if engine in ("local", "ray"):
            more = ("--decoders", decoders.split()[0]) if decoders else ()
            return self._ours(links, ("--engine", engine, *more))
        more = ("--folder", str(links)) if kind == "keras" else ("--count", str(self._options.count))
        timed = self.plain(kind, *more)
        return float(timed.lines[-1][1]), timed.seconds

    def _ours(self, links: Path, more: tuple[str, ...], watch: bool = False) -> tuple[float, float]:
        output = self._folder / "out"
        shutil.rmtree(output, ignore_errors=True)
        where = ["--model", str(self._folder / "bundle"), "--input", str(links), "--output", str(output)]
        command = [sys.executable, "jobs/predict.py", *where, "--batch-size", str(self._options.batch_size), *more]
        timed = timing.run(command, self._folder / "ours.log", self._watch if watch else None)
        return float(json.loads((output / "_manifest.json").read_text())["images_per_second"]), timed.seconds

    def _watch(self, driver: int) -> None:
        """Follow the driver's resident memory until it ends."""
        process = psutil.Process(driver)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            with suppress(psutil.Error):  # it may end between two lines
                self._peak = max(self._peak, process.memory_info().rss)
            time.sleep(0.1)

    def _links(self, count: int) -> Path:
        """A folder with `count` links to the images."""
        folder = self._folder / f"links{count}"
        if not folder.exists():
            folder.mkdir()
            for number in range(count):
                (folder / f"{number:06}.jpg").symlink_to(self._sources[number % len(self._sources)].resolve())
        return folder


if __name__ == "__main__":
    main(tyro.cli(Options))
