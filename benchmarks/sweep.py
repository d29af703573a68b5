"""Time our sweep against plain Keras: python benchmarks/sweep.py --sweep heads|pair|depths|all.

Every part runs in a process of its own and is timed from its start to its end, everything included: imports,
Ray's start, inspecting the images, the winner's bundle and its test score. Pictures are drawn, and libraries
read from disk once, before the first part starts.
"""

import json
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import growth
import timing
import tyro
from options import SWEEPS, Options, Part
from workplace import Workplace, prepare

from ray_birds import console

GROWTH = ("images", "materialise", "rss_anon_mb", "extra_rate", "direct_trial", "share")


def main(options: Options) -> None:
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    folder = Path(options.work or tempfile.mkdtemp(prefix="ray-birds-benchmark-")).resolve()
    console.say(f"logs and results: {folder}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part that runs is stopped too
    timing.warm_up()
    if options.grow:
        _grow(options, folder)
    else:
        _sweep(options, folder)


def _sweep(options: Options, folder: Path) -> None:
    place = prepare(options, folder, options.images)
    images = {split: _count(place.data / split) for split in ("train", "valid", "test")}
    found: dict[str, list[dict[str, Any]]] = {part: [] for part in options.parts}
    for repeat in range(options.repeat):
        for record in _measure(replace(place, folder=folder / f"run{repeat}")):
            found[record["part"]].append(record)
            _append(options, {"kind": "sweep", "repeat": repeat, "images": images} | record)
            console.say(f"{record['part']}: {record['seconds']:.1f} s {record['phases'] or ''}")
    columns = ("part", "seconds", "ratio", "winner", "valid accuracy", "test accuracy")
    console.show(console.table(options.sweep, columns, [_row(part, records) for part, records in found.items()]))


def _measure(place: Workplace) -> Iterator[dict[str, Any]]:
    """A record per part; `ratio` is plain Keras's seconds over the part's, None where that was not run before."""
    reference = None
    for part in place.options.parts:
        machine = timing.machine()
        timed = timing.run(_command(place, part), place.log(part))
        if part == "keras":
            reference = timed.seconds
        yield {
            "part": part,
            "seconds": timed.seconds,
            "ratio": round(reference / timed.seconds, 2) if reference else None,
            **place.outcome(part),
            "phases": timed.phases() if part != "keras" else {},
            "command": timed.command,
            "machine": machine,
        }
    for store in place.folder.glob("features*"):
        shutil.rmtree(store)


def _command(place: Workplace, part: Part) -> list[str]:
    grid = SWEEPS[place.options.sweep]
    if part == "keras":
        return place.keras(grid)
    stores = {"store": place.store, "again": place.store, "asha": place.folder / "features-asha"}
    return place.tune(part, grid, store=stores.get(part), asha=part == "asha")


def _row(part: str, records: Sequence[dict[str, Any]]) -> list[str]:
    """Medians over the repeats; winner and accuracies of the last."""
    last = records[-1]
    seconds = statistics.median(record["seconds"] for record in records)
    ratio = statistics.median(record["ratio"] or 0 for record in records)
    accuracies = [f"{last[key]:.4f}" for key in ("valid_accuracy", "test_accuracy")]
    return [part, f"{seconds:.1f}", f"{ratio:.2f}" if ratio else "", last["winner"], *accuracies]


def _grow(options: Options, folder: Path) -> None:
    found = []
    for images in options.grow:
        machine = timing.machine()
        record = growth.grow(options, folder / f"images{images}", images)
        found.append([str(record[column]) for column in GROWTH])
        _append(options, {"kind": "growth", **record, "machine": machine})
        console.say(f"{images} images: {dict(zip(GROWTH[1:], found[-1][1:], strict=True))}")
    console.show(console.table("growth", GROWTH, found))


def _count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def _append(options: Options, record: dict[str, Any]) -> None:
    when = {"when": datetime.now(UTC).isoformat(timespec="seconds")}
    with Path(options.output).open("a") as file:
        file.write(json.dumps(when | record | {"options": asdict(options)}) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
