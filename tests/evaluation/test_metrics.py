import csv
import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from ray_birds.evaluation import calibration, metrics

# The article's models 1 and 4 on its 2,000 test images: 0.9845 and 0.9850.
IMAGES, PLAIN, DEEP = 2000, 1969, 1970


def _noisy(rng: np.random.Generator, classes: int, images: int, right: float) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, classes, images)
    guesses = rng.integers(0, classes, images)
    return labels, np.where(rng.random(images) < right, labels, guesses)


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (1, 3), (PLAIN, IMAGES), (631, 1000)])
def test_wilson_equals_statsmodels(successes: int, total: int) -> None:
    estimate = metrics.wilson(successes, total)
    low, high = proportion_confint(successes, total, alpha=0.05, method="wilson")
    assert estimate.value == successes / total
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-12)


def test_nothing_of_nothing_is_nan_and_null_in_json() -> None:
    estimate = metrics.wilson(0, 0)
    assert all(math.isnan(number) for number in estimate)
    assert estimate.to_json() == {"value": None, "low": None, "high": None}


def test_confusion_accuracy_and_top_k_by_hand() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2])
    predictions = np.array([0, 1, 1, 2, 0, 0])
    ranked = np.array([[0, 1], [1, 2], [1, 0], [2, 1], [0, 2], [0, 1]])
    assert metrics.confusion(labels, predictions, 3).tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]
    assert metrics.accuracy(labels == predictions) == metrics.wilson(3, 6)
    assert metrics.in_top_k(labels, ranked) == 4


def test_per_class_scores_by_hand() -> None:
    matrix = 3 * np.array([[1, 1, 0], [0, 1, 0], [2, 0, 1]])
    first, _, last = metrics.per_class(matrix, ["a", "b", "c"])
    assert (first.support, first.predicted) == (6, 9)
    assert first.precision == metrics.wilson(3, 9)
    assert first.recall == metrics.wilson(3, 6)
    assert first.f1.value == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert last.f1.value == pytest.approx(2 * 1 / (3 + 1))
    assert first.f1.low < first.f1.value < first.f1.high
    (rare, _) = metrics.per_class(np.array([[4, 0], [3, 9]]), ["rare", "usual"])
    assert rare.f1.value == 8 / 11 and math.isnan(rare.f1.low) and not math.isnan(rare.precision.low)


def test_with_few_images_a_class_there_are_values_and_no_intervals() -> None:
    matrix = np.diag([4, 4, 40, 40])
    few, *_, many = metrics.per_class(matrix, ["a", "b", "c", "d"])
    assert few.recall.value == 1.0 and all(math.isnan(one.low) for one in (few.recall, few.precision, few.f1))
    assert many.recall == metrics.wilson(40, 40)
    assert metrics.images_a_class(matrix) == pytest.approx(4 / (2 / 4 + 2 / 40))
    assert not math.isnan(metrics.macro_f1(matrix).low)
    assert not math.isnan(
        metrics.macro_f1(5 * np.eye(12, dtype=np.int64)).low
    )  # whatever 1 / mean(1 / 5) rounds to
    one_each = metrics.macro_f1(np.eye(263, dtype=np.int64))
    assert one_each.value == 1.0 and math.isnan(one_each.low) and one_each.to_json()["high"] is None


def test_a_class_without_images_or_predictions_has_no_scores_and_no_weight() -> None:
    matrix = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    score = metrics.per_class(matrix, ["a", "b", "c"])[2]
    assert all(math.isnan(part.value) for part in (score.precision, score.recall, score.f1))
    assert metrics.macro_f1(matrix).value == pytest.approx((6 / 7 + 4 / 5) / 2)


@pytest.mark.parametrize("images", [10, 40])
def test_f1_interval_holds_the_true_value(images: int) -> None:
    rng = np.random.default_rng(3)
    probability = np.array([[0.15, 0.05, 0.0], [0.1, 0.3, 0.0], [0.0, 0.05, 0.35]])
    truth = 2 * 0.15 / (0.2 + 0.25)
    held = 0
    for _ in range(400):
        matrix = rng.multinomial(images * 5, probability.ravel()).reshape(3, 3)
        f1 = metrics.per_class(matrix, ["a", "b", "c"])[0].f1
        held += f1.low <= truth <= f1.high
    assert 0.92 <= held / 400 <= 0.985


@pytest.mark.parametrize(("classes", "each"), [(12, 20), (200, 5)])
def test_macro_f1_interval_holds_the_true_value(classes: int, each: int) -> None:
    rng = np.random.default_rng(4)

    def sample(images: int) -> np.ndarray:
        labels = np.repeat(np.arange(classes), images)
        wrong = rng.random(len(labels)) > 0.8
        shift = rng.integers(1, min(classes, 6), len(labels))
        return metrics.confusion(labels, np.where(wrong, (labels + shift) % classes, labels), classes)

    truth = metrics.macro_f1(sample(4000), resamples=2).value
    estimates = [metrics.macro_f1(sample(each), resamples=200, seed=seed) for seed in range(60)]
    assert sum(e.low <= truth <= e.high for e in estimates) >= 54
    assert np.mean([e.high - e.low for e in estimates]) < 0.15


def test_macro_f1_is_seeded_and_in_its_interval() -> None:
    labels, predictions = _noisy(np.random.default_rng(0), 20, 263, 0.6)
    matrix = metrics.confusion(labels, predictions, 20)
    estimate = metrics.macro_f1(matrix, seed=1)
    assert estimate == metrics.macro_f1(matrix, seed=1) != metrics.macro_f1(matrix, seed=2)
    assert estimate.low < estimate.value < estimate.high
    assert metrics.macro_f1(np.diag([5, 5, 9])) == (1.0, 1.0, 1.0)


def test_most_confused_orders_by_count_then_share() -> None:
    matrix = np.array([[8, 2, 0], [0, 1, 2], [3, 0, 7]])
    pairs = metrics.most_confused(matrix, ["a", "b", "c"], limit=3)
    assert [pair[:3] for pair in pairs] == [("c", "a", 3), ("b", "c", 2), ("a", "b", 2)]
    assert pairs[0].share == metrics.wilson(3, 10)
    assert metrics.most_confused(np.diag([4, 4]), ["a", "b"]) == ()


def test_calibration_error_of_a_sure_and_half_wrong_model() -> None:
    sure = calibration.certainty(np.full(10, 0.9), np.arange(10) < 5)
    assert calibration.calibration_error(sure) == pytest.approx(0.4)
    assert calibration.calibration_error(calibration.certainty(np.ones(4), np.ones(4, bool))) == 0
    assert math.isnan(calibration.calibration_error(calibration.certainty(np.empty(0), np.empty(0, bool))))


def test_certainty_of_parts_adds_up_and_coarser_bins_hold_the_same() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(1000)
    correct = rng.random(1000) < probability
    parts = [calibration.certainty(probability[part], correct[part]) for part in (slice(0, 300), slice(300, None))]
    seen = parts[0] + parts[1]
    for bins in (10, 15, 20):
        place = np.floor(probability * bins)
        means = [probability[place == n].sum() for n in range(bins)]
        assert seen.bins(bins).probability == pytest.approx(means)
        assert seen.bins(bins).right.tolist() == [correct[place == n].sum() for n in range(bins)]
    assert seen.images.sum() == 1000


def test_calibration_is_said_with_its_direction_and_what_chance_makes() -> None:
    rng = np.random.default_rng(0)
    probability = 0.3 + 0.7 * rng.beta(3, 1, 263)
    right = rng.random(263)
    perfect = calibration.calibrate(calibration.certainty(probability, right < probability))
    assert not perfect.off and 0.03 < perfect.by_chance < perfect.by_chance_high
    assert "no more than chance" in " ".join(perfect.sentences)
    sure = calibration.calibrate(calibration.certainty(probability, right < probability - 0.2))
    assert sure.off and sure.by_chance == perfect.by_chance
    assert "on average overconfident by" in " ".join(sure.sentences)
    one = calibration.calibrate(calibration.certainty(np.array([0.9]), np.array([True])))
    assert one.sentences == ("One image tells nothing of its certainty.",)
    shy = calibration.calibrate(calibration.certainty(probability / 2, right < probability))
    assert "on average underconfident by" in " ".join(shy.sentences)
    assert not calibration.calibrate(calibration.certainty(np.empty(0), np.empty(0, bool))).off


def test_what_chance_makes_is_what_perfect_models_show() -> None:
    rng = np.random.default_rng(1)
    probability = 0.3 + 0.7 * rng.beta(3, 1, 263)
    drawn = [calibration.certainty(probability, rng.random(263) < probability) for _ in range(300)]
    errors = [calibration.calibration_error(one) for one in drawn]
    found = calibration.calibrate(drawn[0])
    assert found.by_chance == pytest.approx(np.mean(errors), rel=0.05)
    assert found.by_chance_high == pytest.approx(np.quantile(errors, 0.95), rel=0.08)


def test_evaluation_writes_strict_json_and_a_row_per_class() -> None:
    names = ["ABBOTT'S, BABBLER", 'QUOTE"BIRD', "none"]
    labels, predictions = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    evaluation = metrics.evaluate(labels, predictions, names, ranked=np.array([[0, 1], [1, 0], [1, 0], [1, 0]]))
    written = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert written["images"] == 4 and written["classes"] == 2
    assert written["accuracy"] == metrics.wilson(3, 4).to_json()
    assert written["top_2"] == metrics.wilson(4, 4).to_json()
    assert written["most_confused"][0]["images"] == 1
    rows = list(csv.DictReader(io.StringIO(evaluation.per_class_csv())))
    assert [row["class"] for row in rows] == names
    assert float(rows[0]["recall"]) == 0.5 and rows[2]["f1"] == ""


def test_the_articles_figures_by_wilson() -> None:
    low, high = metrics.wilson(PLAIN, IMAGES), metrics.wilson(DEEP, IMAGES)
    assert low.low < high.value < low.high and high.low < low.value < high.high


@pytest.mark.integration
def test_no_framework_is_imported() -> None:
    heavy = "{'ray', 'tensorflow', 'pandas', 'matplotlib', 'scipy.stats'}"
    ours = "ray_birds.evaluation.metrics, ray_birds.evaluation.significance"
    code = f"import sys, {ours}; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_images_of_a_group_count_for_no_more_than_they_say_together() -> None:
    random = np.random.default_rng(0)
    single = random.random(400) < 0.8
    repeated, groups = np.repeat(single, 5), np.repeat(np.arange(400), 5)
    shuffled = random.permutation(2000)
    ours = metrics.accuracy(repeated[shuffled], groups[shuffled])
    assert ours == pytest.approx(metrics.accuracy(single), abs=2e-4)
    assert metrics.accuracy(single, np.arange(400)) == pytest.approx(metrics.accuracy(single), abs=2e-4)
    always = metrics.accuracy(np.ones(50, bool), np.repeat(np.arange(10), 5))
    assert always == metrics.accuracy(np.ones(10, bool))  # of images that are all right nothing varies
    assert math.isnan(metrics.accuracy(np.zeros(0, bool), np.zeros(0, int)).low)


def test_the_interval_of_groups_covers_where_that_of_single_images_does_not() -> None:
    random = np.random.default_rng(1)
    covered = np.zeros(2, int)
    for _ in range(400):
        sizes = random.integers(1, 16, 60)
        chance = random.beta(2, 1, 60)  # of being right, of each group: 2/3 on average
        groups = np.repeat(np.arange(60), sizes)
        correct = random.random(len(groups)) < chance[groups]
        for number, found in enumerate((metrics.accuracy(correct, groups), metrics.accuracy(correct))):
            covered[number] += found.low <= 2 / 3 <= found.high
    assert covered[0] >= 0.92 * 400 and covered[1] < 0.85 * 400
