"""Time our sweep against plain Keras: python benchmarks/sweep.py --sweep heads|pair|depths|all.

Every part runs in a process of its own and is timed from its start to its end, everything included: imports,
Ray's start, inspecting the images, the winner's bundle and its test score. Pictures are drawn, and libraries
read from disk once, before the first part starts.
"""

import json
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import growth
import photographs
import timing
import tyro
from dataclasses import asdict
from options import SWEEPS, Options, Part, Workplace

from ray_birds import console

GROWTH = ("images", "materialise", "rss_anon_mb", "extra_rate", "direct_trial", "share")


def main(options: Options) -> None:
    folder = Path(options.work or tempfile.mkdtemp(prefix="ray-birds-benchmark-")).resolve()
    console.say(f"logs and results: {folder}")
    timing.warm_up()
    if options.grow:
        _grow(options, folder)
    else:
        _sweep(options, folder)


def _sweep(options: Options, folder: Path) -> None:
    data = Path(options.data).resolve() if options.data else photographs.draw(folder / "images", options.images)
    found = []
    for repeat in range(options.repeat):
        place = Workplace(options, folder / f"run{repeat}", data)
        for record in _measure(place):
            found.append(record)
            _append(options, {"kind": "sweep", "repeat": repeat, "images": _count(data), **record})
            console.say(f"{record['part']}: {record['seconds']:.1f} s, ratio {record['ratio'] or '-'}")
    _show(options, found)


def _measure(place: Workplace) -> Iterator[dict[str, Any]]:
    """One record per part; `ratio` is plain Keras's seconds over the part's, None where it was not run."""
    reference = None
    for part in place.options.parts:
        machine = timing.machine()
        timed = timing.run(_command(place, part), _log(place, part))
        if timed.code:
            raise SystemExit(f"error: {part} ended with code {timed.code}, see {place.log(part)}")
        if part == "keras":
            reference = timed.seconds
        ratio = round(reference / timed.seconds, 2) if reference else None
        outcome = _keras_outcome(place) if part == "keras" else _sweep_outcome(place, part, timed)
        yield {"part": part, "seconds": timed.seconds, "ratio": ratio, **outcome, "command": timed.command, "machine": machine}
    for store in place.folder.glob("features*"):
        shutil.rmtree(store)


def _command(place: Workplace, part: Part) -> list[str]:
    grid = SWEEPS[place.options.sweep]
    if part == "keras":
        return place.keras(grid)
    stores = {"direct": None, "store": place.store, "again": place.store, "asha": place.folder / "features-asha"}
    return place.tune(part, grid, store=stores[part], asha=part == "asha")


if __name__ == "__main__":
    main(tyro.cli(Options))
