"""The statement on a sweep: its tests against scipy and statsmodels, and the article's own figures."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from ray_birds.evaluation.metrics import accuracy
from ray_birds.evaluation.significance import Run, holm, mcnemar, state
from tests.evaluation.test_metrics import IMAGES, PLAIN


def _run(name: str, correct: np.ndarray, seconds: float = 100.0, recipe: str = "", seed: int = 0) -> Run:
    return Run(name, recipe or name, seed, seconds, correct)


def _first(right: int, total: int = IMAGES) -> np.ndarray:
    return np.arange(total) < right


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 9), (20, 20), (5, 40)])
def test_mcnemar_equals_statsmodels(first: int, second: int) -> None:
    expected = statsmodels_mcnemar([[50, first], [second, 10]], exact=True).pvalue
    assert mcnemar(first, second) == pytest.approx(expected)


def test_holm_equals_statsmodels_on_seeded_families() -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 5, 17):
        p = rng.random(size) ** 3
        expected = multipletests(p, method="holm")[1] if size else np.empty(0)
        assert holm(p) == pytest.approx(expected)


@pytest.mark.parametrize("discordant", [1, 3, 9, 61])
def test_the_articles_two_best_models_cannot_be_told_apart(discordant: int) -> None:
    """One net image, whichever number of images only one of them has right (61: no error is shared)."""
    plain, deep = _first(PLAIN), _first(PLAIN)
    only_plain = discordant // 2
    deep[PLAIN - only_plain : PLAIN] = False
    deep[PLAIN : PLAIN + discordant - only_plain] = True
    assert (plain.mean(), deep.mean()) == (0.9845, 0.9850)
    said = state([_run("plain", plain, 57), _run("deep", deep, 219)], "deep")
    (comparison,) = said.comparisons
    assert comparison.only_winner - comparison.only_this == 1
    assert comparison.only_winner + comparison.only_this == discordant
    assert comparison.p == pytest.approx(1.0) and not comparison.differs
    assert said.cheapest == "plain"
    assert "is not significantly different from the winner" in said.text


def test_identical_models_are_the_same_and_the_cheapest_is_named() -> None:
    correct = np.random.default_rng(0).random(500) < 0.7
    runs = [
        _run("a", correct, 300),
        _run("b", correct, 200),
        _run("c", correct, 100),
        _run("d", correct, 400),
    ]
    said = state(runs, "a")
    assert [c.p_holm for c in said.comparisons] == [1.0, 1.0, 1.0]
    assert said.cheapest == "c"
    assert "These are not significantly different from the winner" in said.text
    assert "b, c, d" in said.text
    assert "The cheapest of them is c: 100 s against the winner's 300 s." in said.text


def test_one_clearly_better() -> None:
    rng = np.random.default_rng(1)
    good, bad = rng.random(500) < 0.9, rng.random(500) < 0.6
    said = state([_run("bad", bad, 1), _run("good", good, 2)], "good")
    assert said.comparisons[0].differs and said.cheapest is None
    assert said.accuracy == accuracy(good)
    assert "cannot be told" not in said.text
    assert "differs from the winner by more than chance" in said.text


def _flipped(correct: np.ndarray, lost: int, won: int) -> np.ndarray:
    """`correct` with its first `lost` right images wrong and its first `won` wrong ones right."""
    changed = correct.copy()
    changed[np.flatnonzero(correct)[:lost]] = False
    changed[np.flatnonzero(~correct)[:won]] = True
    return changed


def test_two_of_five_differ_and_holm_decides_one_of_them() -> None:
    best = _first(800, 1000)
    others = {"far": (40, 5), "near": (12, 4), "lucky": (20, 8), "same": (0, 0), "less": (30, 6)}
    runs = [_run("best", best, 500), *(_run(name, _flipped(best, *pair)) for name, pair in others.items())]
    comparisons = {c.name: c for c in state(runs, "best").comparisons}
    assert {name: (c.only_winner, c.only_this) for name, c in comparisons.items()} == others
    p = {name: stats.binomtest(pair[0], sum(pair)).pvalue if sum(pair) else 1.0 for name, pair in others.items()}
    adjusted = dict(zip(p, multipletests(list(p.values()), method="holm")[1], strict=True))
    assert {name: c.p_holm for name, c in comparisons.items()} == pytest.approx(adjusted)
    assert {name for name, c in comparisons.items() if c.differs} == {"far", "less"}
    assert comparisons["lucky"].p < 0.05 < comparisons["lucky"].p_holm
    text = state(runs, "best").text
    assert (
        "are not significantly different from the winner (McNemar's exact test, Holm's correction): near, lucky"
        in text
    )
    assert "differs from far, less" in text


def test_replicates_give_the_spread_of_training() -> None:
    counts = {("one", 0): 1938, ("one", 1): 1947, ("two", 0): 1944, ("two", 1): 1945, ("three", 0): 1900}
    runs = [
        _run(f"{recipe}-seed{seed}", _first(right), 10, recipe, seed) for (recipe, seed), right in counts.items()
    ]
    said = state(runs, "one-seed1")
    one, two = said.spreads
    assert (one.recipe, one.seeds, one.low, one.high) == ("one", 2, 0.969, 0.9735)
    assert one.deviation == pytest.approx(np.std([0.969, 0.9735], ddof=1))
    assert two.mean == pytest.approx(0.97225)
    assert "up to 0.45 points (one, 2 seeds, 96.90 % to 97.35 %)" in said.text
    assert "1 recipe(s) were trained with one seed" in said.text


def test_one_seed_says_what_it_does_not_cover() -> None:
    said = state([_run("a", _first(90, 100)), _run("b", _first(80, 100))], "a")
    assert said.spreads == ()
    assert "trained with one seed" in said.text


def test_one_variant_has_nothing_to_be_compared_with() -> None:
    said = state([_run("only", _first(90, 100))], "only")
    assert said.comparisons == () and said.cheapest is None
    assert "No other variant" in said.text
    assert "chosen on these same images" not in said.text


def test_many_equal_names_are_counted_not_all_listed() -> None:
    runs = [_run(f"t{number}", _first(90, 100)) for number in range(10)]
    assert "t1, t2, t3, t4, t5, t6 and 3 more" in state(runs, "t0").text


def test_runs_on_other_images_and_an_unknown_winner_are_refused() -> None:
    with pytest.raises(ValueError, match="same images"):
        state([_run("a", _first(5, 10)), _run("b", _first(5, 11))], "a")
    with pytest.raises(ValueError, match="'c'"):
        state([_run("a", _first(5, 10))], "c")
