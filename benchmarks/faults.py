"""Break sweeps and predictions on a cluster of three nodes, and compare: python benchmarks/faults.py.

Each run gets one fault of its own at a moment drawn from --seed: the process that works, its raylet or its whole
node is killed; the driver is killed and the job resumed; the disk is full and then has room again; the newest
state of a trial is cut short. The results must equal those of an undisturbed run: a sweep's scores to 1e-6, a
prediction's rows exactly. `repeated` counts what was finished and done again, epochs of trials or parts of
predictions. A full disk is a tmpfs, which takes root; without it that fault is left out.
"""

import csv
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import tyro
from workplace import ROOT

from ray_birds import console
from ray_birds.sources.demo import draw_dataset

WORKERS = ("ImplicitFunc", "Scorer")  # how Ray calls the processes that train and that predict
SWEEP = ("process", "raylet", "node", "driver", "disk", "state")
PREDICTION = ("process", "raylet", "node", "driver", "disk")
_LIMIT = 900  # seconds for a job
_ROOM = 48_000_000  # bytes of the small disk
_FILES = 1536  # of a prediction; 64 of them are a part


@dataclass(frozen=True)
class Options:
    faults: int = 20
    seed: int = 0


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as name:
        os.environ["RAY_TMPDIR"] = f"{name}/ray"
        (Path(name) / "ray").mkdir()
        with Nodes() as nodes:
            rows = Drill(options, Path(name), nodes).run()
    console.show(console.table("Faults", ("job", "fault", "after", "repeated", "failures", "result"), rows))
    if any(row[-1] != "equal" for row in rows):
        raise SystemExit(1)


class Nodes:
    """A cluster of three nodes with a CPU each, the first of them without work of its own."""

    def __enter__(self) -> "Nodes":
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            self._cluster.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = self._cluster.address
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.shutdown()

    def workers(self) -> list[tuple[Any, psutil.Process]]:
        """The processes that train or predict, each with its node; the head's node is spared."""
        found = []
        for node in self._cluster.worker_nodes:
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            found += [(node, child) for child in raylet.children(recursive=True) if _works(child)]
        return found

    def remove(self, node: Any, *, whole: bool) -> None:
        """Kill a node's raylet, or all of its processes; another node takes its place."""
        if not whole:
            node.all_processes["raylet"][0].process.kill()
            time.sleep(1)
        self._cluster.remove_node(node, allow_graceful=False)
        self._cluster.add_node(num_cpus=1)


def _works(process: psutil.Process) -> bool:
    try:
        return any(name in " ".join(process.cmdline()) for name in WORKERS)
    except psutil.Error:
        return False


class Drill:
    def __init__(self, options: Options, folder: Path, nodes: Nodes) -> None:
        self._folder, self._nodes = folder, nodes
        self._chance = random.Random(options.seed)
        self._images = folder / "images"
        self._prepare()
        kinds = [("sweep", kind) for kind in SWEEP] + [("prediction", kind) for kind in PREDICTION]
        if os.geteuid() != 0:
            kinds = [pair for pair in kinds if pair[1] != "disk"]
        repeated = kinds * math.ceil(options.faults / len(kinds))
        self._faults = repeated[: options.faults]
        self._chance.shuffle(self._faults)

    def _prepare(self) -> None:
        """Drawn birds, many links to them, and the undisturbed runs."""
        birds = draw_dataset(self._folder / "birds", train=10, valid=4, test=4)
        sources = sorted(birds.rglob("*.jpg"))
        self._images.mkdir()
        for number in range(_FILES):
            (self._images / f"{number:06}.jpg").symlink_to(sources[number % len(sources)])
        for job in (Sweep(self, "undisturbed", self._folder), Prediction(self, "undisturbed", self._folder)):
            job.finish(job.start())

    def run(self) -> list[tuple[object, ...]]:
        rows = []
        for number, (name, kind) in enumerate(self._faults):
            console.say(f"{number + 1}/{len(self._faults)}: {name}, {kind}")
            with self._place(kind, number) as place:
                job = (Sweep if name == "sweep" else Prediction)(self, f"run{number}", place)
                rows.append((name, kind, *self._break(job, kind, place)))
        return rows

    @contextmanager
    def _place(self, kind: str, number: int) -> Iterator[Path]:
        """Where a run writes; a small disk where it is going to be full."""
        place = self._folder / f"place{number}"
        place.mkdir()
        if kind != "disk":
            yield place
            shutil.rmtree(place)
            return
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", str(place)], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)

    def _break(self, job: "Job", kind: str, place: Path) -> tuple[object, ...]:
        """Run a job with one fault; after how much work it came, what was repeated, and how the job ended."""
        after = self._chance.randint(1, job.total - 1)
        driver = job.start()
        while job.done() < after and driver.poll() is None:
            job.look()
            time.sleep(0.02)
        came = job.done()
        if driver.poll() is None:
            driver = getattr(self, f"_{kind}")(job, driver, place)
        job.finish(driver)
        return f"{came} of {job.total} {job.unit}", job.repeated, job.failures(), job.compare()

    def _process(self, job: "Job", driver: "subprocess.Popen[str]", place: Path) -> "subprocess.Popen[str]":
        for _, process in self._nodes.workers()[:1]:
            process.kill()
        return driver

    def _raylet(self, job: "Job", driver: "subprocess.Popen[str]", place: Path) -> "subprocess.Popen[str]":
        for node, _ in self._nodes.workers()[:1]:
            self._nodes.remove(node, whole=False)
        return driver

    def _node(self, job: "Job", driver: "subprocess.Popen[str]", place: Path) -> "subprocess.Popen[str]":
        for node, _ in self._nodes.workers()[:1]:
            self._nodes.remove(node, whole=True)
        return driver

    def _driver(self, job: "Job", driver: "subprocess.Popen[str]", place: Path) -> "subprocess.Popen[str]":
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        return job.start("--resume")

    def _state(self, job: "Job", driver: "subprocess.Popen[str]", place: Path) -> "subprocess.Popen[str]":
        """Cut the newest state short, as a file system may that loses power together with the driver."""
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        time.sleep(2)  # the trials' processes end
        newest = max(place.rglob("state?.npz"), key=lambda path: path.stat().st_mtime_ns)
        os.truncate(newest, self._chance.randrange(newest.stat().st_size))
        return job.start("--resume")

    def _disk(self, job: "Job", driver: "subprocess.Popen[str]", place: Path) -> "subprocess.Popen[str]":
        """Fill the disk until the job gives up with a line that says what to do, then make room."""
        filler = place / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while driver.poll() is None:
                    try:
                        file.write(b"x" * 4096)
                    except OSError:
                        job.look()
                        time.sleep(0.05)
            finally:
                filler.unlink()
        told = driver.communicate()[1]
        if driver.returncode not in (1, 2) or "--resume" not in told or "Traceback" in told:
            raise SystemExit(f"a full disk ended with {driver.returncode}: {told}")
        return job.start("--resume")


class Job:
    """A command with results that can be compared; `repeated` counts finished pieces that were made again."""

    unit = ""
    total = 0

    def __init__(self, drill: Drill, name: str, place: Path) -> None:
        self._drill, self._name, self._place = drill, name, place
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
    total = 2 * 4 + 4  # depths 0 and 10, four epochs a phase

    @property
    def _results(self) -> Path:
        return self._place / "results" / self._name

    def command(self) -> list[str]:
        weights = ROOT / "ray_birds/sources/demo_backbone.weights.h5"
        places = ["--data", str(self._drill._folder / "birds"), "--results", str(self._place / "results")]
        store = ["--features-dir", str(self._drill._folder / "features")]
        model = ["--backbone", "MobileNetV2-0.35", "--weights", str(weights), "--image-size", "96"]
        grid = ["--augment", "off", "--unfreeze", "0", "10", "--learning-rate", "0.005", "--cpus-per-trial", "1"]
        epochs = ["--head-epochs", "4", "--fine-tune-epochs", "4", "--name", self._name]
        return ["jobs/tune.py", *places, *store, *model, *grid, *epochs]

    def pieces(self) -> dict[object, object]:
        """(trial, epoch) -> the seconds that it took, which no second time takes again."""
        found: dict[object, object] = {}
        for path in self._results.glob("trials/*/history.csv"):
            for row in csv.DictReader(path.read_text().splitlines()):
                found[path.parent.name, row["epoch"]] = row["seconds"]
        return found

    def failures(self) -> object:
        return sum(int(row["failures"]) for row in _table(self._results / "trials.csv"))

    def compare(self) -> str:
        expected = self._drill._folder / "results/undisturbed/trials.csv"
        pairs = zip(_table(expected), _table(self._results / "trials.csv"), strict=True)
        for reference, ours in pairs:
            if any(reference[key] != ours[key] for key in ("trial", "status", "epochs")):
                return f"{ours['trial']}: {ours['status']} after {ours['epochs']} epochs"
            for key in ("valid_accuracy", "valid_loss", "test_accuracy"):
                if abs(float(reference[key] or 0) - float(ours[key] or 0)) > 1e-6:
                    return f"{ours['trial']}: {key} {ours[key]}, not {reference[key]}"
        return "equal"


class Prediction(Job):
    unit = "parts"
    total = _FILES // 64

    @property
    def _output(self) -> Path:
        return self._place / f"predictions-{self._name}"

    def command(self) -> list[str]:
        model = self._drill._folder / "results/undisturbed/best"
        where = ["--input", str(self._drill._images), "--output", str(self._output)]
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
            pd.read_parquet(place).sort_values("path", ignore_index=True)
            for place in (self._drill._folder / "predictions-undisturbed", self._output)
        )
        return "equal" if expected.equals(found) else f"{len(found)} rows that differ"


def _table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main(tyro.cli(Options))
