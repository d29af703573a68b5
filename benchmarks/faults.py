"""Break sweeps and predictions on a cluster of three nodes, and compare: python benchmarks/faults.py.

Each run gets one fault of its own at a moment drawn from --seed: the process that works, its raylet or its whole
node is killed; the driver is killed and the job resumed; the disk is full and then has room again; the newest
state of a trial is cut short. The results must equal those of an undisturbed run: a sweep's scores to 1e-6, a
prediction's rows exactly. `repeated` counts what was finished and done again: shards of features, epochs of
trials, parts of predictions. A full disk is a tmpfs, which takes root; without it that fault is left out.
"""

import math
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import tyro
from workload import Features, Job, Prediction, Sweep, prepare

from ray_birds.core import terminal

# How Ray calls the processes that train, that fill a store and that predict.
WORKERS = ("ImplicitFunc", "FeatureWorker", "Scorer")
FAULTS: dict[type[Job], tuple[str, ...]] = {
    Features: ("process", "node", "driver"),
    Sweep: ("process", "raylet", "node", "driver", "disk", "state"),
    Prediction: ("process", "raylet", "node", "driver", "disk"),
}
_ROOM = 48_000_000  # bytes of the small disk


@dataclass(frozen=True)
class Options:
    faults: int = 28
    """How many; 14 are one of each kind."""
    seed: int = 0


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as name:
        os.environ["RAY_TMPDIR"] = f"{name}/ray"
        (Path(name) / "ray").mkdir()
        with Nodes() as nodes:
            rows = Drill(options, Path(name), nodes).run()
    terminal.show(terminal.table("Faults", ("job", "fault", "after", "repeated", "failures", "result"), rows))
    if any(row[-1] != "equal" for row in rows):
        raise SystemExit(1)


class Nodes:
    """A cluster of three nodes, the first for the drivers alone, the others with a CPU each."""

    def __enter__(self) -> "Nodes":
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._left: list[psutil.Process] = []
        for _ in range(2):
            self._cluster.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = self._cluster.address
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.shutdown()
        for process in self._left:  # now and then one outlives its raylet
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def workers(self) -> list[tuple[Any, psutil.Process]]:
        """The processes that train or predict, each with its node."""
        found = []
        for node in self._cluster.worker_nodes:
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            found += [(node, child) for child in raylet.children(recursive=True) if _works(child)]
        return found

    def remove(self, node: Any, *, whole: bool) -> None:
        """Kill a node's raylet, or all of its processes; another node takes its place."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        self._left += raylet.children(recursive=True)
        if not whole:
            raylet.kill()
            time.sleep(1)
        self._cluster.remove_node(node, allow_graceful=False)
        self._cluster.add_node(num_cpus=1)


def _works(process: psutil.Process) -> bool:
    try:
        return any(name in " ".join(process.cmdline()) for name in WORKERS)
    except psutil.Error:
        return False


def _early(driver: "subprocess.Popen[str]") -> SystemExit:
    return SystemExit(f"error: the job ended before its fault: {driver.communicate()}")


class Drill:
    def __init__(self, options: Options, folder: Path, nodes: Nodes) -> None:
        self._folder, self._nodes = folder, nodes
        self._chance = random.Random(options.seed)
        kinds = [(work, kind) for work, kinds in FAULTS.items() for kind in kinds]
        if os.geteuid() != 0:
            kinds = [pair for pair in kinds if pair[1] != "disk"]
        self._chance.shuffle(kinds)
        self._faults = (kinds * math.ceil(options.faults / len(kinds)))[: options.faults]

    def run(self) -> list[tuple[object, ...]]:
        """Prepare, and make the faults; a row for each."""
        prepare(self._folder)
        rows = []
        for number, (work, kind) in enumerate(self._faults):
            with self._uri(kind, number) as uri:
                job = work(self._folder, f"run{number}", uri)
                rows.append((work.__name__.lower(), kind, *self._break(job, kind, uri)))
            terminal.say(f"{number + 1}/{len(self._faults)}: {', '.join(map(str, rows[-1]))}")
        return rows

    @contextmanager
    def _uri(self, kind: str, number: int) -> Iterator[Path]:
        """Where a run writes; a small disk where it is going to be full."""
        uri = self._folder / f"place{number}"
        uri.mkdir()
        if kind != "disk":
            yield uri
            shutil.rmtree(uri)
            return
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", str(uri)], check=True)
        try:
            yield uri
        finally:
            subprocess.run(["umount", "-l", str(uri)], check=True)

    def _break(self, job: Job, kind: str, uri: Path) -> tuple[object, ...]:
        """Run a job with one fault; after how much work it came, what was repeated, and how the job ended."""
        after = self._chance.randint(1, job.total * 3 // 4)  # there is work left for the fault to stop
        driver = job.start()
        while job.done() < after and driver.poll() is None:
            job.look()
            time.sleep(0.02)
        came = job.done()
        if driver.poll() is not None:
            raise _early(driver)
        driver = getattr(self, f"_{kind}")(job, driver, uri)
        job.finish(driver)
        return f"{came} of {job.total} {job.unit}", job.repeated, job.failures(), job.compare()

    def _victim(self, driver: "subprocess.Popen[str]") -> tuple[Any, psutil.Process]:
        """A node at work, and its process that works."""
        while driver.poll() is None:
            for found in self._nodes.workers():
                return found
            time.sleep(0.02)
        raise _early(driver)

    def _process(self, job: Job, driver: "subprocess.Popen[str]", uri: Path) -> "subprocess.Popen[str]":
        self._victim(driver)[1].kill()
        return driver

    def _raylet(self, job: Job, driver: "subprocess.Popen[str]", uri: Path) -> "subprocess.Popen[str]":
        self._nodes.remove(self._victim(driver)[0], whole=False)
        return driver

    def _node(self, job: Job, driver: "subprocess.Popen[str]", uri: Path) -> "subprocess.Popen[str]":
        self._nodes.remove(self._victim(driver)[0], whole=True)
        return driver

    def _driver(self, job: Job, driver: "subprocess.Popen[str]", uri: Path) -> "subprocess.Popen[str]":
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        return job.start("--resume")

    def _state(self, job: Job, driver: "subprocess.Popen[str]", uri: Path) -> "subprocess.Popen[str]":
        """Cut the newest state short, as a file system may that loses power together with the driver."""
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        time.sleep(2)  # the trials' processes end
        newest = max(uri.rglob("checkpoint?.npz"), key=lambda path: path.stat().st_mtime_ns)
        os.truncate(newest, self._chance.randrange(newest.stat().st_size))
        return job.start("--resume")

    def _disk(self, job: Job, driver: "subprocess.Popen[str]", uri: Path) -> "subprocess.Popen[str]":
        """Fill the disk until the job gives up with a line that says what to do, then make room."""
        filler = uri / "filler"
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


if __name__ == "__main__":
    main(tyro.cli(Options))
