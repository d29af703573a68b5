"""What a threshold promises, by simulation and by others' numbers; and that it is the lowest one that can."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
from scipy import special
from statsmodels.stats.proportion import proportion_confint

from ray_birds.evaluation import selective
from ray_birds.evaluation.selective import THRESHOLDS, Curve, Known, at_least, curve

DRAWS = 1000
ALLOWED = 0.05 + 2 * (0.05 * 0.95 / DRAWS) ** 0.5  # of misses, within two standard errors


@pytest.mark.parametrize(("right", "images"), [(0, 7), (3, 7), (7, 7), (198, 200)])
def test_the_bound_is_clopper_and_pearsons(right: int, images: int) -> None:
    low = proportion_confint(right, images, 0.1, "beta")[0]
    assert float(at_least(right, images)) == pytest.approx(0 if right == 0 else low, abs=1e-12)


def test_a_curve_counts_what_is_at_least_as_probable() -> None:
    random = np.random.default_rng(0)
    probability, right = random.random(300).astype(np.float32), random.random(300) < 0.5
    probability[:4] = 0.25, 0.35, 1.0, 0.0  # one that lies on a threshold
    found = curve(probability, right)
    for number, threshold in enumerate(THRESHOLDS):
        accepted = probability >= np.float32(threshold)
        assert (found.accepted[number], found.right[number]) == (accepted.sum(), right[accepted].sum())


def draws(population: str, size: int) -> tuple[list[Curve], np.ndarray]:
    """Curves of samples of a population of images, and its accuracy at each threshold."""
    random = np.random.default_rng(1)
    chance = random.beta(3, 0.6, 200_000)  # of being right; 0.83 on average
    spread = {"calibrated": 1.0, "overconfident": 2.0, "underconfident": 0.5}.get(population, 1.0)
    probability = 1 / (1 + (1 / np.clip(chance, 1e-9, 1 - 1e-9) - 1) ** spread)
    if population == "no help":  # the probability says nothing, and the target of 0.9 is missed by a hair
        chance = np.full(len(chance), 0.8999)
    right = random.random(len(chance)) < chance
    everything = curve(probability, right)
    parts = (random.integers(0, len(chance), size) for _ in range(DRAWS))
    return [curve(probability[part], right[part]) for part in parts], everything.right / everything.accepted


@pytest.mark.parametrize("population", ["calibrated", "overconfident", "underconfident", "no help"])
@pytest.mark.parametrize(("target", "size"), [(0.9, 263), (0.95, 1000)])
def test_the_target_is_missed_in_five_percent_of_draws_at_most(population: str, target: float, size: int) -> None:
    sampled, accuracy = draws(population, size)
    found = [one.threshold(target) for one in sampled]
    missed = [one is not None and accuracy[round(100 * one)] < target for one in found]
    assert np.mean(missed) <= ALLOWED
    if population != "no help":  # and it is no empty promise
        assert np.mean([one is not None for one in found]) > 0.5


@pytest.mark.parametrize(("models", "most"), [(1, 1.0), (8, ALLOWED)])
def test_it_holds_of_the_best_of_several_models_too(models: int, most: float) -> None:
    """Eight that are as good as one another and right on much the same images; the best on 263 of them wins."""
    random = np.random.default_rng(2)

    def sample(images: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        both = 0.8**0.5 * random.standard_normal((2, images, 1))
        own = 0.2**0.5 * random.standard_normal((2, images, number))
        chance = 1 / (1 + np.exp(-1.6 - 2.2 * (both + own)[0]))
        return chance, special.ndtr((both + own)[1]) < chance

    chance, right = sample(300_000, 1)
    everything = curve(chance[:, 0], right[:, 0])
    accuracy, missed = everything.right / everything.accepted, 0
    for _ in range(DRAWS):
        chance, right = sample(263, 8)
        best = right.mean(axis=0).argmax()
        found = curve(chance[:, best], right[:, best], models).threshold(0.9)
        missed += found is not None and accuracy[round(100 * found)] < 0.9
    assert missed / DRAWS <= most
    assert models > 1 or missed / DRAWS > 0.05  # which is why


def test_no_threshold_where_images_are_few_or_wrong() -> None:
    few, wrong = curve(np.full(30, 0.99), np.full(30, True)), curve(np.full(500, 0.99), np.arange(500) % 2 > 0)
    for one in (few, wrong, Known().curve()):
        assert one.threshold(0.9) is None
        assert selective.summary(one, None)["0.9"] is None
    assert few.threshold(0.8) == 0.0 and few.highest == 0.85 and Known().curve().highest is None


def test_metrics_say_what_a_threshold_does_on_valid_and_on_test() -> None:
    probability = np.linspace(0, 0.999, 1000)
    valid, test = (curve(probability, right) for right in (probability > 0.4, probability > 0.5))
    found = selective.summary(valid, test)["0.95"]
    loose, threshold, strict = (valid.threshold(target) for target in (0.8, 0.95, 0.99))
    assert loose is not None and threshold is not None and strict is not None and loose < threshold < strict
    assert found["threshold"] == threshold < 0.4
    assert found["valid"]["accepted"] == found["test"]["accepted"] == (probability >= threshold).sum()
    assert found["valid"]["at_least"] >= 0.95 > found["test"]["accuracy"]["high"]


KNOWN = Known(
    np.array([0.9, 0.8, 0.4], np.float32), np.array([True, True, False]), np.array([3, 1, 2], np.float32)
)


def test_distances_are_told_as_percentages_of_valid_images() -> None:
    assert KNOWN.percentile(np.array([0.5, 1, 2.5, 3, 9])).tolist() == pytest.approx(
        [0, 100 / 3, 200 / 3, 100, 100]
    )
    assert KNOWN.curve(70).accepted[0] == 2 and KNOWN.curve(70).right[0] == 1
    assert Known().percentile(np.array([1.0])).tolist() == [0]


def test_they_are_kept_as_arrays_and_nothing_else() -> None:
    again = Known.from_bytes(KNOWN.to_bytes())
    assert again.right.tolist() == [True, True, False] and again.distance.tolist() == [3, 1, 2]
    columns: dict[str, Any] = {"probability": KNOWN.probability, "right": KNOWN.right, "distance": KNOWN.distance}
    columns |= {"models": np.array(1)}
    for odd in (
        columns | {"right": np.array([0, 1, 1])},
        columns | {"right": np.array([True])},
        columns | {"distance": np.array([None, None, None])},
        columns | {"more": np.zeros(1)},
        columns | {"models": np.array(0)},
        {"right": KNOWN.right},
    ):
        made = io.BytesIO()
        np.savez(made, **odd)
        with pytest.raises(ValueError, match=r"arrays|lengths"):
            Known.from_bytes(made.getvalue())
    packed = io.BytesIO()
    np.savez_compressed(packed, **columns)
    for data in (packed.getvalue(), pickle.dumps(columns), b"", KNOWN.to_bytes()[:-30]):
        with pytest.raises(ValueError, match="not arrays"):
            Known.from_bytes(data)
