"""What is said of a sweep's winner: true of equal variants in nineteen sweeps of twenty; and of the article's."""

import dataclasses

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.libqsturng import qsturng

from ray_birds.evaluation.cost import Cost
from ray_birds.evaluation.leakage import held_out
from ray_birds.evaluation.metrics import wilson
from ray_birds.evaluation.recipes import recipes
from ray_birds.evaluation.significance import Run, Significance, choose, state
from tests.conftest import benchmark
from tests.evaluation.test_metrics import IMAGES, PLAIN

honesty = benchmark("honesty")


def run(name: str, correct: np.ndarray, seconds: float = 100.0, recipe: str = "", seed: int = 0) -> Run:
    return Run(name, recipe or name, seed, Cost(seconds), correct)


def first(right: int, total: int = IMAGES) -> np.ndarray:
    return np.arange(total) < right


def flipped(correct: np.ndarray, lost: int, won: int) -> np.ndarray:
    """`correct` with its first `lost` right images wrong and its first `won` wrong ones right."""
    changed = correct.copy()
    changed[np.flatnonzero(correct)[:lost]] = False
    changed[np.flatnonzero(~correct)[:won]] = True
    return changed


def by_recipe(found: Significance) -> dict[str, tuple[bool, bool]]:
    return {one.recipe: (one.worse, one.as_good) for one in found.comparisons}


@pytest.mark.parametrize("variants", [2, 6, 24])
def test_the_critical_value_is_tukeys_where_variants_err_alike(variants: int) -> None:
    """Accuracies that err equally and on images of their own: the studentised range."""
    correct = np.ones((variants, 100 * variants), bool)
    for number in range(variants):
        correct[number, 100 * number : 100 * number + 50] = False
    names = [str(number) for number in range(variants)]
    compared = recipes(names, list(correct))
    difference = compared.difference(0, 1, 0.01).estimate
    paired = correct[0].astype(float) - correct[1]
    images = len(paired) + 2
    error = np.sqrt((paired @ paired + 2) / images / images)  # Bonett and Price, of no difference
    critical = (difference.high - difference.low) / 2 / error
    assert critical == pytest.approx(qsturng(0.95, variants, np.inf) / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize(("one", "two", "worse"), [(6, 0, True), (5, 0, False), (8, 1, True), (7, 1, False)])
def test_two_variants_differ_where_mcnemars_exact_test_says_so(one: int, two: int, worse: bool) -> None:
    best = first(100, 120)
    (found,) = state([run("a", best), run("b", flipped(best, one, two))], "a").comparisons
    exact = mcnemar([[100 - one, one], [two, 20 - two]], exact=True).pvalue
    assert found.worse == worse == (exact < 0.05) == (found.p < 0.05)


def test_the_articles_two_best_models_are_not_told_apart() -> None:
    deep, plain = first(PLAIN + 1), flipped(first(PLAIN + 1), 5, 4)
    assert (deep.mean(), plain.mean()) == (0.9850, 0.9845)
    found = state([run("plain", plain, 57), run("deep", deep, 219)], "deep")
    assert by_recipe(found) == {"plain": (False, True)}
    assert found.recommended is not None and found.recommended.recipe == "plain"
    assert "plain is shown to be as good and cheaper: 57 s of training instead of 3.6 min" in found.text


def test_few_images_show_nothing_and_how_many_would_is_said() -> None:
    best = first(90, 120)
    found = state([run("best", best, 500), run("cheap", flipped(best, 6, 5), 10)], "best")
    assert by_recipe(found) == {"cheap": (False, False)} and found.recommended is None
    (cheap,) = found.comparisons
    assert cheap.images_needed is not None
    assert (
        "Too few images to say whether as good, to within 1 point: cheap (behind by 0.8 points, interval"
        in found.text
    )
    assert f"About {float(f'{cheap.images_needed:.2g}'):,.0f} valid images would tell." in found.text
    assert "No cheaper variant is shown to be as good." in found.text


@pytest.mark.parametrize("lost", [6, 60])
def test_as_many_images_as_were_said_to_be_needed_do_tell(lost: int) -> None:
    best = first(1000, 1200)
    (few,) = state([run("a", best), run("b", flipped(best, lost, 5))], "a").comparisons
    assert few.images_needed is not None
    times = int(few.images_needed / 1200) + 1
    (many,) = state(
        [run(n, np.tile(x, times)) for n, x in (("a", best), ("b", flipped(best, lost, 5)))], "a"
    ).comparisons
    assert many.worse or many.as_good


def test_variants_that_kept_the_same_head_are_the_same_model() -> None:
    best = first(90, 120)
    runs = [
        dataclasses.replace(run("plain", best, seconds=50), head="h"),
        dataclasses.replace(run("plain10", best, seconds=80), head="h"),
        run("aug10", flipped(best, 40, 0)),
        run("tuned", best, seconds=90),  # it happens to be right on the same images
    ]
    found = state(runs, "plain")
    assert {one.recipe: one.same for one in found.comparisons} == {"plain10": True, "aug10": False, "tuned": False}
    assert "better than aug10 (by 33.3 points" in found.text
    assert "plain10 is the same model: the solved head that all" in found.text
    assert "to within 1 point: tuned (level, interval -" in found.text
    assert "plain is shown to be as good and cheaper" in state(runs, "plain10").text
    alone = state(runs[:2], "plain").text
    assert "is not shown to be better" not in alone and "valid images would tell" not in alone
    other = [runs[0], dataclasses.replace(runs[1], head="g"), *runs[2:]]
    assert not any(one.same for one in state(other, "plain").comparisons)


def test_a_wider_margin_makes_more_as_good_and_is_printed() -> None:
    best = first(900, 1000)
    runs = [run("a", best), run("b", flipped(best, 12, 10))]
    assert not state(runs, "a", 0.01).comparisons[0].as_good
    found = state(runs, "a", 0.02)
    assert found.comparisons[0].as_good and "to within 2 points" in found.text


def test_identical_variants_and_one_clearly_worse() -> None:
    correct = np.random.default_rng(0).random(3000) < 0.7
    bad = np.random.default_rng(1).random(3000) < 0.5
    found = state([run("a", correct, 300), run("b", correct, 100), run("c", bad, 1)], "a")
    assert by_recipe(found) == {"b": (False, True), "c": (True, False)}
    assert [round(one.p, 3) for one in found.comparisons] == [1.0, 0.0]
    assert found.recommended is not None and found.recommended.recipe == "b"
    assert "By more than chance it is better than c (by" in found.text


def test_the_winners_interval_is_wider_than_wilsons_on_the_side_of_luck_alone() -> None:
    rng = np.random.default_rng(2)
    runs = [run(str(number), rng.random(500) < 0.8) for number in range(24)]
    found = state(runs, choose(runs).name)
    plain = wilson(int(found.bundle.correct.sum()), 500)
    assert found.accuracy.value == plain.value and found.accuracy.high == pytest.approx(plain.high)
    assert found.accuracy.low < plain.low - 0.01
    assert "the best of 24 recipes was picked on these images, which the interval counts in" in found.text


def test_one_that_has_all_images_right_was_picked_too() -> None:
    found = state([run("a", first(12, 12)), run("b", first(11, 12))], "a")
    assert found.accuracy.value == found.accuracy.high == 1.0
    assert 0.68 < found.accuracy.low < wilson(12, 12).low - 0.03


def test_the_headline_is_that_of_test_without_copies() -> None:
    test = held_out("test", first(80, 100), first(20, 100))
    found = state([run("a", first(90, 100)), run("b", first(50, 100))], "a", test=test)
    assert found.sentences[0].startswith(
        "The winner is a. Of the 80 test images that have no copy or look-alike in train or valid 75.0 %"
    )
    assert "20 of 100 have one and do not count; with them it would be 80.0 %." in found.sentences[0]


def test_copies_of_training_images_do_not_count_on_valid_either() -> None:
    """The winner is chosen on all of valid, as trials are ranked; what is said of it is of new images."""
    right = {"a": (first(60, 80), 0.8), "b": (first(62, 80), 0.7)}
    runs = [dataclasses.replace(run(name, ours), score=all_, whole=all_) for name, (ours, all_) in right.items()]
    found = state(runs, choose(runs).name, copies=20)
    assert (found.winner, found.images, found.accuracy.value) == ("a", 80, 0.75)
    assert "Of the 80 valid images that have no copy or look-alike in train 75.0 %" in found.sentences[0]
    assert "picked on all of valid" in found.sentences[0]
    assert found.sentences[0].endswith("20 of 100 have one and do not count; with them it would be 80.0 %.")
    assert found.sentences[-1] == (
        "Tables and charts of the variants are of all valid images, copies too, where they say nothing else."
    )
    (other,) = found.comparisons
    assert other.difference.value == pytest.approx(-2 / 80) and "b (ahead by 2.5 points" in found.text
    another = state(runs, "b", copies=20)
    assert "Of the 80 valid images that have no copy or look-alike in train 77.5 %" in another.text


def test_a_valid_split_of_copies_alone_is_said() -> None:
    found = state([run("a", first(90, 100))], "a", copies=100, nothing_new=True)
    assert (
        "All valid images have a copy or look-alike in train: nothing said of them holds for new images."
        in found.sentences[0]
    )
    assert "Of the 100 valid images 90.0 %" in found.sentences[0]


def test_what_was_picked_within_each_recipe_is_no_part_of_an_interval() -> None:
    runs = [run("a", first(90, 100)), run("b", first(80, 100))]
    assert "picked on valid too" not in state(runs, "a").text
    one = state(runs, "a", tuned=("epoch",)).text
    assert "The epoch was picked on valid too, which no interval counts in." in one
    both = state(runs, "a", tuned=("epoch", "head's penalty")).text
    assert "The epoch and the head's penalty were picked on valid too, which no interval counts in." in both


def test_recipes_are_compared_by_their_means_and_the_middle_seed_is_exported() -> None:
    right = {"one": (800, 860, 830), "two": (828, 829, 900)}
    runs = [
        run(f"{recipe}-seed{seed}", first(number, 1000), 10, recipe, seed)
        for recipe, numbers in right.items()
        for seed, number in enumerate(numbers)
    ]
    chosen = choose(runs)
    assert (chosen.recipe, chosen.seed) == ("two", 1)  # not the luckiest, whatever it scored
    found = state(runs, chosen.name)
    assert found.winner == "two" and found.accuracy.value == pytest.approx(np.mean(right["two"]) / 1000)
    assert "the mean of 3 seeds" in found.text
    assert "The bundle is that of seed 1 (valid 82.90 %), not the luckiest" in found.text
    assert "say nothing" not in found.text and by_recipe(found) == {"one": (False, False)}
    tested = state(runs, chosen.name, test=held_out("test", first(80, 100))).text
    assert "no part in the choice. Test accuracy is that of the bundle, not a mean over seeds." in tested
    luckiest = state(runs, "two-seed2")
    assert "the luckiest of its seeds: expect the mean of them" in luckiest.text
    another = state(runs, "one-seed1").text
    assert "This is one-seed1, which did not win its sweep: two did." in another
    assert "The bundle is that of seed 1 (valid 86.00 %), the luckiest of its seeds" in another


def test_where_all_seeds_score_the_same_none_is_lucky() -> None:
    runs = [run(f"one-seed{seed}", first(80, 100), 10, "one", seed) for seed in range(3)]
    found = state(runs, choose(runs).name)
    assert "all seeds of its recipe scored the same" in found.text and "luckiest" not in found.text


def test_a_recipe_with_one_seed_among_others_is_said() -> None:
    runs = [run(f"a{n}", first(80 + n, 100), 1, "a", n) for n in range(3)] + [run("b", first(70, 100), 1, "b")]
    assert "1 of them had one seed" in state(runs, "a1").text


def test_one_seed_says_what_it_does_not_cover() -> None:
    found = state([run("a", first(90, 100)), run("b", first(80, 100))], "a")
    assert found.spreads == () and "trained with one seed each" in found.text


def test_one_variant_has_nothing_to_be_compared_with() -> None:
    found = state([run("only", first(90, 100))], "only")
    assert found.comparisons == () and found.recommended is None
    assert tuple(found.accuracy) == pytest.approx(tuple(wilson(90, 100)))
    assert "no other variant" in found.text and "picked" not in found.text


def test_many_names_are_counted_not_all_listed() -> None:
    assert "; and 3 more" in state([run(f"t{n}", first(90, 100)) for n in range(10)], "t0").text


def test_runs_on_other_images_and_an_unknown_winner_are_refused() -> None:
    with pytest.raises(ValueError, match="same images"):
        state([run("a", first(5, 10)), run("b", first(5, 11))], "a")
    with pytest.raises(ValueError, match="'c'"):
        state([run("a", first(5, 10))], "c")
    with pytest.raises(ValueError, match="no run"):
        choose([])


def test_of_equally_accurate_runs_the_lower_loss_is_chosen() -> None:
    runs = [dataclasses.replace(run(str(n), first(9, 10)), loss=loss) for n, loss in enumerate((3.0, 1.0, 2.0))]
    assert choose(runs).name == "1"


@pytest.mark.parametrize(("variants", "correlation"), [(6, 0.5), (24, 0.95)])
def test_equal_variants_are_seldom_called_different_and_the_interval_holds(
    variants: int, correlation: float
) -> None:
    found = honesty.equal_variants(variants, correlation, images=263, accuracy=0.65, sweeps=150)
    assert found["called different"] <= 0.05 + 0.035  # two standard errors of 150 sweeps
    assert found["interval holds"] >= 0.95 - 0.035


def test_power_is_that_of_bonferroni_at_least() -> None:
    found = honesty.power(6, 0.8, images=263, sweeps=80)
    assert found["found"] >= found["by Bonferroni"] > 0.2


def test_a_variant_that_is_worse_is_seldom_recommended() -> None:
    assert honesty.recommended(images=120, sweeps=150) <= 0.05


@pytest.mark.parametrize("by_seed", [(0.3, 0.3, 0.3, 0.3), (0.05, 0.05, 0.05, 0.3)])
def test_equal_recipes_with_three_seeds_are_seldom_called_different(by_seed: tuple[float, ...]) -> None:
    """Whether seeds move all alike or one recipe farther than others."""
    assert honesty.equal_recipes(by_seed, 3, images=2000, sweeps=150) <= 0.05 + 0.035


@pytest.mark.parametrize(
    ("lost", "won", "words"),
    [
        (40, 2, "By more than chance the winner is better: it is behind by 3.8 points, interval"),
        (2, 1, "It is shown to be as good as the winner, to within 1 point: it is behind by 0.1 points"),
        (20, 15, "Too few images to say whether it is as good as the winner, to within 1 point: it is behind"),
    ],
)
def test_of_a_bundle_that_is_not_the_winners_it_is_said_how_it_compares(lost: int, won: int, words: str) -> None:
    best = first(900, 1000)
    runs = [run("best", best, 500), run("other", flipped(best, lost, won), 10)]
    found = state(runs, "other", untested=True)
    assert found.winner == "best" and found.bundle.name == "other" and words in found.text
    assert found.sentences[0] == "This is other, which did not win its sweep: best did."
    value = (900 - lost + won) / 10
    assert f"Of the 1,000 valid images {value:.2f} % (95 % interval" in found.text
    assert "It is cheaper: 10 s of training instead of 8.3 min." in found.text
    assert "not scored on the test split, which was looked at for the winner alone." in found.text
    assert ("would tell" in found.text) == (lost == 20)


def test_the_part_of_the_test_split_is_said() -> None:
    runs = [run("best", first(90, 100)), run("other", first(80, 100))]
    test = held_out("test", first(80, 100))
    assert "The test split had no part in the choice." in state(runs, "best", test=test).sentences
    assert "There was no test split, so no score is of images" in state(runs, "best").text
    scored = state(runs, "other", test=test)
    assert "Of the 100 test images 80.0 %" in scored.text and "Every variant was scored on test" in scored.text


def test_chosen_by_another_score_the_winner_is_another_and_says_so() -> None:
    right = np.arange(400) < 320
    accurate = Run("accurate", "accurate", 0, Cost(1.0), right, score=0.6)
    even = Run("even", "even", 0, Cost(1.0), np.arange(400) < 250, score=0.7)
    assert choose([accurate, even]).name == "even"
    found = state([accurate, even], "even", by="macro F1")
    assert found.winner == "even" and found.accuracy.value == 250 / 400
    assert "the best of 2 recipes by macro F1 was picked on these images" in found.text
    assert "By accuracy, which it was not chosen by, these are better: accurate" in found.text
    assert "It is not shown to be better than any other variant." in found.text


def test_recipes_are_compared_by_groups() -> None:
    """Five images of a group, of which a recipe has all right or none, say what one of them says."""
    random = np.random.default_rng(0)
    single = [run("a", random.random(300) < 0.9), run("b", random.random(300) < 0.8)]
    repeated = [dataclasses.replace(one, correct=np.repeat(one.correct, 5)) for one in single]
    groups = np.repeat(np.arange(300), 5)
    reference, found = state(single, "a"), state(repeated, "a", folds=5, groups=groups)
    assert found.accuracy == pytest.approx(reference.accuracy, abs=5e-4)
    assert found.comparisons[0].difference == pytest.approx(reference.comparisons[0].difference, abs=2e-3)
    naive = state(repeated, "a")
    width, lie = (one.accuracy.high - one.accuracy.low for one in (found, naive))
    assert lie < 0.5 * width
    assert "Of the 1,500 images that 5 folds held out" in found.text and "300 groups" in found.text
    assert "valid" not in found.text
    assert "The bundle was trained again, on all images, as long as" in found.text
    tested = state(repeated, "a", folds=5, groups=groups, test=held_out("test", first(90, 100)))
    assert "The bundle was trained again, on all images but those of test, as long as" in tested.text
