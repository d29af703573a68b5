"""The drawn birds and the demo's backbone: layout, repeatability, and that paint alone does not give them away."""

import hashlib
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from ray_birds.core.errors import DataError
from ray_birds.demo import birds as demo
from ray_birds.demo import drawing, species
from ray_birds.demo.pretrain import HELD_OUT, TRAINED, WEIGHTS, traits

COUNTS = {"train": 12, "valid": 1, "test": 5}


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None, path
    return image


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.draw_dataset(tmp_path_factory.mktemp("demo") / "birds", **COUNTS)


@pytest.mark.integration
def test_has_the_real_folder_layout(birds: Path) -> None:
    assert {path.name for path in birds.iterdir()} == {"train", "valid", "test", demo.UNLABELLED, demo.RECORD}
    for split, count in COUNTS.items():
        assert sorted(path.name for path in (birds / split).iterdir()) == [bird.name for bird in species.SPECIES]
        assert {len(list(folder.iterdir())) for folder in (birds / split).iterdir()} == {count}
    assert len(list((birds / demo.UNLABELLED).iterdir())) == 7
    assert {read(path).shape for path in birds.rglob("*.jpg")} == {(224, 224, 3)}


@pytest.mark.integration
def test_no_image_occurs_twice(birds: Path) -> None:
    found = digests(birds)
    assert len(set(found.values())) == len(found)


@pytest.mark.integration
def test_the_same_seed_draws_the_same_bytes_and_a_image_does_not_depend_on_the_counts(tmp_path: Path) -> None:
    few = {"train": 2, "valid": 1, "test": 1}
    first = digests(demo.draw_dataset(tmp_path / "first", seed=3, **few))
    assert digests(demo.draw_dataset(tmp_path / "second", seed=3, **few)) == first
    fewer = digests(demo.draw_dataset(tmp_path / "fewer", seed=3, train=1, valid=1, test=1))
    images = [name for name in fewer if name != demo.RECORD]
    assert {name: first[name] for name in images} == {name: fewer[name] for name in images}
    other = digests(demo.draw_dataset(tmp_path / "other", seed=4, train=1, valid=1, test=1))
    assert other.keys() == fewer.keys() and not set(other.values()) & set(first.values())


@pytest.mark.integration
def test_an_existing_folder_is_kept_or_refused(birds: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in birds.rglob("*")}
    assert demo.draw_dataset(birds, **COUNTS) == birds
    assert {path: path.stat().st_mtime_ns for path in birds.rglob("*")} == before
    with pytest.raises(DataError, match="is not the demo drawn with seed 1"):
        demo.draw_dataset(birds, seed=1, **COUNTS)
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(DataError) as refusal:
        demo.draw_dataset(foreign, **COUNTS)
    assert str(foreign) in str(refusal.value) and "\n" not in str(refusal.value)
    assert digests(foreign).keys() == {"holiday.jpg"}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_failed_drawing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_ink(*_: object) -> None:
        raise RuntimeError("out of ink")

    monkeypatch.setattr(demo, "draw_bird", out_of_ink)
    with pytest.raises(RuntimeError):
        demo.draw_dataset(tmp_path / "birds")
    assert not list(tmp_path.iterdir())


def histograms(split: Path) -> tuple[np.ndarray, np.ndarray]:
    """8x8x8 colour histograms (n, 512), each summing to 1, and labels (n,)."""
    found, labels = [], []
    for label, folder in enumerate(sorted(split.iterdir())):
        for path in sorted(folder.iterdir()):
            counts = cv2.calcHist([read(path)], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel()
            found.append(counts / counts.sum())
            labels.append(label)
    return np.array(found), np.array(labels)


@pytest.mark.integration
def test_colour_alone_does_not_tell_the_species_apart(birds: Path) -> None:
    known, labels = histograms(birds / "train")
    asked, truth = histograms(birds / "test")
    nearest = np.abs(asked[:, None] - known[None]).sum(axis=2).argmin(axis=1)
    accuracy = (labels[nearest] == truth).mean()
    assert accuracy < 0.45  # the issue allows 0.60; one in twelve is chance


def test_palettes_are_shared_by_several_species() -> None:
    palettes = [bird.palette for bird in species.SPECIES]
    assert min(palettes.count(palette) for palette in palettes) >= 2


def test_other_species_are_others_and_repeatable() -> None:
    others = species.other_species(TRAINED + HELD_OUT)
    assert others == species.other_species(TRAINED + HELD_OUT)
    parts = {(bird.beak, bird.tail, bird.crest, bird.pattern) for bird in others}
    assert len(parts) == TRAINED + HELD_OUT
    assert not parts & {(bird.beak, bird.tail, bird.crest, bird.pattern) for bird in species.SPECIES}


def test_a_bird_shows_one_kind_of_each_part() -> None:
    for bird in species.SPECIES:
        has = [trait for _, trait in traits(bird)]
        ends = np.cumsum(
            [
                len(species.PALETTES),
                len(species.BEAKS),
                len(species.TAILS),
                len(species.WINGS),
                len(species.CRESTS),
            ]
        )
        assert [sum(group) for group in np.split(has[: ends[-1]], ends[:-1])] == [1] * 5
        assert sum(has[ends[-1] : ends[-1] + 8]) == (bird.pattern != "plain")


def test_the_masks_show_where_the_parts_are_drawn() -> None:
    image, parts = drawing.draw_parts(species.SPECIES[3], np.random.default_rng(5))
    assert np.array_equal(image, drawing.draw_bird(species.SPECIES[3], np.random.default_rng(5)))
    head, tail, body = (np.argwhere(parts[part] > 0).mean(axis=0)[1] for part in ("head", "tail", "body"))
    assert head < body < tail or tail < body < head


def test_the_weight_file_is_small_finite_and_float16() -> None:
    assert WEIGHTS.stat().st_size <= 1_500_000
    arrays: list[np.ndarray] = []
    with h5py.File(WEIGHTS) as file:
        file.visititems(lambda _, item: arrays.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    assert sum(array.size for array in arrays) == 410_208  # Keras's count for MobileNetV2 0.35 without its top
    assert {array.dtype for array in arrays} == {np.dtype(np.float16)}
    assert all(np.isfinite(array).all() for array in arrays)
