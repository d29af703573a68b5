"""What a sweep's valid predictions say about its winner: paired tests, the spread of seeds, and both in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from ray_birds.evaluation.metrics import ALPHA, Estimate, accuracy


def mcnemar(only_first: int, only_second: int) -> float:
    """p of McNemar's test (Psychometrika 12, 1947, 153-157) in its exact form: are two models equally good?

    Only images that one of them alone has right can tell: where the models are equal, each is as likely to
    be the first's as the second's, a fair coin. 1 where there are no such images.
    """
    fewer, discordant = min(only_first, only_second), only_first + only_second
    return min(1.0, 2 * float(special.bdtr(fewer, discordant, 0.5)))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values adjusted for their number, in the given order (S. Holm, Scand. J. Statist. 6, 1979, 65-70).

    Where those below 0.05 are called different, the chance of even one wrong call is at most 5 %.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return adjusted


@dataclass(frozen=True)
class Run:
    """A trial to be compared: `correct` (n,) bool for the same images in the same order in every run.

    Runs of one `recipe` differ in their seed alone. `seconds` is what the trial cost.
    """

    name: str
    recipe: str
    seed: int
    seconds: float
    correct: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """A run against the winner: images that only one of them has right, and what McNemar's test says."""

    name: str
    seconds: float
    accuracy: Estimate
    only_winner: int
    only_this: int
    p: float
    p_holm: float

    @property
    def differs(self) -> bool:
        return self.p_holm < ALPHA


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
    """What a sweep's valid predictions say about its winner; `sentences` say it in words.

    `cheapest` is the cheapest run that costs less than the winner and is not significantly different; or None.
    """

    winner: str
    images: int
    accuracy: Estimate
    comparisons: tuple[Comparison, ...]
    spreads: tuple[Spread, ...]
    cheapest: str | None
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


def state(runs: Sequence[Run], winner: str) -> Significance:
    """Compare the run called `winner` with every other: the statement that the article lacks.

    Raises ValueError where runs are of different images or none is called `winner`.
    """
    if len({len(run.correct) for run in runs}) > 1:
        raise ValueError("runs to compare need the same images: their numbers of predictions differ")
    best = next((run for run in runs if run.name == winner), None)
    if best is None:
        raise ValueError(f"no run is called {winner!r}")
    comparisons = _compare(best, [run for run in runs if run is not best])
    spreads = _spreads(runs)
    equals = [other for other in comparisons if not other.differs]
    cheaper = [other for other in equals if other.seconds < best.seconds]
    cheapest = min(cheaper, key=lambda other: other.seconds) if cheaper else None
    score = accuracy(best.correct)
    sentences = [
        f"The winner is {winner}: valid accuracy {_percent(score.value)} (95 % interval "
        f"{_percent(score.low)} to {_percent(score.high)}, {len(best.correct):,} images).",
        *_verdict(best, comparisons, equals, cheapest),
        *_limits(runs, spreads),
    ]
    return Significance(
        winner=winner,
        images=len(best.correct),
        accuracy=score,
        comparisons=comparisons,
        spreads=spreads,
        cheapest=cheapest.name if cheapest else None,
        sentences=tuple(sentences),
    )


def _compare(best: Run, others: Sequence[Run]) -> tuple[Comparison, ...]:
    counts = [
        (
            int(np.count_nonzero(best.correct & ~other.correct)),
            int(np.count_nonzero(other.correct & ~best.correct)),
        )
        for other in others
    ]
    p_values = [mcnemar(*pair) for pair in counts]
    return tuple(
        Comparison(run.name, run.seconds, accuracy(run.correct), *pair, p, float(adjusted))
        for run, pair, p, adjusted in zip(others, counts, p_values, holm(p_values), strict=True)
    )


def _spreads(runs: Sequence[Run]) -> tuple[Spread, ...]:
    recipes: dict[str, list[float]] = {}
    for run in runs:
        recipes.setdefault(run.recipe, []).append(float(np.mean(run.correct)))
    return tuple(
        Spread(
            recipe,
            len(values),
            float(np.mean(values)),
            float(np.std(values, ddof=1)),
            min(values),
            max(values),
        )
        for recipe, values in recipes.items()
        if len(values) > 1
    )


def _verdict(
    best: Run, comparisons: Sequence[Comparison], equals: Sequence[Comparison], cheapest: Comparison | None
) -> list[str]:
    test = "McNemar's exact test, Holm's correction"
    if not comparisons:
        return ["No other variant has predictions to compare it with."]
    if not equals:
        others = "The other variant differs" if len(comparisons) == 1 else "All other variants differ"
        return [f"{others} from the winner by more than chance ({test}, p below {ALPHA:g})."]
    subject = "This is" if len(equals) == 1 else "These are"
    sentences = [
        f"{subject} not significantly different from the winner ({test}): {_list([run.name for run in equals])}."
    ]
    if cheapest is None:
        sentences.append(f"None of them is cheaper than the winner ({best.seconds:,.0f} s).")
    elif len(equals) == 1:
        sentences.append(f"It is cheaper: {cheapest.seconds:,.0f} s against {best.seconds:,.0f} s.")
    else:
        sentences.append(
            f"The cheapest of them is {cheapest.name}: {cheapest.seconds:,.0f} s against the winner's "
            f"{best.seconds:,.0f} s."
        )
    different = [run.name for run in comparisons if run.differs]
    if different:
        sentences.append(f"By more than chance the winner differs from {_list(different)}.")
    return sentences


def _limits(runs: Sequence[Run], spreads: Sequence[Spread]) -> list[str]:
    """What the test does not cover: it is about these trained models, not about their recipes."""
    sentences = []
    if spreads:
        widest = max(spreads, key=lambda spread: spread.high - spread.low)
        sentences.append(
            f"Training again with another seed alone moved valid accuracy by up to "
            f"{100 * (widest.high - widest.low):.2f} points ({widest.recipe}, {widest.seeds} seeds, "
            f"{_percent(widest.low)} to {_percent(widest.high)}): smaller differences between recipes say "
            "nothing."
        )
    single = len({run.recipe for run in runs}) - len(spreads)
    if single and spreads:
        sentences.append(f"{single} recipe(s) were trained with one seed: their spread is not known.")
    elif single:
        subject = "Each variant" if len(runs) > 1 else "It"
        sentences.append(
            f"{subject} was trained with one seed: how far its accuracy would move if it were trained again "
            "is not covered."
        )
    if len(runs) > 1:
        sentences.append(
            "The winner was chosen on these same images, so its accuracy on them flatters it; that on the "
            "test split does not."
        )
    return sentences


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _list(names: Sequence[str], most: int = 6) -> str:
    """At most `most` names, and the number of the others."""
    rest = len(names) - most
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:most])} and {rest} more"
