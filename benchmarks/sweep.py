"""Time our sweep against plain Keras: python benchmarks/sweep.py --sweep heads, or: pair depths all.

Every part runs in a process of its own and is timed from its start to its end, everything included: imports,
Ray's start, inspecting the images, the winner's bundle and its test score. Images are drawn, and libraries
read from disk once, before the first part starts.
"""

import json
import shutil
import signal
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import growth
import timing
import tyro
from options import SWEEPS, Options, Part, SweepName
from workplace import KERAS, Workplace, prepare

from ray_birds.core import terminal

GROWTH = ("images", "materialise", "rss_anon_mb", "extra_rate", "direct_trial", "share")


def main(options: Options) -> None:
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    folder = Path(options.work or tempfile.mkdtemp(prefix="ray-birds-benchmark-")).resolve()
    terminal.say(f"logs and results: {folder}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part that runs is stopped too
    timing.warm_up()
    if options.grow:
        _grow(options, folder)
    else:
        _sweep(options, folder)


def _sweep(options: Options, folder: Path) -> None:
    uri = prepare(options, folder, options.images)
    images = {split: _count(uri.data / split) for split in ("train", "valid", "test")}
    found: dict[tuple[SweepName, Part], list[dict[str, Any]]] = defaultdict(list)
    for repeat in range(options.repeat):
        for record in _measure(replace(uri, folder=folder / f"run{repeat}")):
            found[record["sweep"], record["part"]].append(record)
            _append(options, {"kind": "sweep", "repeat": repeat, "images": images} | record)
            terminal.say(
                f"{record['sweep']}, {record['part']}: {record['seconds']:.1f} s {record['phases'] or ''}"
            )
    columns = ("sweep", "part", "seconds", "ratio", "winner", "valid accuracy", "test accuracy")
    terminal.show(terminal.table("sweep", columns, [_row(*which, records) for which, records in found.items()]))


def _measure(uri: Workplace) -> Iterator[dict[str, Any]]:
    """A record per sweep and part; `ratio`: plain Keras's seconds over the part's, None where it was not run."""
    sweeps, parts = uri.options.sweep, uri.options.parts
    plain: dict[str, Any] = {}
    if KERAS in parts:
        plain = _part(uri, sweeps[-1], KERAS)
        yield plain
    for sweep in sweeps:
        for part in parts:
            if part != KERAS:
                record = _part(uri, sweep, part)
                yield record | ({"ratio": round(_without(plain, sweep) / record["seconds"], 2)} if plain else {})
        for store in uri.folder.glob("features*"):
            shutil.rmtree(store)


def _part(uri: Workplace, sweep: SweepName, part: Part) -> dict[str, Any]:
    machine, name = timing.machine(), part if part == KERAS else f"{sweep}-{part}"
    timed = timing.run(_command(uri, sweep, part, name), uri.log(name))
    return {
        "sweep": sweep,
        "part": part,
        "seconds": timed.seconds,
        "ratio": None,
        **uri.outcome(name),
        "phases": timed.phases() if part != KERAS else {},
        "command": timed.command,
        "machine": machine,
    }


def _without(plain: dict[str, Any], sweep: SweepName) -> float:
    """Seconds that plain Keras takes for a sweep: of its variants, one after another, and of its start and end."""
    wanted = SWEEPS[sweep].names()
    return plain["seconds"] - sum(seconds for name, seconds in plain["trials"].items() if name not in wanted)


def _command(uri: Workplace, sweep: SweepName, part: Part, name: str) -> list[str]:
    grid = SWEEPS[sweep]
    if part == KERAS:
        return uri.keras(grid)
    stores = {"store": uri.store, "again": uri.store, "asha": uri.folder / "features-asha"}
    return uri.tune(name, grid, store=stores.get(part), asha=part == "asha")


def _row(sweep: str, part: str, records: Sequence[dict[str, Any]]) -> list[str]:
    """Medians over the repeats; winner and accuracies of the last."""
    last = records[-1]
    seconds = statistics.median(record["seconds"] for record in records)
    ratio = statistics.median(record["ratio"] or 0 for record in records)
    accuracies = [f"{last[key]:.4f}" for key in ("valid_accuracy", "test_accuracy")]
    return [sweep, part, f"{seconds:.1f}", f"{ratio:.2f}" if ratio else "", last["winner"], *accuracies]


def _grow(options: Options, folder: Path) -> None:
    found = []
    for images in options.grow:
        machine = timing.machine()
        record = growth.grow(options, folder / f"images{images}", images)
        found.append([str(record[column]) for column in GROWTH])
        _append(options, {"kind": "growth", **record, "machine": machine})
        terminal.say(f"{images} images: {dict(zip(GROWTH[1:], found[-1][1:], strict=True))}")
    terminal.show(terminal.table("growth", GROWTH, found))


def _count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def _append(options: Options, record: dict[str, Any]) -> None:
    when = {"when": datetime.now(UTC).isoformat(timespec="seconds")}
    with Path(options.output).open("a", encoding="utf-8") as file:
        file.write(json.dumps(when | record | {"options": asdict(options)}) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
