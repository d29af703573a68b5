"""What our winner is worth beside what is written by hand: python benchmarks/accuracy.py --data FOLDER.

All sides have the same decoded images and weights. Each runs in a process of its own and is timed from its start
to its end; those by hand are given the pixels, ours decodes them itself. Each chooses on valid and scores once on
test.

a  the article's models in plain Keras, the best of them on valid (by_hand.py, as the next two)
b  scikit-learn's logistic regression on pooled features, C chosen on valid
c  a strong script: head solved first, then all layers with AdamW, cosine, light augmentation, label smoothing
d  our sweep as it comes
e  our sweep with no more time than c took, --time-limit
"""

import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timing
import tyro
import workplace

from ray_birds.core import terminal
from ray_birds.data import dataset, decode
from ray_birds.evaluation.metrics import Estimate, wilson
from ray_birds.sweep.factors import BackboneName

BY_HAND = {"a": "article", "b": "logistic", "c": "strong"}
OURS, LIMITED = "d", "e"


@dataclass(frozen=True)
class Options:
    data: tuple[str, ...]
    """Folders with train/, valid/ and test/."""
    seeds: tuple[int, ...] = (0,)
    sides: str = "abcde"
    """Which sides to run, in this order; e after c."""
    backbone: BackboneName = "EfficientNetB0"
    weights: str = "imagenet"
    """imagenet, none or a Keras weight file without top, for all sides."""
    image_size: int = 224
    work: str = ""
    """Folder for pixels, logs and results, kept afterwards; by default a new temporary one."""

    def __post_init__(self) -> None:
        if not self.sides or set(self.sides) - {*BY_HAND, OURS, LIMITED}:
            raise SystemExit(f"error: --sides {self.sides}: expected some of abcde")
        if LIMITED in self.sides and "c" not in self.sides.partition(LIMITED)[0]:
            raise SystemExit(f"error: --sides {self.sides}: e has the time that c took; put c before it")


@dataclass(frozen=True)
class Result:
    """What one side reached with one seed."""

    data: str
    side: str
    seed: int
    winner: str
    valid: Estimate
    test: Estimate
    seconds: float

    def row(self) -> list[str]:
        scores = [f"{one.value:.4f} [{one.low:.3f}, {one.high:.3f}]" for one in (self.valid, self.test)]
        return [self.data, self.side, str(self.seed), self.winner, *scores, f"{self.seconds:.0f}"]


def main(options: Options) -> None:
    folder = Path(options.work or tempfile.mkdtemp(prefix="ray-birds-accuracy-")).resolve()
    terminal.say(f"logs and results: {folder}; machine: {json.dumps(timing.machine())}")
    timing.warm_up()
    found: list[Result] = []
    for data in options.data:
        place = folder / Path(data).resolve().name
        counts = write_pixels(data, options.image_size, place / "pixels")
        for seed in options.seeds:
            for side in options.sides:
                limit = next((f"{one.seconds:.0f}s" for one in reversed(found) if one.side == "c"), "")
                found.append(run(options, data, side, seed, place, counts, limit))
                terminal.say(" | ".join(found[-1].row()))
    columns = ("data", "side", "seed", "winner", "valid", "test", "seconds")
    terminal.show(terminal.table("Accuracy", columns, [result.row() for result in found]))
    for line in verdicts(found):
        terminal.say(line)


def write_pixels(root: str, size: int, folder: Path) -> dict[str, int]:
    """Decode all images to SPLIT-images.npy and SPLIT-labels.npy; the number of each split's.

    Unreadable images are left out, as our sweep does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, counts = dataset.scan(root), {}
    for name, split in found.splits.items():
        decoded = [decode.load(found.uri(path), size).pixels for path in split.paths]
        good = [pixels for pixels in decoded if pixels is not None]
        np.save(folder / f"{name}-images.npy", np.stack(good))
        np.save(folder / f"{name}-labels.npy", split.labels[[pixels is not None for pixels in decoded]])
        counts[name] = len(good)
    return counts


def run(
    options: Options, data: str, side: str, seed: int, place: Path, counts: dict[str, int], limit: str
) -> Result:
    """Run one side; `limit` is the time that e may take. Raises SystemExit where it fails."""
    name = f"{side}-seed{seed}"
    weights = options.weights
    shared = ["--seed", str(seed), "--backbone", options.backbone, "--image-size", str(options.image_size)]
    shared += ["--weights", weights if weights in ("imagenet", "none") else str(Path(weights).resolve())]
    if side in (OURS, LIMITED):
        command = [sys.executable, "jobs/tune.py", "--data", str(Path(data).resolve()), *shared]
        command += ["--time-limit", limit] * (side == LIMITED)
        command += ["--features-dir", str(place / f"{name}-features")]  # its own: each pays for all that it needs
        seconds = timing.run([*command, "--results", str(place), "--name", name], place / f"{name}.log").seconds
        outcome = workplace.swept(place / name)
        right = round(outcome["test_accuracy"] * counts["test"])
    else:
        output = place / f"{name}.json"
        command = [sys.executable, "benchmarks/by_hand.py", "--side", BY_HAND[side], *shared]
        command += ["--data", str(place / "pixels"), "--output", str(output)]
        seconds = timing.run(command, place / f"{name}.log").seconds
        outcome = json.loads(output.read_text(encoding="utf-8"))
        right = outcome["right"]
    valid = wilson(round(outcome["valid_accuracy"] * counts["valid"]), counts["valid"])
    return Result(place.name, side, seed, outcome["winner"], valid, wilson(right, counts["test"]), seconds)


def verdicts(found: list[Result]) -> list[str]:
    """For each data set: our test accuracy and seconds beside those by hand, means over the seeds."""
    lines = []
    for data in dict.fromkeys(result.data for result in found):
        sides = {result.side for result in found if result.data == data}
        if OURS not in sides or not sides & set(BY_HAND):
            continue
        of = {side: [one for one in found if (one.data, one.side) == (data, side)] for side in sides}
        test = {side: statistics.mean(one.test.value for one in ones) for side, ones in of.items()}
        took = {side: statistics.mean(one.seconds for one in ones) for side, ones in of.items()}
        by_hand = sides & set(BY_HAND)
        best = max(by_hand, key=lambda side: test[side])
        share = took[OURS] / sum(took[side] for side in by_hand)
        lines.append(
            f"{data}: our test accuracy {100 * (test[OURS] - test[best]):+.1f} points beside the best by hand "
            f"({best}), in {share:.2f} times their seconds together"
        )
    return lines


if __name__ == "__main__":
    main(tyro.cli(Options))
