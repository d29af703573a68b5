"""Whether what a sweep says of its winner is true, by simulation through the functions that say it.

    OMP_NUM_THREADS=1 python benchmarks/honesty.py

Predictions are drawn: a variant has an image right where a normal number, which the variants share in part (the
correlation), lies below a threshold. A row of the table is a promise, what was found, and what the first version
of ray-birds did. A promise is kept where what was found is within three standard errors of it (a row has up to 18
such figures); else the exit code is 1. Five minutes on two idle cores; each row's function is a test too, smaller.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import Pool
from typing import NamedTuple

import numpy as np
from scipy import special

from ray_birds.evaluation import calibration, metrics
from ray_birds.evaluation.cost import Cost
from ray_birds.evaluation.significance import Run, choose, state

CORRELATIONS = (0.5, 0.8, 0.95)
IMAGES = ((120, 0.9), (263, 0.65), (2000, 0.98))  # of valid, with the variants' accuracy


def drawn(
    random: np.random.Generator, accuracy: Sequence[float], images: int, correlation: float, seeds: int = 1
) -> np.ndarray:
    """(variants, seeds, images) bool. Seeds of a variant share half of what variants do not."""
    shape = len(accuracy), seeds, images
    common, own, rest = correlation, (1 - correlation) / 2 * (seeds > 1), 1 - correlation
    score = np.sqrt(common) * random.standard_normal(images)
    score = score + np.sqrt(own) * random.standard_normal((shape[0], 1, images))
    score = score + np.sqrt(rest - own) * random.standard_normal(shape)
    return score < special.ndtri(np.asarray(accuracy))[:, None, None]


def runs_of(correct: np.ndarray, seconds: Sequence[float] = ()) -> list[Run]:
    """Of (variants, seeds, images); `seconds` by variant."""
    several = correct.shape[1] > 1
    return [
        Run(f"v{v}-seed{s}" if several else f"v{v}", f"v{v}", s, Cost(seconds[v] if seconds else 1.0), own)
        for v, seeds in enumerate(correct)
        for s, own in enumerate(seeds)
    ]


def equal_variants(
    variants: int, correlation: float, images: int, accuracy: float, sweeps: int, seed: int = 0
) -> dict[str, float]:
    """Shares of sweeps of equally good variants: one is called different; the interval holds the truth."""
    random = np.random.default_rng(seed)
    different = holds = 0
    for _ in range(sweeps):
        runs = runs_of(drawn(random, [accuracy] * variants, images, correlation))
        found = state(runs, choose(runs).name)
        different += any(one.worse for one in found.comparisons)
        holds += found.accuracy.low <= accuracy <= found.accuracy.high
    return {"called different": different / sweeps, "interval holds": holds / sweeps}


def power(variants: int, correlation: float, images: int, sweeps: int, seed: int = 0) -> dict[str, float]:
    """One variant is truly better by 10 points: share of the others found to be worse, and by Bonferroni's."""
    random = np.random.default_rng(seed)
    accuracy = [0.85, *[0.75] * (variants - 1)]
    pairs = variants * (variants - 1) / 2
    found = bonferroni = 0
    for _ in range(sweeps):
        correct = drawn(random, accuracy, images, correlation)
        runs = runs_of(correct)
        said = state(runs, choose(runs).name)
        if said.winner != "v0":
            continue
        found += sum(one.worse for one in said.comparisons)
        best, others = correct[0, 0], correct[1:, 0]
        p = mcnemar((best & ~others).sum(axis=1), (~best & others).sum(axis=1))
        bonferroni += int((p <= metrics.ALPHA / pairs).sum())
    total = sweeps * (variants - 1)
    return {"found": found / total, "by Bonferroni": bonferroni / total}


def mcnemar(only_first: np.ndarray, only_second: np.ndarray) -> np.ndarray:
    """(n,) p of McNemar's exact test (Psychometrika 12, 1947, 153-157), of images that one alone has right."""
    fewer, discordant = np.minimum(only_first, only_second), only_first + only_second
    return np.asarray(np.minimum(1.0, 2 * special.bdtr(fewer, discordant, 0.5)))


def recommended(images: int, sweeps: int, worse: float = 0.05, seed: int = 0) -> float:
    """Share of sweeps that recommend a cheaper variant which is truly worse by `worse`; five others are good."""
    random = np.random.default_rng(seed)
    accuracy = [0.85] * 5 + [0.85 - worse]
    wrong = 0
    for _ in range(sweeps):
        runs = runs_of(drawn(random, accuracy, images, 0.8), [100.0] * 5 + [10.0])
        advice = state(runs, choose(runs).name).recommended
        wrong += advice is not None and advice.recipe == "v5"
    return wrong / sweeps


def equal_recipes(by_seed: Sequence[float], seeds: int, images: int, sweeps: int, seed: int = 0) -> float:
    """Share of sweeps of equally good recipes that call any different; seeds move thresholds by `by_seed` (k,)."""
    random = np.random.default_rng(seed)
    moved = np.asarray(by_seed)[:, None]
    middle = special.ndtri(0.85) * np.sqrt(1 + moved**2)  # equally accurate on average
    wrong = 0
    for _ in range(sweeps):
        shift = middle + moved * random.standard_normal((len(by_seed), seeds))
        correct = drawn(random, special.ndtr(shift).ravel(), images, 0.6).reshape(len(by_seed), seeds, images)
        runs = runs_of(correct)
        wrong += any(one.worse for one in state(runs, choose(runs).name).comparisons)
    return wrong / sweeps


def macro_f1(classes: int, each: int, tries: int, seed: int = 0) -> dict[str, float]:
    """Share of the tries that give macro F1 an interval; of those, the share whose interval holds the truth."""
    random = np.random.default_rng(seed)

    def matrix(images: int) -> np.ndarray:
        labels = np.repeat(np.arange(classes), images)
        wrong = random.random(len(labels)) > np.linspace(0.5, 0.95, classes)[labels]
        taken = (labels + random.integers(1, min(classes, 6), len(labels))) % classes
        return metrics.confusion(labels, np.where(wrong, taken, labels), classes)

    truth = metrics.macro_f1(matrix(2000), resamples=2).value
    found = [metrics.macro_f1(matrix(each), resamples=200, seed=number) for number in range(tries)]
    said = [one for one in found if not np.isnan(one.low)]
    holds = np.mean([one.low <= truth <= one.high for one in said]) if said else np.nan
    return {"with interval": len(said) / tries, "interval holds": float(holds)}


def perfect_calibration(images: int, tries: int, seed: int = 0) -> float:
    """Share of perfectly calibrated models whose certainty is said to be off."""
    random = np.random.default_rng(seed)
    wrong = 0
    for _ in range(tries):
        probability = 0.3 + 0.7 * random.beta(3, 1, images)
        seen = calibration.certainty(probability, random.random(images) < probability)
        wrong += calibration.calibrate(seen).off
    return wrong / tries


class Found(NamedTuple):
    """What a simulation found, and whether the promise is kept."""

    text: str
    kept: bool


class Row(NamedTuple):
    said: str
    promise: str
    simulate: Callable[[], Found]
    before: str = ""  # what the first version did


SEEDS = {  # how far seeds move the threshold of each of four recipes; 0.05 is a point of accuracy, 0.3 seven
    "nothing": (0.0, 0.0, 0.0, 0.0),
    "1 point": (0.05, 0.05, 0.05, 0.05),
    "7 points": (0.3, 0.3, 0.3, 0.3),
    "2 recipes 2 points, 2 nothing": (0.0, 0.0, 0.1, 0.1),
    "1 recipe 7 points, 3 1 point": (0.05, 0.05, 0.05, 0.3),
}


def rows(sweeps: int) -> list[Row]:
    equal = {2: (sweeps, ""), 6: (sweeps, "4.6 to 8.5 %"), 12: (sweeps, "9.9 to 11.9 %; 80 to 93 %")}
    equal |= {24: (sweeps // 2, "12 to 20 %; 69 to 89 %"), 48: (sweeps // 5, "")}
    worse = {120: "70 %", 263: "56 %"}
    macro = {1: ("0 %", "100 %; 17 to 34 %"), 5: ("100 %; 95 %", ""), 20: ("100 %; 95 %", "")}
    return [
        *(
            Row(
                f"{k} equal variants: one differs; interval holds", "5 %; 95 %", partial(_equal, k, number), before
            )
            for k, (number, before) in equal.items()
        ),
        *(
            Row(f"1 of {k} is better: found; by Bonferroni", "not below", partial(_power, k, sweeps // 5))
            for k in (6, 24)
        ),
        *(
            Row(f"5 points worse, {n} images: recommended", "5 %", partial(_recommended, n, sweeps), before)
            for n, before in worse.items()
        ),
        *(
            Row(
                f"4 equal recipes x 3 seeds that move {moved}: one differs",
                "5 %",
                partial(_seeds, by_seed, sweeps),
                "98.5 %" if moved == "7 points" else "",
            )
            for moved, by_seed in SEEDS.items()
        ),
        *(
            Row(
                f"macro F1, {each} images a class: has interval; holds",
                promise,
                partial(_macro, each, 400),
                before,
            )
            for each, (promise, before) in macro.items()
        ),
        Row("perfectly calibrated: said to be off", "5 %", partial(_calibrated, sweeps // 2)),
    ]


def _error(promise: float, tries: int) -> float:
    """Three standard errors of a share."""
    return 3 * float(np.sqrt(promise * (1 - promise) / tries))


def _seldom(shares: Sequence[float], tries: int) -> bool:
    """Whether none of these is above 5 %."""
    return max(shares) <= metrics.ALPHA + _error(metrics.ALPHA, tries)


def _range(values: Sequence[float]) -> str:
    low, high = (f"{100 * end:.1f}" for end in (min(values), max(values)))
    return f"{low} to {high} % (mean {100 * np.mean(values):.1f})" if low != high else f"{low} %"


def _equal(variants: int, sweeps: int) -> Found:
    cells = [(correlation, *images) for correlation in CORRELATIONS for images in IMAGES]
    found = [equal_variants(variants, *cell, sweeps, seed) for seed, cell in enumerate(cells)]
    wrong, holds = ([one[key] for one in found] for key in found[0])
    missed = [1 - share for share in holds]
    return Found(f"{_range(wrong)}; {_range(holds)}", _seldom([*wrong, *missed], sweeps))


def _power(variants: int, sweeps: int) -> Found:
    found = [power(variants, correlation, 263, sweeps, seed) for seed, correlation in enumerate(CORRELATIONS)]
    text = "; ".join(f"{100 * one['found']:.1f} : {100 * one['by Bonferroni']:.1f} %" for one in found)
    return Found(text, all(one["found"] >= one["by Bonferroni"] for one in found))


def _recommended(images: int, sweeps: int) -> Found:
    share = recommended(images, sweeps)
    return Found(_range([share]), _seldom([share], sweeps))


def _seeds(by_seed: Sequence[float], sweeps: int) -> Found:
    shares = [equal_recipes(by_seed, 3, images, sweeps) for images in (263, 2000)]
    return Found(_range(shares), _seldom(shares, sweeps))


def _macro(each: int, tries: int) -> Found:
    found = macro_f1(100, each, tries)
    text = f"{100 * found['with interval']:.0f} %; {100 * found['interval holds']:.1f} %"
    if each < metrics.FEW:
        return Found(text, found["with interval"] == 0)
    holds = _seldom([1 - found["interval holds"]], tries)
    return Found(text, found["with interval"] == 1 and holds)


def _calibrated(tries: int) -> Found:
    shares = [perfect_calibration(images, tries) for images in (120, 2000)]
    return Found(_range(shares), _seldom(shares, tries))


def _timed(row: Row) -> tuple[Found, float]:
    start = time.process_time()
    return row.simulate(), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1500, help="sweeps of a cell")
    table = rows(parser.parse_args().sweeps)
    start, spent, kept = time.monotonic(), 0.0, True
    print("| what is said | promise | found | kept | before | CPU seconds |\n|---|---|---|---|---|---|")
    with Pool(2) as pool:
        for row, (found, seconds) in zip(table, pool.imap(_timed, table, chunksize=1), strict=True):
            spent, kept = spent + seconds, kept and found.kept
            cells = (
                row.said,
                row.promise,
                found.text,
                "yes" if found.kept else "NO",
                row.before,
                f"{seconds:.0f}",
            )
            print(f"| {' | '.join(cells)} |", flush=True)
    print(f"{spent:.0f} CPU seconds, {time.monotonic() - start:.0f} s on two processes")
    raise SystemExit(not kept)


if __name__ == "__main__":
    main()
