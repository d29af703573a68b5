"""How a sweep grows with the number of images: its store, one more learning rate, a trial's memory."""

import re
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import timing
from options import EIGHT_RATES, Grid, Options
from workplace import Workplace, prepare, trials

_TRIAL = re.compile(r"ray::(ImplicitFunc|_trainable)")  # how Ray calls the processes of Tune's functions
_INTERVAL = 0.2  # seconds between two looks at their memory


def grow(options: Options, folder: Path, images: int) -> dict[str, Any]:
    """Measure at one number of training images. Raises SystemExit where a sweep fails.

    `materialise` is the seconds it takes for depths 0, 10 and 100, with the start of its processes;
    `rss_anon_mb` the peak private memory of the process that trains these; `extra_rate` the seconds that one
    more learning rate at unfreeze 0 adds to a sweep, `share` the same as a part of a direct trial's seconds.
    """
    uri = prepare(options, folder, images)
    peak = Peak()
    depths = _run(uri, "depths", Grid(("off",), (0, 10, 100), (1e-3,)), uri.store, peak)
    direct = _run(uri, "direct", Grid(("off",), (0,), (1e-3,)), None)
    one = _run(uri, "one", Grid(("off",), (0,), EIGHT_RATES[:1]), uri.store)
    eight = _run(uri, "eight", Grid(("off",), (0,), EIGHT_RATES), uri.store)
    shutil.rmtree(uri.store)
    extra = (eight.seconds - one.seconds) / (len(EIGHT_RATES) - 1)
    trial = sum(float(row["seconds"]) for row in trials(uri.results("direct")))
    return {
        "images": images,
        "materialise": depths.phases()["materialise"],
        "rss_anon_mb": round(peak.bytes / 1e6, 1),
        "extra_rate": round(extra, 3),
        "direct_trial": round(trial, 2),
        "share": round(extra / trial, 4),
        "runs": [
            {"command": run.command, "seconds": run.seconds, "phases": run.phases()}
            for run in (depths, direct, one, eight)
        ],
    }


def _run(uri: Workplace, name: str, grid: Grid, store: Path | None, peak: "Peak | None" = None) -> timing.Timed:
    return timing.run(uri.tune(name, grid, store=store), uri.log(name), peak.watch if peak else None)


class Peak:
    """The largest private memory (RssAnon, in bytes) that any trial process of a sweep had."""

    def __init__(self) -> None:
        self.bytes = 0

    def watch(self, driver: int) -> None:
        """Look at the trial processes below `driver` until it ends."""
        process = psutil.Process(driver)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            for child in process.children(recursive=True):
                self._look(child)
            time.sleep(_INTERVAL)

    def _look(self, process: psutil.Process) -> None:
        try:
            if _TRIAL.match(" ".join(process.cmdline())):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
                found = re.search(r"RssAnon:\s+(\d+) kB", status)
                self.bytes = max(self.bytes, int(found[1]) * 1024 if found else 0)
        except (psutil.Error, OSError):  # it has just ended
            pass
