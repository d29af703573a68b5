"""Splits taken from train: their size, their steadiness, copies on one side."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from ray_birds.core.errors import DataError
from ray_birds.data.dataset import Dataset, Split
from ray_birds.data.inspection import ImageRecord
from ray_birds.data.splits import Shares, assigned, describe, make

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


def grouped(*counts: int, sites: int, **others: list[int]) -> Dataset:
    """As `dataset`, in sites that differ in size and in their classes; one image in ten has no site."""
    data = dataset(*counts, **others)
    draw = np.random.default_rng(0)
    paths = [path for split in data.splits.values() for path in split.paths]
    site = (sites * draw.random(len(paths)) ** 2).astype(int)
    return replace(
        data, groups={path: f"site {n}" for path, n in zip(paths, site, strict=True) if draw.random() < 0.9}
    )


def sides(data: Dataset, splits: dict[str, Split]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, one in splits.items():
        for path in one.paths:
            found.setdefault(data.groups.get(path, path), set()).add(name)
    return found


@pytest.mark.parametrize("sites", [12, 60, 400])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_group_is_broken_and_shares_are_even(sites: int, seed: int) -> None:
    data = grouped(300, 200, 100, 50, 30, sites=sites)
    splits = made(data, replace(SHARES, seed=seed))
    assert all(len(names) == 1 for names in sides(data, splits).values())
    assert sorted(path for one in splits.values() for path in one.paths) == sorted(data.splits["train"].paths)
    for name in ("valid", "test"):
        share = np.bincount(splits[name].labels, minlength=5) / [300, 200, 100, 50, 30]
        assert share.min() >= 0.05 and share.max() <= 0.2
        assert np.mean([path in data.groups for path in splits[name].paths]) > 0.75  # of all images: 0.9


def test_groups_and_copies_are_one_mechanism() -> None:
    """A copy ties two groups together, and a group ties copies."""
    data = grouped(100, 100, sites=40)
    paths = data.splits["train"].paths
    same = tuple((paths[n], paths[n + 100]) for n in range(0, 100, 9))
    splits = made(data, same=same)
    side = {path: name for name, one in splits.items() for path in one.paths}
    assert all(side[one] == side[other] for one, other in same)
    assert all(len(names) == 1 for names in sides(data, splits).values())


def test_a_group_that_a_given_split_has_stays_in_train() -> None:
    data = grouped(100, 100, sites=30, test=[10, 10])
    given = {data.groups[path] for path in data.splits["test"].paths if path in data.groups}
    splits = made(data)
    assert len(given) > 5 and not given & {data.groups.get(path) for path in splits["valid"].paths}


def test_a_class_of_one_group_stays_in_train() -> None:
    data = dataset(40, 40, 5)
    data = replace(data, groups={path: "island" for path in data.splits["train"].paths if "/C/" in path})
    splits = made(data)
    assert [np.bincount(splits[name].labels, minlength=3).tolist() for name in ("valid", "test")] == [
        [4, 4, 0]
    ] * 2
    said = describe(replace(data, splits=splits), ("valid", "test"), SHARES).text
    assert "valid has 0% to 10% of each class (10% asked, 1 class(es) none)" in said


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
