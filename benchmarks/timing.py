"""Timing a command from its start to its end, and what must be known of the machine to judge the figure."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from workplace import ROOT

# The line of a sweep's output that ends each of its phases; the last of several counts.
PHASES = {
    "import": r".*: \d+ classes; images: ",
    "connect": r"Ray: ",
    "inspect": r"\d+ trials, each with ",
    "look up": r"Feature store ",
    "materialise": r"Frozen layers: ",
    "trials": r"Winner on valid: ",
    "export": r"best model ",
}


@dataclass(frozen=True)
class Timed:
    """A finished command: wall-clock seconds, and its lines with the seconds they came after."""

    command: list[str]
    seconds: float
    lines: list[tuple[float, str]]

    def phases(self) -> dict[str, float]:
        """Seconds of each phase of a sweep, those that it has; they add up to `seconds`."""
        found, before = {}, 0.0
        for phase, pattern in PHASES.items():
            at = [seconds for seconds, line in self.lines if re.match(pattern, line)]
            if at:
                found[phase] = round(at[-1] - before, 2)
                before = at[-1]
        return found | {"end": round(self.seconds - before, 2)}


def run(command: list[str], log: Path, watch: Callable[[int], None] | None = None) -> Timed:
    """Run a command in the project's root, its output to `log` with the seconds before each line.

    `watch` is called with the process id once it has started, and may take as long as the process lives.
    Raises SystemExit where the command fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # Each sweep starts its own Ray, whatever else runs on the machine.
    extra = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "RAY_ADDRESS": "local"}
    lines: list[tuple[float, str]] = []
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | extra,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    # Read beside waiting: a process left behind could hold the pipe open after the command's end.
    reader = threading.Thread(target=_read, args=(process.stdout, lines, log, start), daemon=True)
    reader.start()
    try:
        if watch:
            watch(process.pid)
        code = process.wait()
    finally:
        process.terminate()  # where we are stopped ourselves
    seconds = time.perf_counter() - start
    reader.join(timeout=5)
    if code:
        raise SystemExit(f"error: {' '.join(command)} ended with code {code}, see {log}")
    return Timed(command, round(seconds, 2), lines)


def _read(stream: IO[str], lines: list[tuple[float, str]], log: Path, start: float) -> None:
    with log.open("w", encoding="utf-8") as file:
        for line in stream:
            seconds = time.perf_counter() - start
            lines.append((seconds, line.rstrip()))
            file.write(f"{seconds:8.2f}  {line}")
            file.flush()


def warm_up() -> None:
    """Import the libraries once, so that no part pays for reading them from disk."""
    code = "import keras, tensorflow, ray.data, ray.tune, cv2, pandas"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def machine() -> dict[str, object]:
    """Processor, cores, memory in GB, versions, and the load of the last minute."""
    information = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in information if line.startswith("model name")), "")
    packages = ("keras", "tensorflow", "ray", "numpy", "ray-birds")
    return {
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages},
        "load": os.getloadavg()[0],
    }
