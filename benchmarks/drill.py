"""Kill a prediction job ten times at random moments, resume it each time, compare: python benchmarks/drill.py.

By turns the driver and the process that holds the model are killed (SIGKILL). All along, a reader looks at the
output as one who honours _SUCCESS does. In the end the rows must equal those of an undisturbed run.
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import photographs
import psutil
import tyro
from workplace import ROOT

from ray_birds.core import terminal


@dataclass(frozen=True)
class Options:
    kills: int = 10
    count: int = 4000
    """Images; enough that the job outlasts the kills."""
    backbone: str = "MobileNetV2-0.35"
    image_size: int = 96
    seed: int = 0
    longest: float = 60.0
    """Seconds, after a start or a kill, within which the next kill comes."""


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory(prefix="ray-birds-drill-") as name:
        drill = Drill(options, Path(name))
        rows = drill.run()
        terminal.show(
            terminal.table("Kill drill", ("kill", "what", "after (s)", "parts before", "parts after"), rows)
        )
        verdict = drill.verdict()
    terminal.say(verdict)
    if "FAILED" in verdict:
        raise SystemExit(1)


class Drill:
    def __init__(self, options: Options, folder: Path) -> None:
        self._options, self._folder = options, folder
        self._chance = random.Random(options.seed)
        self._output = folder / "killed"
        self._images, self._bundle = folder / "images", folder / "bundle"
        self._seen: set[int] = set()
        self._ended = threading.Event()

    def run(self) -> list[tuple[object, ...]]:
        """Kill and resume; a line for each kill."""
        self._prepare()
        subprocess.run(self._command(self._folder / "undisturbed"), check=True, cwd=ROOT)
        reader = threading.Thread(target=self._read)
        reader.start()
        lines: list[tuple[object, ...]] = []
        try:
            driver = self._start()
            while len(lines) < self._options.kills:
                wait = self._chance.uniform(1, self._options.longest)
                what = ("driver", "actor")[len(lines) % 2]
                if self._sleep(driver, wait) and (before := self._kill(driver, what)) is not None:
                    lines.append((len(lines) + 1, what, f"{wait:.1f}", before, self._parts()))
                if driver.poll() is not None:
                    if self._output.exists():  # it was quicker than the kills: once more from the beginning
                        self._compare()
                        shutil.rmtree(self._output)
                    driver = self._start()
            if driver.wait() != 0:
                raise SystemExit("error: the job failed after the last kill")
        finally:
            self._ended.set()
            reader.join()
        return lines

    def verdict(self) -> str:
        rows = self._compare()
        seen = f"a reader saw {sorted(self._seen) or 'no'} rows: " + ("all" if self._seen <= {rows} else "FAILED")
        return f"{rows} rows equal those of the undisturbed run, none twice; {seen}"

    def _compare(self) -> int:
        """Rows of the output. Raises AssertionError where they are not those of the undisturbed run."""
        tables = [pd.read_parquet(self._folder / name) for name in ("undisturbed", "killed")]
        expected, found = (table.sort_values("path", ignore_index=True) for table in tables)
        assert found["path"].is_unique
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        return len(found)

    def _prepare(self) -> None:
        model = ["--backbone", self._options.backbone, "--image-size", str(self._options.image_size)]
        make = [sys.executable, "benchmarks/plain_predict.py", "make", "--bundle", str(self._bundle), *model]
        subprocess.run(make, check=True, cwd=ROOT, capture_output=True)
        sources = sorted(photographs.draw(self._folder / "drawn", 100).rglob("*.jpg"))
        self._images.mkdir()
        for number in range(self._options.count):
            (self._images / f"{number:06}.jpg").symlink_to(sources[number % len(sources)])
            if number % 50 == 0:  # some that fail
                (self._images / f"{number:06}.jpg").unlink()
                (self._images / f"{number:06}.jpg").write_bytes(b"no image" * number)

    def _command(self, output: Path, *more: str) -> Sequence[str]:
        where = ["--model", str(self._bundle), "--input", str(self._images), "--output", str(output)]
        return [sys.executable, "jobs/predict.py", *where, "--engine", "ray", *more]

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command(self._output, "--resume"), cwd=ROOT, stdout=subprocess.DEVNULL)

    def _sleep(self, driver: "subprocess.Popen[bytes]", seconds: float) -> bool:
        """Wait; whether the driver still lives."""
        try:
            driver.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _kill(self, driver: "subprocess.Popen[bytes]", what: str) -> int | None:
        """Kill, and let the dust settle; how many parts there were before, None where there was no actor yet."""
        before = self._parts()
        if what == "driver":
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            time.sleep(2)
            return before
        children = psutil.Process(driver.pid).children(recursive=True)
        actors = [child for child in children if _is_actor(child)]
        for actor in actors:
            actor.kill()
        return before if actors else None

    def _parts(self) -> int:
        return len(list(Path(f"{self._output}.partial").glob("part-*.parquet")))

    def _read(self) -> None:
        while not self._ended.is_set():
            try:
                if (self._output / "_SUCCESS").exists():
                    self._seen.add(len(pd.read_parquet(self._output)))
            except FileNotFoundError:  # removed for another round
                pass
            time.sleep(0.05)


def _is_actor(process: psutil.Process) -> bool:
    """Whether a process holds the model; Ray names processes after what they run."""
    try:
        return "Scorer" in " ".join(process.cmdline())
    except psutil.Error:
        return False


if __name__ == "__main__":
    main(tyro.cli(Options))
