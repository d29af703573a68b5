"""What a sweep's valid predictions say about its winner: numbers, and the sentences that every page repeats.

The winner was picked as the best on the same images that it is judged on. So its accuracy has an interval that
counts that in, and it is compared with every other recipe as if any pair might have been compared: at most one
sweep in twenty, of recipes that are all equally good, calls any two of them different.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ray_birds.evaluation import wording
from ray_birds.evaluation.cost import Cost
from ray_birds.evaluation.leakage import HeldOut
from ray_birds.evaluation.metrics import Estimate
from ray_birds.evaluation.recipes import recipes

MARGIN = 0.01


@dataclass(frozen=True)
class Run:
    """A trial to be compared: `correct` (n,) bool for the same images in the same order in every run.

    Runs of one `recipe` differ in their seed alone. `score` is what they are ranked by, the higher the better:
    accuracy, unless given. `whole` is that of all images of valid, where `correct` is of those alone that have no
    copy in train. `loss` decides between equal ones. `head` names the solved head that is all that was
    trained of its model; empty where it was fine-tuned.
    """

    name: str
    recipe: str
    seed: int
    cost: Cost
    correct: np.ndarray
    loss: float = 0.0
    score: float | None = None
    head: str = ""
    whole: float | None = None

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.correct))

    @property
    def rank(self) -> float:
        return self.accuracy if self.score is None else self.score


@dataclass(frozen=True)
class Comparison:
    """The winner's recipe less another: `difference` of accuracy with its interval, all pairs counted in.

    `run` is the one to take a bundle of. `p` is of their being equal, adjusted likewise. `images_needed` of valid
    would tell whether the other is as good; None where seeds differ too much for any number to. `same` says that
    there is nothing to tell: it kept the same solved head, which fine-tuning did not improve.
    """

    recipe: str
    run: str
    accuracy: float
    difference: Estimate
    p: float
    images_needed: float | None
    margin: float
    cost: Cost
    same: bool

    @property
    def worse(self) -> bool:
        """By more than chance."""
        return self.difference.low > 0

    @property
    def as_good(self) -> bool:
        """Shown to be, to within the margin; or the same."""
        return self.same or (-self.margin < self.difference.low and self.difference.high < self.margin)


@dataclass(frozen=True)
class Spread:
    """Accuracy of one recipe trained with several seeds; `deviation` is the sample standard deviation."""

    recipe: str
    seeds: int
    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class Significance:
    """What a sweep's predictions say about its winner; `sentences` say all of it in words.

    `winner` is a recipe and `accuracy` its mean over seeds on `images` of valid, with an interval that counts in
    that it was chosen; `bundle` is the run that was exported, the winner's or another, `test` what that scored;
    `untested` says that there are test images, which it was not scored on; `by` is what the winner was chosen by,
    in words. With `folds` the images are those that one of so many held out, in so many `groups`. Of valid so
    many `copies` of images of train do not count, unless it holds `nothing_new` beside them; with them accuracy
    would be `whole`. `tuned` is what each recipe had picked on valid too, in words. `recommended` is the cheapest
    recipe that costs less than the winner and is shown to be as good; or None.
    """

    winner: str
    cost: Cost
    bundle: Run
    images: int
    accuracy: Estimate
    margin: float
    comparisons: tuple[Comparison, ...]
    spreads: tuple[Spread, ...]
    test: HeldOut | None
    untested: bool = False
    by: str = "accuracy"
    folds: int = 0
    groups: int = 0
    copies: int = 0
    nothing_new: bool = False
    whole: float = math.nan
    tuned: tuple[str, ...] = ()

    @property
    def recommended(self) -> Comparison | None:
        cheaper = [one for one in self.comparisons if one.as_good and one.cost.cheaper_than(self.cost)]
        return min(cheaper, key=lambda one: (one.cost.multiply_adds or 0, one.cost.total), default=None)

    @property
    def sentences(self) -> tuple[str, ...]:
        return wording.sentences(self)

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


def choose(runs: Sequence[Run]) -> Run:
    """The run to export: of the recipe with the best mean score over its seeds, the one in the middle.

    The luckiest seed would promise what the recipe does not keep. Raises ValueError where there are no runs.
    """
    if not runs:
        raise ValueError("there is no run to choose from")
    groups = _by_recipe(runs)
    best = max(groups.values(), key=lambda own: (_mean(own), -np.mean([run.loss for run in own])))
    ranked = sorted(best, key=lambda run: (run.rank, -run.loss))
    return ranked[(len(ranked) - 1) // 2]


def state(
    runs: Sequence[Run],
    bundle: str,
    margin: float = MARGIN,
    test: HeldOut | None = None,
    *,
    untested: bool = False,
    by: str = "accuracy",
    folds: int = 0,
    groups: np.ndarray | None = None,
    copies: int = 0,
    nothing_new: bool = False,
    tuned: tuple[str, ...] = (),
) -> Significance:
    """Compare the best recipe with every other: the statement that the article lacks.

    `bundle` names the run that was exported, `margin` (a share) is what counts as no difference in practice. What
    is right was said out of so many `folds`, if any; images of one of `groups` (n,) are not independent.
    `copies` of valid are not among the runs' images, unless it holds `nothing_new` beside them; `tuned` was picked
    on valid for each recipe, in words.
    Raises ValueError where runs are of different images or none is called `bundle`.
    """
    if len({len(run.correct) for run in runs}) > 1:
        raise ValueError("runs to compare need the same images: their numbers of predictions differ")
    exported = next((run for run in runs if run.name == bundle), None)
    if exported is None:
        raise ValueError(f"no run is called {bundle!r}")
    replicates = _by_recipe(runs)
    compared = recipes([run.recipe for run in runs], [run.correct for run in runs], groups)
    means = dict(zip(compared.names, compared.means, strict=True))
    # Of equally good recipes, the one that was exported.
    winner = max(replicates, key=lambda name: (_mean(replicates[name]), name == exported.recipe))
    best = compared.names.index(winner)
    costs = {name: _cost(own) for name, own in replicates.items()}
    comparisons = tuple(
        Comparison(
            name,
            choose(replicates[name]).name,
            float(means[name]),
            *compared.difference(best, number, margin),
            margin,
            costs[name],
            _same(replicates[winner], replicates[name]),
        )
        for number, name in enumerate(compared.names)
        if number != best
    )
    return Significance(
        winner=winner,
        cost=costs[winner],
        bundle=exported,
        images=compared.images,
        accuracy=compared.best(best),
        margin=margin,
        comparisons=comparisons,
        spreads=tuple(_spread(name, own) for name, own in replicates.items() if len(own) > 1),
        test=test,
        untested=untested,
        by=by,
        folds=folds,
        groups=0 if groups is None else len(np.unique(groups)),
        copies=copies,
        nothing_new=nothing_new,
        whole=float(np.mean([run.accuracy if run.whole is None else run.whole for run in replicates[winner]])),
        tuned=tuned,
    )


def _same(some: Sequence[Run], others: Sequence[Run]) -> bool:
    """Whether these runs kept the same solved heads, as their predictions confirm."""
    if {run.head for run in some} != {run.head for run in others} or not all(run.head for run in some):
        return False
    return all(
        np.array_equal(one.correct, other.correct) for one in some for other in others if one.head == other.head
    )


def _by_recipe(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.recipe, []).append(run)
    return groups


def _mean(runs: Sequence[Run]) -> float:
    return round(float(np.mean([run.rank for run in runs])), 12)


def _cost(runs: Sequence[Run]) -> Cost:
    """That of the run in the middle."""
    return sorted((run.cost for run in runs), key=lambda cost: cost.total)[(len(runs) - 1) // 2]


def _spread(recipe: str, runs: Sequence[Run]) -> Spread:
    values = [run.accuracy for run in runs]
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    return Spread(recipe, len(values), mean, deviation, min(values), max(values))
