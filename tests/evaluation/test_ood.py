"""What lies far from the training images is told from what does not; and which images the class means are of."""

import numpy as np
import pytest

from ray_birds.core import arrays
from ray_birds.evaluation import ood
from ray_birds.evaluation.ood import Reference
from tests.conftest import benchmark

RANDOM = np.random.default_rng(0)
MEANS = RANDOM.random((6, 64)) ** 3


def images(labels: np.ndarray) -> np.ndarray:
    """(n, 64) features, some brighter than others."""
    noise = RANDOM.normal(0, 0.05, (len(labels), 64))
    return ((MEANS[labels] + noise) * RANDOM.uniform(0.5, 2, (len(labels), 1))).astype(np.float32)


def test_classes_that_were_not_trained_on_lie_further_away() -> None:
    labels = np.repeat(np.arange(4), 30)
    reference = ood.fit(images(labels), labels)
    assert reference.centres.shape == (4, 64) and reference.centres.dtype == np.float16
    known, unknown = (reference.distance(images(np.repeat(some, 50))) for some in ([0, 1, 2, 3], [4, 5]))
    assert known.max() < unknown.min() and known.dtype == np.float32


def test_the_distance_is_the_cosine_to_the_nearest_mean() -> None:
    labels = np.arange(6)
    found = ood.fit(MEANS, labels).distance(MEANS * 3)
    np.testing.assert_allclose(found, 0, atol=1e-3)  # of float16
    features = images(RANDOM.integers(0, 6, 20)).astype(np.float64)
    cosines = (features @ MEANS.T) / np.linalg.norm(features, axis=1)[:, None] / np.linalg.norm(MEANS, axis=1)
    np.testing.assert_allclose(ood.fit(MEANS, labels).distance(features), 1 - cosines.max(axis=1), atol=1e-3)
    assert ood.fit(MEANS, labels).distance(np.zeros((1, 64))).tolist() == [1]


def test_the_benchmark_tells_strangers_from_known_images() -> None:
    unknown = benchmark("unknown")
    assert unknown.auroc(np.array([1, 2, 3]), np.array([2, 4])) == pytest.approx((1.5 + 3) / 6)
    labels = np.repeat(np.arange(6), 40)
    splits = {name: (images(labels), labels) for name in ("train", "valid", "test")}
    known, strangers = unknown.halves(splits, 0)
    assert len(strangers) == 240 and {len(split[1]) for split in known.values()} == {120}
    everything = np.concatenate([known["test"][0], strangers])
    for name, distance in unknown.DISTANCES.items():
        if name != "1 - probability":  # which takes TensorFlow
            found = distance(*known["train"], everything)
            assert unknown.auroc(found[:120], found[120:]) > 0.9, name


def test_a_sample_has_of_each_class_what_it_can() -> None:
    labels = np.repeat([0, 1, 2], [500, 30, 3])
    chosen = ood.sample(labels, 0, 100)
    assert np.bincount(labels[chosen]).tolist() == [67, 30, 3]
    assert (ood.sample(labels, 0, 100) == chosen).all() and (ood.sample(labels, 1, 100) != chosen).any()
    assert ood.sample(labels, 0).all()


def test_it_is_kept_as_an_array_and_nothing_else() -> None:
    reference = ood.fit(MEANS, np.arange(6))
    assert (Reference.from_bytes(reference.to_bytes()).centres == reference.centres).all()
    assert Reference.from_bytes(Reference().to_bytes()).centres.shape == (0, 0)
    for odd in (np.zeros(3, np.float16), np.zeros((3, 3)), np.full((1, 2), np.inf, np.float16)):
        with pytest.raises(ValueError, match=r"arrays|finite"):
            Reference.from_bytes(arrays.to_bytes({"centres": odd}))
