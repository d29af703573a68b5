"""Folds: each image held out once, groups whole, classes even; and the lie that folds without groups tell."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from ray_birds.core.errors import DataError
from ray_birds.data import folds
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import Folds
from ray_birds.data.splits import Shares
from ray_birds.evaluation import metrics
from tests.data.test_splits import dataset, records

SHARES = Shares(valid=0.1, test=0.1, seed=0, folds=5)


def made(data: Dataset, shares: Shares = SHARES, same: tuple[tuple[str, ...], ...] = ()) -> Folds:
    return folds.make(data, records(data, same), shares)


def by_class(data: Dataset, found: Folds) -> np.ndarray:
    """(folds, classes) images."""
    labels = data.splits["train"].labels
    return np.stack(
        [np.bincount(labels[found.rows(n)[1]], minlength=len(data.classes)) for n in range(found.count)]
    )


def grouped(data: Dataset, sizes: int, seed: int = 0) -> Dataset:
    """`data` with its training images in as many groups of uneven sizes, across classes."""
    paths = data.splits["train"].paths
    chosen = np.minimum(np.random.default_rng(seed).geometric(3 / sizes, len(paths)), sizes)
    return replace(data, groups={path: f"site {number}" for path, number in zip(paths, chosen, strict=True)})


def test_each_image_is_held_out_once_and_classes_are_even() -> None:
    data = dataset(40, 21, 5, 2)
    found = made(data)
    assert found.count == 5 and np.ptp(by_class(data, found), axis=0).max() == 1
    assert np.ptp(by_class(data, found).sum(axis=1)) <= 2
    for number in range(5):
        learned, held_out = found.rows(number)
        assert sorted([*learned, *held_out]) == list(range(68))
    assert found.tested(data.splits["train"]).paths == data.splits["train"].paths


def test_planted_groups_and_copies_are_never_broken() -> None:
    for seed in range(20):
        data = grouped(dataset(60, 50, 40), 30, seed)
        paths = data.splits["train"].paths
        same = ((paths[0], paths[100]), (paths[7], paths[8], paths[140]))
        found = made(data, replace(SHARES, seed=seed), same)
        fold = dict(zip(paths, found.held_out.tolist(), strict=True))
        number = dict(zip(paths, found.group.tolist(), strict=True))
        members = defaultdict(set)
        for path, group in data.groups.items():
            members[group].add((fold[path], number[path]))
        assert all(len(one) == 1 for one in members.values())
        assert all(len({fold[path] for path in group}) == 1 for group in same)


def test_classes_are_as_even_as_scikit_learns_folds() -> None:
    from sklearn.model_selection import StratifiedGroupKFold  # takes half a second

    ours: list[float] = []
    theirs: list[float] = []
    for seed in range(10):
        data = grouped(dataset(60, 50, 40, 30), 40, seed)
        labels, groups = data.splits["train"].labels, [data.groups[path] for path in data.splits["train"].paths]
        reference = np.zeros(len(labels), np.int64)
        for number, (_, held_out) in enumerate(StratifiedGroupKFold(5).split(labels, labels, groups)):
            reference[held_out] = number
        for found, errors in ((made(data), ours), (Folds(reference, reference), theirs)):
            share = by_class(data, found) / np.bincount(labels)
            errors.append(float(np.abs(share - 0.2).mean()))
    assert np.mean(ours) <= np.mean(theirs) * 1.1


def test_no_fold_holds_out_all_of_a_class() -> None:
    data = dataset(30, 4, 3)
    path = data.splits["train"].paths
    data = replace(data, groups=dict.fromkeys(path[30:34], "of B") | dict.fromkeys(path[34:36], "of C"))
    found = made(data)
    assert set(found.held_out[30:34]) == {-1}  # theirs is the only group of B
    assert found.held_out[34] == found.held_out[35] != found.held_out[36] and found.held_out[36] >= 0
    assert len(found.tested(data.splits["train"])) == 33
    text = folds.describe(data, found).text
    assert "4 image(s) are always trained on" in text and "the 33 groups" in text and "each with" in text


def test_the_seed_decides_and_nothing_else() -> None:
    data = dataset(50, 50)
    again = made(data).held_out
    assert np.array_equal(again, made(data).held_out)
    assert not np.array_equal(again, made(data, replace(SHARES, seed=1)).held_out)


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(DataError, match="--folds 5: too few groups"):
        made(grouped(dataset(20, 20), 3))


def test_train_and_valid_are_one() -> None:
    data = folds.pooled(dataset(3, 2, valid=[1, 1], test=[1, 1]))
    assert list(data.splits) == ["train", "test"] and len(data.splits["train"]) == 7
    train = data.splits["train"]
    assert list(train.paths) == sorted(train.paths) and train.numbers.tolist() == list(range(7))
    assert all(path.split("/")[1] == data.classes[n] for path, n in zip(train.paths, train.labels, strict=True))
    assert not SHARES.missing(data) and folds.pooled(data) is data


@pytest.mark.keras
def test_bursts_make_folds_without_groups_lie_and_folds_with_them_do_not() -> None:
    """Bursts of near-copies: what tells the class is weak, what tells the burst strong. Heads learn bursts by
    heart; only folds that keep them whole, and count each for no more than it says, tell of new ones."""
    from ray_birds.model import probe

    random = np.random.default_rng(0)
    classes, bursts, shots, width = 4, 30, 8, 96  # bursts of each class
    centres = 0.12 * random.normal(size=(classes, width))

    def shoot(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(classes), count * shots).astype(np.int32)
        scenes = random.normal(size=(classes * count, width)).repeat(shots, axis=0)
        return (centres[labels] + scenes + 0.1 * random.normal(size=scenes.shape)).astype(np.float32), labels

    def right(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        problem = probe.Problem(lambda: [train], np.ones(classes, np.float32))
        head = problem.solve(0.03).head
        return np.asarray((test[0] @ head.kernel + head.bias).argmax(axis=1) == test[1])

    def out_of_folds(found: Folds) -> np.ndarray:
        correct = np.zeros(len(labels), bool)
        for learned, held_out in map(found.rows, range(found.count)):
            correct[held_out] = right((x[learned], labels[learned]), (x[held_out], labels[held_out]))
        return correct

    x, labels = shoot(bursts)
    data = dataset(*[bursts * shots] * classes)
    burst = {path: f"burst {n // shots}" for n, path in enumerate(data.splits["train"].paths)}
    with_groups, without = made(replace(data, groups=burst)), made(data)
    truth = float(right((x, labels), shoot(500)).mean())
    honest = metrics.accuracy(out_of_folds(with_groups), with_groups.group)
    lie = metrics.accuracy(out_of_folds(without))
    assert lie.low > truth + 0.2  # it says far too much, and is sure of it
    assert honest.low < truth < honest.high
    single = metrics.accuracy(out_of_folds(with_groups))
    assert honest.high - honest.low > 1.5 * (single.high - single.low)
