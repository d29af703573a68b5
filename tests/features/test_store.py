"""The feature store: keys that cover every fact, shards that are whole or made again, rows by number."""

import dataclasses
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.data import augment, decode
from ray_birds.features import shards, store
from ray_birds.features.store import Feature, FeatureSpec, Reader
from ray_birds.model.cut import PIXELS, POOLED, CutPoint
from ray_birds.sweep.factors import Variant, View
from tests.conftest import file_limit

DEEP = CutPoint("block6d_add", (2, 2, 3))
POOL = CutPoint(POOLED, (5,))
RAW = CutPoint(PIXELS, (4, 4, 3))
CATALOGUE = FeatureSpec(
    backbone="EfficientNetB0",
    weights="w0",
    image_size=224,
    dtype="float16",
    augment_seed=0,
    fingerprints={"train": "t0", "valid": "v0"},
    rows={"train": 150, "valid": 20},
)


def feature(cut_point: CutPoint = DEEP, dtype: str = "float16", rows: int = 150) -> Feature:
    return dataclasses.replace(CATALOGUE, dtype=dtype, rows={"train": rows}).feature("train", cut_point, None)


def values_of(made: Feature) -> np.ndarray:
    """(rows, *shape) in the feature's dtype."""
    random = np.random.default_rng(0)
    if made.dtype == "uint8":
        return random.integers(0, 256, (made.rows, *made.shape), dtype=np.uint8)
    return random.normal(0, 3, (made.rows, *made.shape)).astype(made.dtype)


def write(uri: Path, made: Feature, shards: range | list[int] | None = None) -> np.ndarray:
    values = values_of(made)
    for shard in range(made.shards) if shards is None else shards:
        store.write_shard(str(uri), made, shard, values[slice(*made.span(shard))])
    return values


def shard_files(uri: Path, made: Feature) -> list[Path]:
    return sorted((uri / made.folder).glob("*.npy"))


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "ResNet50V2"},
        {"weights": "w1"},
        {"image_size": 96},
        {"resize": "crop"},
        {"dtype": "float32"},
        {"augment_seed": 1},
        {"fingerprints": {"train": "t1", "valid": "v0"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_fact_changes_the_key(change: dict[str, Any]) -> None:
    known = CATALOGUE.feature("train", DEEP, View("light", 0))
    assert known == CATALOGUE.feature("train", DEEP, View("light", 0))
    other = dataclasses.replace(CATALOGUE, **change).feature("train", DEEP, View("light", 0))
    assert known.key != other.key and known.folder != other.folder


def test_every_place_view_and_split_has_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    views = (None, *(View(policy, number) for policy in ("light", "article") for number in (0, 1, 10)))
    asked = [(s, point, view) for s in ("train", "valid") for point in (DEEP, POOL, RAW) for view in views]
    made = [CATALOGUE.feature(*each) for each in asked]
    assert len({each.key for each in made}) == len({each.folder for each in made}) == len(asked)
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    assert not {each.key for each in made} & {CATALOGUE.feature(*each).key for each in asked}


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"name": "other"}, {"rotation": 0.1}], ids=lambda change: next(iter(change))
)
def test_another_augmentation_makes_other_views_and_no_other_images(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    view, plain = (CATALOGUE.feature("train", DEEP, view) for view in (View("light", 0), None))
    monkeypatch.setitem(augment.POLICIES, "light", dataclasses.replace(augment.LIGHT, **change))
    assert CATALOGUE.feature("train", DEEP, View("light", 0)).key != view.key
    assert CATALOGUE.feature("train", DEEP, None) == plain


def test_another_decoder_makes_all_other(monkeypatch: pytest.MonkeyPatch) -> None:
    view, plain = (CATALOGUE.feature("train", DEEP, view) for view in (View("light", 0), None))
    monkeypatch.setattr(decode, "VERSION", decode.VERSION + 1)
    assert CATALOGUE.feature("train", DEEP, View("light", 0)).key != view.key
    assert CATALOGUE.feature("train", DEEP, None).key != plain.key


def test_plain_features_are_shared_by_seeds_of_the_augmentation() -> None:
    other = dataclasses.replace(CATALOGUE, augment_seed=1)
    assert CATALOGUE.feature("train", DEEP, None) == other.feature("train", DEEP, None)


def test_images_are_stored_as_they_are() -> None:
    assert CATALOGUE.feature("train", RAW, None).dtype == "uint8"
    assert CATALOGUE.feature("train", DEEP, None).dtype == "float16"


def test_what_a_variant_reads() -> None:
    plain = Variant(head="adam", head_epochs=2, fine_tune_epochs=1)
    assert CATALOGUE.needed(plain, POOL, POOL, ["valid"]) == [
        CATALOGUE.feature("train", POOL, None),
        CATALOGUE.feature("valid", POOL, None),
    ]
    deep = dataclasses.replace(plain, augment="on", unfreeze=10)
    needed = CATALOGUE.needed(deep, POOL, DEEP, ["valid"])
    assert {(each.split, each.cut_point, each.view) for each in needed} == {
        ("train", POOLED, View("light", 0)),
        ("train", POOLED, View("light", 1)),
        ("train", DEEP.name, View("light", 2)),
        ("valid", POOLED, None),
        ("valid", DEEP.name, None),
    }
    assert len(needed) == 5
    two_views = CATALOGUE.needed(dataclasses.replace(deep, augment_views=1), POOL, DEEP, ["valid"])
    assert {each.view for each in two_views if each.split == "train"} == {View("light", 0)}


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 150, 4096, 5000, 58_388, 2_000_000])
def test_spans_cover_the_rows_once(rows: int) -> None:
    made = feature(rows=rows)
    spans = [made.span(shard) for shard in range(made.shards)]
    assert spans[0][0] == 0 and spans[-1][1] == rows
    assert all(end == start for (_, end), (start, _) in pairwise(spans))
    assert all(0 < end - start <= made.shard_rows <= 1024 for start, end in spans)
    assert made.bytes_of(range(made.shards)) == made.size == rows * 12 * 2


@pytest.mark.parametrize(
    ("cut_point", "dtype"), [(DEEP, "float16"), (DEEP, "float32"), (POOL, "float16"), (RAW, "uint8")]
)
def test_rows_come_back_in_the_order_asked_for(tmp_path: Path, cut_point: CutPoint, dtype: str) -> None:
    made = feature(cut_point, dtype)
    assert store.missing(str(tmp_path), made) == [0, 1, 2]
    values = write(tmp_path, made)
    assert store.missing(str(tmp_path), made) == []
    store.finish(str(tmp_path), made)
    reader = Reader(str(tmp_path), made)
    numbers = np.random.default_rng(1).permutation(150)[:100]
    numbers[:4] = (149, 0, 64, 63)  # both sides of a boundary, the first row and the last
    none: list[int] = []
    for asked in (numbers, numbers.tolist(), np.array([5, 5]), range(150), none):
        rows = reader.rows(asked)
        assert rows.dtype == (np.uint8 if dtype == "uint8" else np.float32)
        assert rows.shape == (len(asked), *cut_point.shape)
        assert np.array_equal(rows, values[np.asarray(asked, dtype=np.int64)].astype(rows.dtype))


def test_a_row_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    made = feature(rows=20)
    write(tmp_path, made)
    store.finish(str(tmp_path), made)
    for number in (20, 64, 1000):
        with pytest.raises(IndexError):
            Reader(str(tmp_path), made).rows([number])


def test_reading_is_memory_mapped(tmp_path: Path) -> None:
    made = feature()
    write(tmp_path, made)
    store.finish(str(tmp_path), made)
    reader = Reader(str(tmp_path), made)
    assert len(reader._shards) == 3
    assert all(isinstance(shard, np.memmap) and not shard.flags.writeable for shard in reader._shards)


def test_shards_are_cast_to_the_stored_dtype(tmp_path: Path) -> None:
    made = feature(POOL, "float16", rows=3)
    exact = np.random.default_rng(0).normal(size=(3, 5))
    store.write_shard(str(tmp_path), made, 0, exact)
    assert np.load(shard_files(tmp_path, made)[0]).dtype == np.float16
    store.finish(str(tmp_path), made)
    assert np.array_equal(Reader(str(tmp_path), made).rows(range(3)), exact.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("damage", ["flipped bit", "truncated", "emptied", "removed"])
@pytest.mark.parametrize("found_whole", [False, True])
def test_a_damaged_shard_is_found_and_made_again(tmp_path: Path, damage: str, found_whole: bool) -> None:
    made = feature()
    values = write(tmp_path, made)
    store.finish(str(tmp_path), made)
    assert not found_whole or store.missing(str(tmp_path), made) == []
    victim = shard_files(tmp_path, made)[1]
    content = bytearray(victim.read_bytes())
    match damage:
        case "flipped bit":
            content[-7] ^= 1
            victim.write_bytes(content)
        case "truncated":
            victim.write_bytes(content[: len(content) // 2])
        case "emptied":
            victim.write_bytes(b"")
        case _:
            victim.unlink()
    assert store.missing(str(tmp_path), made) == [1]
    assert len(shard_files(tmp_path, made)) == 2
    assert store.missing(str(tmp_path), made) == [1]
    write(tmp_path, made, [1])
    assert store.missing(str(tmp_path), made) == []
    store.finish(str(tmp_path), made)
    assert np.array_equal(Reader(str(tmp_path), made).rows(range(150)), values.astype(np.float32))


def flip(shard: Path, *, keep_time: bool) -> None:
    """Damage a shard, its size kept and its time of change as if nothing had happened, or a moment later."""
    status, content = shard.stat(), bytearray(shard.read_bytes())
    content[-7] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns + (0 if keep_time else 1)))


def test_what_was_found_whole_is_not_read_again_unless_asked_to(tmp_path: Path) -> None:
    made = feature()
    write(tmp_path, made)
    assert store.missing(str(tmp_path), made) == []
    flip(shard_files(tmp_path, made)[1], keep_time=True)
    assert store.missing(str(tmp_path), made) == []
    flip(shard_files(tmp_path, made)[2], keep_time=False)
    assert store.missing(str(tmp_path), made) == [2]
    assert store.missing(str(tmp_path), made, verify=True) == [1, 2]
    write(tmp_path, made, [1, 2])
    assert store.missing(str(tmp_path), made) == []


@pytest.mark.parametrize("memory", [b"", b"[]", b"7", b"\xff", b'{"00000": null}'])
def test_what_was_found_whole_is_forgotten_where_the_note_of_it_is_damaged(tmp_path: Path, memory: bytes) -> None:
    made = feature()
    write(tmp_path, made)
    assert store.missing(str(tmp_path), made) == []
    (tmp_path / made.folder / "verified.json").write_bytes(memory)
    flip(shard_files(tmp_path, made)[1], keep_time=True)
    assert store.missing(str(tmp_path), made) == [1]


def test_a_full_disk_does_not_keep_a_store_from_being_read(tmp_path: Path) -> None:
    made = feature()
    write(tmp_path, made)
    with file_limit(100):
        assert store.missing(str(tmp_path), made) == []
    assert not (tmp_path / made.folder / "verified.json").exists()


@pytest.mark.parametrize("names", [["../../other.npy"], ["00000-0.npy"], None, [3]])
def test_a_manifest_that_names_other_files_is_refused(tmp_path: Path, names: object) -> None:
    made = feature()
    write(tmp_path, made)
    storage.write_json(str(tmp_path / made.folder / shards.MANIFEST), {"shards": names})
    with pytest.raises(OutputError, match="does not name shards"):
        Reader(str(tmp_path), made)


def test_a_shard_that_was_being_written_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kill -9` after the bytes and before the name."""
    made = feature()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    write(tmp_path, made, [0, 2])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        write(tmp_path, made, [1])
    assert store.missing(str(tmp_path), made) == [1]


def test_a_copy_with_other_rounding_does_no_harm(tmp_path: Path) -> None:
    """Two workers may make one shard, and a GPU does not round as a CPU does."""
    made = feature(POOL, "float32")
    values = write(tmp_path, made)
    other = values[:64] + np.float32(1e-6)
    store.write_shard(str(tmp_path), made, 0, other)
    assert len(shard_files(tmp_path, made)) == 4 and store.missing(str(tmp_path), made) == []
    store.finish(str(tmp_path), made)
    rows = Reader(str(tmp_path), made).rows(range(150))
    assert np.array_equal(rows[64:], values[64:])
    assert np.array_equal(rows[:64], values[:64]) or np.array_equal(rows[:64], other)


def test_the_same_content_written_twice_is_one_file(tmp_path: Path) -> None:
    made = feature()
    write(tmp_path, made)
    write(tmp_path, made)
    assert len(shard_files(tmp_path, made)) == 3


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    made = feature()
    write(tmp_path, made)
    store.finish(str(tmp_path), made)
    manifest = storage.read_json(str(tmp_path / made.folder / shards.MANIFEST))
    assert manifest["shards"] == [path.name for path in shard_files(tmp_path, made)]
    assert (manifest["rows"], manifest["shape"], manifest["dtype"]) == (150, [2, 2, 3], "float16")


def test_an_unfinished_feature_cannot_be_read(tmp_path: Path) -> None:
    made = feature()
    write(tmp_path, made)
    with pytest.raises(FileNotFoundError):
        Reader(str(tmp_path), made)


def test_a_full_disk_is_one_line_that_says_the_way_out(tmp_path: Path) -> None:
    made = feature()
    with file_limit(100), pytest.raises(OutputError) as error:
        write(tmp_path, made, [0])
    message = str(error.value)
    assert str(tmp_path) in message and "--features none" in message and "\n" not in message
    assert store.missing(str(tmp_path), made) == [0, 1, 2]


def test_free_bytes(tmp_path: Path) -> None:
    assert 0 < store.free_bytes(str(tmp_path / "new/store")) < 1e18
    assert store.free_bytes("s3://bucket/store") == float("inf")
