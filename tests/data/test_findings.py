"""Faults of a data set, from the facts of its files."""

from pathlib import Path

import pytest

from ray_birds.data.dataset import Dataset, scan
from ray_birds.data.findings import copies, of_classes, of_images
from ray_birds.data.inspection import Finding, ImageRecord
from tests.conftest import CLASSES


@pytest.fixture
def data(birds: Path) -> Dataset:
    return scan(str(birds))


def records(data: Dataset) -> dict[str, ImageRecord]:
    """Each file of `data` with content of its own, and an image of noise."""
    paths = [path for split in data.splits.values() for path in split.paths]
    return {path: ImageRecord(path, "", 48, 48, "JPEG", False, "") for path in paths}


def kinds(found: list[Finding]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in found}


def same(known: dict[str, ImageRecord], *paths: str) -> None:
    for path in paths:
        known[path] = known[path]._replace(digest="same" + paths[0])


def test_nothing_is_found_where_nothing_is_wrong(data: Dataset) -> None:
    assert of_images(data, records(data)) == [] and of_classes(data, records(data)) == []


def test_leaks_are_counted_by_pair_of_splits(data: Dataset) -> None:
    known = records(data)
    finch, owl = CLASSES[:2]
    same(known, f"train/{finch}/1.jpg", f"test/{finch}/1.jpg", f"test/{finch}/2.jpg")
    same(known, f"valid/{owl}/1.jpg", f"test/{owl}/2.jpg")
    found = of_images(data, known)
    assert [(one.kind, one.blocking) for one in found] == [("leak", True)] * 2
    assert found[0].text.startswith("2 of the images in test are in train too")
    assert f"test/{finch}/1.jpg = train/{finch}/1.jpg" in found[0].text
    assert found[1].groups == ((f"valid/{owl}/1.jpg", f"test/{owl}/2.jpg"),)


def test_two_labels_and_repeated(data: Dataset) -> None:
    known = records(data)
    finch, owl, tern = CLASSES
    same(known, f"train/{finch}/1.jpg", f"train/{owl}/1.jpg")
    same(known, f"train/{tern}/1.jpg", f"train/{tern}/4.jpg")
    found = kinds(of_images(data, known))
    assert set(found) == {"two labels", "repeated"}
    assert found["two labels"].blocking and found["two labels"].groups == (
        (f"train/{finch}/1.jpg", f"train/{owl}/1.jpg"),
    )
    assert not found["repeated"].blocking and found["repeated"].groups == (
        (f"train/{tern}/1.jpg", f"train/{tern}/4.jpg"),
    )


def test_images_that_look_the_same_count_where_their_looks_are_known(data: Dataset) -> None:
    known = records(data)
    whole, trimmed = bytes(range(32)).hex(), bytes(range(32, 64)).hex()
    copy = f"test/{CLASSES[0]}/1.jpg"
    for path, codes in ((f"train/{CLASSES[0]}/1.jpg", trimmed), (copy, whole + trimmed)):
        known[path] = known[path]._replace(codes=codes)
    found = of_images(data, known)
    assert [one.kind for one in found] == ["leak"]
    assert copies(data, found) == {"valid": (), "test": (copy,)}


def test_an_image_of_test_that_chose_the_model_is_a_copy_too(data: Dataset) -> None:
    known = records(data)
    chose, learned = f"valid/{CLASSES[0]}/1.jpg", f"valid/{CLASSES[1]}/1.jpg"
    copy = f"test/{CLASSES[0]}/1.jpg"
    same(known, chose, copy)
    same(known, f"train/{CLASSES[1]}/1.jpg", learned)
    found = of_images(data, known)
    assert copies(data, found) == {"valid": (learned,), "test": (copy,)}
    assert f"1 of the images in test is in valid too, by content or looks, such as {copy} = {chose}" in [
        one.text for one in found
    ]


def test_unreadable_files_spoil_a_sweep_that_would_not_start(data: Dataset) -> None:
    known = records(data)
    bad = f"train/{CLASSES[0]}/1.jpg"
    known[bad] = known[bad]._replace(error="empty file")
    same(known, bad, f"test/{CLASSES[0]}/1.jpg")  # two empty files are no leak
    (found,) = of_images(data, known)
    assert found.kind == "unreadable" and found.blocking and found.text.endswith(f"{bad}: empty file")
    many = {f"other/{number}": known[f"train/{CLASSES[0]}/2.jpg"] for number in range(100)}
    assert not of_images(data, known | many)[0].blocking


def test_constant_images_lost_classes_and_imbalance(data: Dataset) -> None:
    known = records(data)
    for number in range(1, 5):
        path = f"train/{CLASSES[1]}/{number}.jpg"
        known[path] = known[path]._replace(error="empty file")
    known[f"valid/{CLASSES[1]}/1.jpg"] = known[f"valid/{CLASSES[1]}/1.jpg"]._replace(constant=True)
    assert kinds(of_images(data, known))["constant"].groups == ((f"valid/{CLASSES[1]}/1.jpg",),)
    (lost,) = of_classes(data, known)
    assert lost.blocking and f"no readable image of {CLASSES[1]!r}" in lost.text


def test_imbalance(own_birds: Path) -> None:
    folder = own_birds / "train" / CLASSES[2]
    for number in range(5, 42):
        (folder / f"{number}.jpg").touch()
    data = scan(str(own_birds))
    (found,) = of_classes(data, records(data))
    assert not found.blocking and found.text == "train/ has 41 images of 'MOSS TERN' and 4 of 'CORAL OWL'"
