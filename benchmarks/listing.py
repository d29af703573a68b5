"""How the list of a prediction job grows: python benchmarks/listing.py --files 10000 100000 1000000 10000000.

Empty files in folders of `--per-folder`, listed by the driver of a job up to where scoring would begin, in a
process of its own: seconds, those of the CPU, files a second by the clock, the process's peak memory with all that
it imports, the bytes of the list on the disk; and the seconds in which `--resume` comes to the same point and
reads the files of the last part.
"""

import importlib
import math
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import tyro

from ray_birds.core import terminal


@dataclass(frozen=True)
class Options:
    files: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    per_folder: int = 500_000
    work: str = ""
    """Folder to make the files in; by default a temporary one."""


class Listed(NamedTuple):
    seconds: float
    cpu: float  # seconds
    peak: int  # bytes
    size: int  # bytes
    resumed: float  # seconds


def main(options: Options) -> None:
    rows = []
    for files in options.files:
        with tempfile.TemporaryDirectory(dir=options.work or None) as name:
            folder = Path(name, "images")
            _make(folder, files, options.per_folder)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
                found = pool.submit(measure, str(folder), str(Path(name, "out")), files).result()
        rate = files / found.seconds
        rows.append(
            (
                f"{files:,}",
                f"{found.seconds:.1f}",
                f"{found.cpu:.1f}",
                f"{rate:,.0f}",
                f"{found.peak / 1e6:,.0f}",
                f"{found.size / 1e6:,.1f}",
                f"{found.resumed:.2f}",
            )
        )
    columns = ("files", "seconds", "CPU seconds", "files/s", "peak (MB)", "list (MB)", "resumed (s)")
    terminal.show(terminal.table("Listing", columns, rows))


def _make(folder: Path, files: int, most: int) -> None:
    for number in range(math.ceil(files / most)):
        (folder / f"station {number:03}").mkdir(parents=True)
        within = os.open(folder / f"station {number:03}", os.O_RDONLY)
        for image in range(min(most, files - number * most)):
            os.close(os.open(f"IMG_{image:07}.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=within))
        os.close(within)


def measure(folder: str, output: str, files: int) -> Listed:
    """List a folder as the driver of a job does, in a process that has imported as much."""
    from ray_birds.config import PredictConfig
    from ray_birds.data import seen
    from ray_birds.model.bundle import Bundle
    from ray_birds.prediction import workload
    from ray_birds.prediction.output import Output
    from ray_birds.sweep.factors import Variant

    importlib.import_module("ray_birds.prediction.run")  # as a driver does, and Ray with it
    config = PredictConfig(model="m", input=(folder,), output=output)
    model, made = Bundle("", ("ONE", "TWO"), Variant(), "none", seen.NONE), Output(output)
    begin, cpu = time.perf_counter(), time.process_time()
    work = workload.begin(config, made, model)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert work is not None and work.files.count == files
    begin = time.perf_counter()
    again = workload.begin(config.replace(resume=True), made, model)
    assert again is not None and len(again.files.read(again.files.parts - 1))
    resumed = time.perf_counter() - begin
    size = sum(piece.stat().st_size for piece in Path(work.files.uri).iterdir())
    shutil.rmtree(made.staging)
    return Listed(seconds, cpu, peak, size, resumed)


if __name__ == "__main__":
    main(tyro.cli(Options))
