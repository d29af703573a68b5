"""Pairs of images that lie close for their neighbourhood, by made-up features."""

import numpy as np
import pytest

from ray_birds.data import neighbours


def unit(features: np.ndarray) -> np.ndarray:
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Two dense clusters and scattered images; the last is a changed copy of row 3, the one before of row 120."""
    random = np.random.default_rng(0)
    scattered = random.normal(size=(100, 32))
    dense = np.concatenate([random.normal(size=32) + 0.2 * random.normal(size=(40, 32)) for _ in range(2)])
    both = np.concatenate([scattered, dense])
    copies = both[[120, 3]] + np.array([[0.03], [0.25]]) * random.normal(size=(2, 32))
    return unit(np.concatenate([both, copies]))


def test_copies_are_found_in_dense_and_in_scattered_places(features: np.ndarray) -> None:
    found = neighbours.pairs(neighbours.nearest(features, 0, len(features)))
    assert {tuple(pair) for pair in found.tolist()} == {(120, 180), (3, 181)}


def test_no_threshold_of_similarity_would_do(features: np.ndarray) -> None:
    cosines = features @ features.T
    dense = cosines[100:140, 100:140][np.triu_indices(40, 1)]
    assert cosines[3, 181] < dense.max()


def test_nearest_is_what_comparing_all_with_all_gives(
    features: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    cosines = features @ features.T
    np.fill_diagonal(cosines, -2)
    wanted = np.sort(cosines, axis=1)[:, ::-1][:, : neighbours.NEAREST]
    monkeypatch.setattr(neighbours, "_BLOCK", 1000)  # five rows at a time
    parts = [neighbours.nearest(features, 0, 77), neighbours.nearest(features, 77, len(features))]
    near = neighbours.Nearest(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    assert np.abs(near.cosines - wanted).max() < 1e-6
    assert np.allclose(np.take_along_axis(cosines, near.rows, axis=1), near.cosines)


def test_so_few_images_have_no_neighbourhood() -> None:
    few = unit(np.random.default_rng(0).normal(size=(5, 8)))
    assert not len(neighbours.pairs(neighbours.nearest(few, 0, 5)))


def test_copies_that_are_equal_are_close_and_nothing_is_divided_by_nothing() -> None:
    same = unit(np.ones((40, 8)) + np.eye(40, 8))
    with np.errstate(all="raise"):
        neighbours.pairs(neighbours.nearest(same, 0, 40))
