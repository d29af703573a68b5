"""Splits taken from train: their size, their steadiness, copies on one side."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from ray_birds.core.errors import DataError
from ray_birds.data.dataset import Dataset, Split
from ray_birds.data.inspection import ImageRecord
from ray_birds.data.splits import Shares, assigned, make

SHARES = Shares(valid=0.1, test=0.1, seed=0)


def split(name: str, classes: tuple[str, ...], counts: list[int]) -> Split:
    paths = [f"{name}/{label}/{n:03}" for label, count in zip(classes, counts, strict=True) for n in range(count)]
    labels = np.repeat(np.arange(len(classes)), counts).astype(np.int32)
    return Split(name, tuple(paths), labels, np.arange(len(paths), dtype=np.int64))


def dataset(*counts: int, **others: list[int]) -> Dataset:
    """As many training images of classes A, B ... ; `others` are the counts of other splits."""
    classes = tuple("ABCDE"[: len(counts)])
    splits = {"train": split("train", classes, list(counts))}
    return Dataset("/birds", classes, splits | {name: split(name, classes, of) for name, of in others.items()})


def records(data: Dataset, same: tuple[tuple[str, ...], ...] = ()) -> dict[str, ImageRecord]:
    """Content of its own for each file but those in a group of `same`."""
    digest = {path: path for one in data.splits.values() for path in one.paths}
    digest |= {path: group[0] for group in same for path in group}
    return {path: ImageRecord(content, "", 9, 9, "JPEG", False, "") for path, content in digest.items()}


def made(data: Dataset, shares: Shares = SHARES, same: tuple[tuple[str, ...], ...] = ()) -> dict[str, Split]:
    return make(data, records(data, same), shares).splits


def test_each_class_gives_its_share_and_every_image_is_in_one_split() -> None:
    data = dataset(40, 20, 3, 2, 1)
    splits = made(data)
    assert list(splits) == ["train", "valid", "test"] and all(name == one.name for name, one in splits.items())
    counts = {name: np.bincount(one.labels, minlength=5).tolist() for name, one in splits.items()}
    assert counts == {"valid": [4, 2, 1, 1, 0], "test": [4, 2, 1, 0, 0], "train": [32, 16, 1, 1, 1]}
    assert sorted(path for one in splits.values() for path in one.paths) == sorted(data.splits["train"].paths)
    numbers = dict(zip(data.splits["train"].paths, data.splits["train"].numbers, strict=True))
    for one in splits.values():
        assert [numbers[path] for path in one.paths] == one.numbers.tolist()
        assert all(
            path.split("/")[1] == data.classes[label] for path, label in zip(one.paths, one.labels, strict=True)
        )


def test_a_split_that_is_there_stays_as_it_is() -> None:
    data = dataset(20, 20, valid=[2, 2])
    splits = made(data)
    assert splits["valid"] is data.splits["valid"] and len(splits["test"]) == 4 and len(splits["train"]) == 36
    assert Shares(0.1, 0, 0).missing(data) == () and Shares(0.1, 0.1, 0).missing(data) == ("test",)
    assert list(made(dataset(20, 20), Shares(0.1, 0, 0))) == ["train", "valid"]


def test_the_seed_decides_and_nothing_else() -> None:
    data = dataset(50, 50)
    again = made(data)["valid"].paths
    assert again == made(data)["valid"].paths
    assert again != made(data, replace(SHARES, seed=1))["valid"].paths


def test_a_new_file_moves_few_others() -> None:
    few, more = dataset(200, 200), dataset(203, 200)
    before = {path: name for name, one in made(few).items() for path in one.paths}
    after = {path: name for name, one in made(more).items() for path in one.paths}
    moved = [path for path in before if before[path] != after[path]]
    assert len(moved) <= 6 and not any("/B/" in path for path in moved)


def test_copies_are_kept_on_one_side() -> None:
    data = dataset(30, 30)
    paths = data.splits["train"].paths
    same = tuple((paths[n], paths[n + 1], paths[n + 30]) for n in range(0, 28, 2))
    splits = made(data, replace(SHARES, valid=0.4, test=0.3), same)
    side = {path: name for name, one in splits.items() for path in one.paths}
    assert all(len({side[path] for path in group}) == 1 for group in same)
    assert min(Counter(side.values()).values()) >= 10


def test_a_image_that_another_split_has_stays_in_train() -> None:
    data = dataset(10, 10, test=[9, 9])
    leaked = tuple((f"train/{label}/{n:03}", f"test/{label}/{n:03}") for label in "AB" for n in range(9))
    assert made(data, same=leaked)["valid"].paths == ("train/A/009", "train/B/009")


def test_nothing_to_take_from() -> None:
    with pytest.raises(DataError, match="too few images"):
        made(dataset(1, 1))


def test_what_was_written_down_is_assigned_again() -> None:
    data = dataset(30, 30)
    splits = made(data)
    where = {path: name for name, one in splits.items() for path in one.paths}
    again = assigned(data, where).splits
    assert {name: one.paths for name, one in again.items()} == {name: one.paths for name, one in splits.items()}
    assert assigned(data, {}).splits["train"].paths == data.splits["train"].paths
