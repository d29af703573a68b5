"""What bringing predictions up to date costs: python benchmarks/update.py --model results/first/best.

A folder of `--files` links to drawn birds, of which `--new` come and `--changed` lead elsewhere after the first
job: the seconds of that job, of the update and of a job from scratch on the same files, and how far the rows of
the last two differ. An image's place in its batch decides how TensorFlow adds its numbers up, so these may differ
in the last digits; all else must be equal, the order too.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro
from workplace import ROOT

from ray_birds.core import terminal
from ray_birds.demo.birds import draw_dataset

_EXACT = 1e-6  # of a probability


@dataclass(frozen=True)
class Options:
    model: str
    files: int = 50_000
    """Links in the end."""
    new: int = 500
    changed: int = 50
    work: str = ""
    """Folder to work in; by default a temporary one."""


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as name:
        measure(options, Path(options.work or name))


def measure(options: Options, folder: Path) -> None:
    images = folder / "images"
    sources = sorted(draw_dataset(folder / "birds", train=40, valid=4, test=4).rglob("*.jpg"))
    images.mkdir()
    chance = np.random.default_rng(0)
    added = set(chance.choice(options.files, options.new, replace=False).tolist())
    first = [number for number in range(options.files) if number not in added]
    for number in first:
        _link(images, number, sources[number % len(sources)])
    before = _predict(options, images, folder / "updated")
    for number in added:
        _link(images, number, sources[number % len(sources)])
    for number in chance.choice(first, options.changed, replace=False).tolist():
        _link(images, number, sources[(number + 1) % len(sources)])
    update = _predict(options, images, folder / "updated", "--update")
    scratch = _predict(options, images, folder / "scratch")
    counts = json.loads((folder / "updated/_manifest.json").read_text(encoding="utf-8"))["update"]
    rows = [("first", f"{before:.1f}"), ("update", f"{update:.1f}"), ("from scratch", f"{scratch:.1f}")]
    terminal.show(terminal.table(f"{options.files:,} files", ("job", "seconds"), rows))
    terminal.say(f"update: {counts}")
    terminal.say(_compare(folder / "updated", folder / "scratch"))


def _link(images: Path, number: int, source: Path) -> None:
    link = images / f"{number % 100:02}" / f"{number:06}.jpg"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(source)


def _predict(options: Options, images: Path, output: Path, *more: str) -> float:
    words = ["--model", options.model, "--input", str(images), "--output", str(output), "--probabilities", *more]
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "jobs/predict.py", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {done.stdout[-2000:]}{done.stderr}")
    terminal.say(done.stdout.strip())
    return time.monotonic() - begin


def _compare(updated: Path, scratch: Path) -> str:
    """What is to be said of the rows of both outputs. Raises SystemExit where more than last digits differ."""
    left, right = (_flat(pd.read_parquet(uri)) for uri in (updated, scratch))
    numbers = [name for name in left if left[name].dtype.kind == "f"]
    if not left.drop(columns=numbers).equals(right.drop(columns=numbers)):
        raise SystemExit("error: the rows differ")
    if not left[numbers].isna().equals(right[numbers].isna()):
        raise SystemExit("error: the rows differ in what they hold no number for")
    furthest = max(float((left[name] - right[name]).abs().max()) for name in numbers)
    if furthest > _EXACT:
        raise SystemExit(f"error: the rows differ by {furthest:.1e}")
    same = int((left == right)[numbers].all(axis=1).sum())
    return (
        f"{len(left):,} rows in the same order, equal in every column; numbers differ by {furthest:.1e} at most, "
        f"in {len(left) - same:,} rows"
    )


def _flat(rows: pd.DataFrame) -> pd.DataFrame:
    """The lists in columns of their own."""
    flat: dict[str, Any] = {}
    for name in ("top_k", "probabilities"):
        for place in range(len(rows[name].iloc[0])):
            flat[f"{name}{place}"] = [values[place] for values in rows[name]]
    for name in [one for one in flat if one.startswith("top_k")]:
        choices = flat.pop(name)
        flat |= {f"{name}-{key}": [choice[key] for choice in choices] for key in ("label", "probability")}
    return pd.concat([rows.drop(columns=["top_k", "probabilities"]), pd.DataFrame(flat)], axis=1)


if __name__ == "__main__":
    main(tyro.cli(Options))
