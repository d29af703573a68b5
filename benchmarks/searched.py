"""Whether what is said of a winner holds where --search optuna chose the variants by scores on the same images.

    python benchmarks/searched.py --sweeps 400

By simulation: 54 recipes that are all equally good, whose mistakes are the more alike the more values they share;
16 of them are tried, drawn at random or as the sweep's own search suggests. Promised are 95 % for the interval of
the best one's accuracy, and at most 5 % of sweeps in which it is called better than another.
"""

import argparse
import tempfile

import numpy as np
from scipy.special import ndtri

from ray_birds.config import TuneConfig
from ray_birds.data.dataset import Dataset
from ray_birds.evaluation.recipes import recipes
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.plan import Plan, variants
from ray_birds.sweep.search import SCORE, Untried, space

TRIED, IMAGES, ACCURACY = 16, 263, 0.85
SHARED, OWN = 0.6, 0.1  # of the variance of how hard an image is: for all recipes, for one; the rest by its values
FACTORS = {
    "unfreeze": (10, 20, 30),
    "learning_rate": (1e-4, 1e-3, 1e-2),
    "dropout": (0.0, 0.2, 0.4),
    "label_smoothing": (0.0, 0.1),
}

Correct = dict[str, np.ndarray]  # (images,) bool by trial


def planned(seed: int) -> Plan:
    config = TuneConfig(augment=("off",), search="optuna", samples=TRIED, seed=(seed,), **FACTORS)
    directory, data = SweepDirectory(tempfile.gettempdir()), Dataset("", ("A", "B"), {})
    return Plan(config, directory, "", data, {}, {}, variants(config), frozenset(), threads=1, alone=1, gpus=0.0)


def drawn(plan: Plan, random: np.random.Generator) -> Correct:
    """Which images each variant has right."""

    def hard(variance: float) -> np.ndarray:
        return random.normal(scale=np.sqrt(variance), size=IMAGES)

    base, share = hard(SHARED), (1 - SHARED - OWN) / len(FACTORS)
    by_value = {(name, value): hard(share) for name, values in FACTORS.items() for value in values}
    return {
        name: base + sum(by_value[factor, one.values[factor]] for factor in FACTORS) + hard(OWN) < ndtri(ACCURACY)
        for name, one in plan.variants.items()
    }


def searched(plan: Plan, correct: Correct) -> list[str]:
    """The trials that the search asks for, one after the other."""
    search, names = Untried(plan), []
    search.set_search_properties(None, None, space(plan))
    for number in range(TRIED):
        names.append(plan.name(search.suggest(str(number))))
        search.on_trial_complete(str(number), {SCORE: float(correct[names[-1]].mean())})
    return names


def kept(names: list[str], correct: Correct) -> tuple[bool, bool]:
    """Whether the best one's interval holds the accuracy, and whether it is called better than none."""
    found = recipes(names, [correct[name] for name in names])
    best = int(np.argmax(found.means))
    interval = found.best(best)
    others = (found.difference(best, other, 0.01) for other in range(len(names)) if other != best)
    return interval.low <= ACCURACY <= interval.high, not any(one.estimate.low > 0 for one in others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=400)
    given = parser.parse_args()
    counts: dict[str, list[tuple[bool, bool]]] = {"at random": [], "by the search": []}
    for seed in range(given.sweeps):
        plan, random = planned(seed), np.random.default_rng(seed)
        correct = drawn(plan, random)
        counts["at random"].append(kept([*random.choice([*correct], TRIED, replace=False)], correct))
        counts["by the search"].append(kept(searched(plan, correct), correct))
    for how, found in counts.items():
        covered, quiet = np.mean(found, axis=0)
        print(f"{how}: the interval holds {covered:.3f}, better than an equal {1 - quiet:.3f}")


if __name__ == "__main__":
    main()
