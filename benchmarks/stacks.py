"""Where the time goes: seconds by process and by what it was at, sampled by py-spy while a command runs.

    python benchmarks/stacks.py -- jobs/tune.py --data ../shared/data/birds263 ...

py-spy (no dependency: `pip install py-spy`, and root, or ptrace allowed) is started for the command and for each
of Ray's workers below it, once it has begun to work. A line of the table is what the main threads of processes of
one kind were at, by the first pattern that a stack fits; waiting is told apart, for a worker has not always work.
What threads make ahead is on lines of its own. Samples are of Python's threads: while TensorFlow computes, its
caller is in `model`.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import tyro
from workplace import ROOT

from ray_birds.core import terminal

_LINE = re.compile(r"^thread \((?P<number>\d+)\)(: (?P<name>[^;]*))?;(?P<stack>.*) (?P<count>\d+)$")
_LOOK = 0.3  # seconds between two looks for new workers

# What a process is by what it ever does, the first that fits; and what a stack is, likewise.
ROLES = {
    "driver": r"ray_birds/cli\.py",
    "features": r"FeatureWorker\.",
    "view decoder": r"ViewDecoder\.",
    "trial": r"_trainable \(|sweep/training\.py",
    "winner": r"sweep/bundling\.py",
    "decoder": r"Decoder\.__call__ \(ray_birds/prediction/steps\.py",
    "scorer": r"Scorer\.__\w+__ \(ray_birds/prediction",
    "writer": r"Writer\.__\w+__ \(ray_birds/prediction",
    "inspection": r"data/inspect_job\.py",
    "description": r"describe \(ray_birds/model",
}
KINDS = {
    "imports": r"_find_and_load|<frozen importlib",
    "report": r"ray_birds/report/|sweep/summary\.py",
    "decoding": r"data/decode\.py|prediction/image\.py",
    "drawing views": r"data/augment\.py",
    "building, loading, saving a network": r"model/(backbones|cut)\.py|keras/src/saving",
    "tracing": r"polymorphic_function/(tracing|concrete|autograph)|Function\._initialize|autograph/impl",
    "model": r"quick_execute|pywrap_tfe|\.numpy|EagerTensor",
    "solving heads": r"model/probe\.py",
    "reading features": r"Reader\.",
    "writing": r"storage\.py|write_part|write_shard",
    "statistics": r"ray_birds/evaluation/|prediction/statistics\.py|sweep/(results|comparison)\.py",
    "Ray starts or ends": r"session \(ray_birds/core/cluster\.py|_connect \(ray_birds|shutdown \(ray/",
    "waits": r"main_loop|run_task_loop|wait \(|poll|sleep|get_objects|iter_rows",
}
# Of the driver, what it waits for comes first.
PHASES = {
    "inspecting images": r"data/inspect_job\.py",
    "describing backbones": r"_describe \(ray_birds",
    "frozen layers": r"features/compute\.py",
    "trials": r"sweep/trials\.py",
    "winner": r"sweep/selection\.py",
    "scoring, by Ray's workers": r"prediction/pipeline\.py",
}
_AHEAD = ("decoding", "drawing views", "reading features")


@dataclass(frozen=True)
class Options:
    command: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A script and its options, behind --."""
    spy: str = "py-spy"
    rate: int = 10
    """Samples a second."""
    least: float = 0.5
    """Seconds; lines with fewer are left out."""
    keep: str = ""
    """Folder to keep the stacks in; by default they are thrown away."""


@dataclass(frozen=True)
class Sample:
    is_main: bool
    stack: str
    count: int


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(options.keep or name)
        folder.mkdir(parents=True, exist_ok=True)
        took = watch(options, folder)
        files = [file.read_text(encoding="utf-8").splitlines() for file in sorted(folder.glob("*.txt"))]
    found = table(([*parse(lines)] for lines in files), options.rate)
    rows = [(role, kind, f"{seconds:.1f}") for (role, kind), seconds in found if seconds >= options.least]
    terminal.show(terminal.table(f"Where {took:.0f} s went", ("process", "at", "seconds"), rows))


def watch(options: Options, folder: Path) -> float:
    """Run the command, each of its processes watched; returns its seconds. Raises SystemExit where it fails."""
    spy = [options.spy, "record", "--idle", "--threads", "--nonblocking", "--rate", str(options.rate)]
    spy += ["--format", "raw", "--output"]
    begin = time.monotonic()
    command = [*spy, str(folder / "driver.txt"), "--", sys.executable, *options.command]
    driver = psutil.Popen(command, cwd=ROOT, env=os.environ | {"RAY_ADDRESS": "local"}, stdout=sys.stderr)
    spies: dict[int, subprocess.Popen[bytes]] = {}
    while driver.poll() is None:
        for pid in _workers(driver):
            if pid not in spies:
                watching = [*spy, str(folder / f"{pid}.txt"), "--pid", str(pid)]
                spies[pid] = subprocess.Popen(watching, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(_LOOK)
    for process in spies.values():
        process.wait()
    if driver.returncode:
        raise SystemExit(f"error: the command ended with code {driver.returncode}")
    return time.monotonic() - begin


def _workers(driver: psutil.Process) -> Iterator[int]:
    """Ray's workers that have work; before, they start another program and call themselves idle."""
    for child in driver.children(recursive=True):
        try:
            title = " ".join(child.cmdline())
        except psutil.Error:  # it has just ended
            continue
        if title.startswith("ray::") and not title.startswith("ray::IDLE"):
            yield child.pid


def parse(lines: Iterable[str]) -> Iterator[Sample]:
    """The samples of one process, as py-spy writes them."""
    for line in lines:
        if found := _LINE.match(line):
            is_main = found["name"] == "MainThread" or (not found["name"] and "<module>" in found["stack"])
            yield Sample(is_main, found["stack"], int(found["count"]))


def table(processes: Iterable[list[Sample]], rate: int) -> list[tuple[tuple[str, str], float]]:
    """Seconds by (role, what it was at), of all processes of a role together, the longest first in each role."""
    counts: Counter[tuple[str, str]] = Counter()
    for samples in processes:
        name = role([one.stack for one in samples])
        for one in samples:
            what = kind(one.stack)
            if one.is_main:
                counts[name, phase(one.stack) or what if name == "driver" else what] += one.count
            elif what in _AHEAD:
                counts[name, f"{what}, by threads ahead"] += one.count
    order = [*ROLES, "other"]
    rows = sorted(counts.items(), key=lambda row: (order.index(row[0][0]), -row[1]))
    return [(key, count / rate) for key, count in rows]


def role(stacks: list[str]) -> str:
    return _first(ROLES, "\n".join(stacks)) or "other"


def kind(stack: str) -> str:
    return _first(KINDS, stack) or "other"


def phase(stack: str) -> str:
    """What the driver waits for, or does; empty where only its kind says that."""
    return "" if re.search(KINDS["imports"], stack) else _first(PHASES, stack)


def _first(patterns: dict[str, str], text: str) -> str:
    return next((name for name, pattern in patterns.items() if re.search(pattern, text)), "")


if __name__ == "__main__":
    main(tyro.cli(Options))
