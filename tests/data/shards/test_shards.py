"""Images inside of tar and Parquet files: each is a row as a file is, whatever the shard holds."""

import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from ray_birds.core import node_folder, storage
from ray_birds.core.errors import DataError
from ray_birds.data import decode, records, walk
from ray_birds.data.dataset import scan, survey
from ray_birds.data.shards import parquet as shard_parquet
from ray_birds.data.shards import tar_index, webdataset
from ray_birds.data.table import Labels, split_of
from ray_birds.prediction import inputs
from tests.conftest import CLASSES, own_s3
from tests.data.shards.shard_files import as_parquet, as_tar, images_of, write_parquet, write_tar
from tests.data.test_dataset import breach
from tests.fuzz.mutator import Mutator

END = 2 * tarfile.BLOCKSIZE


@pytest.fixture(autouse=True)
def _own_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))


@pytest.fixture
def photo(birds: Path) -> bytes:
    return (birds / "test/CORAL OWL/1.jpg").read_bytes()


def read(uri: str | Path) -> tuple[bytes, str]:
    return decode.read(str(uri))


def listed(root: Path) -> list[str]:
    """The paths that a prediction has rows for."""
    return [path for _, path in inputs.find([str(root)]).images]


def errors(root: Path) -> dict[str, str]:
    """The reason of each row that has no image, by path."""
    found = {path: decode.load(f"{root}/{path}", 32).error for path in listed(root)}
    return {path: error for path, error in found.items() if error}


@pytest.mark.parametrize("made", [as_tar, as_parquet])
def test_shards_are_the_data_set_that_folders_are(
    birds: Path, tmp_path: Path, made: Callable[[Path, Path], Path]
) -> None:
    """The same images in the same order, with the same classes and labels."""
    root = made(birds, tmp_path / "shards")
    data, folders = scan(str(root)), scan(str(birds))
    assert data.classes == folders.classes and data.notes == ()
    for name, split in folders.splits.items():
        assert data.splits[name].labels.tolist() == split.labels.tolist()
        assert data.splits[name].numbers.tolist() == split.numbers.tolist()
        ours, theirs = ([read(one.uri(path)) for path in one.splits[name].paths] for one in (data, folders))
        assert ours == theirs and {error for _, error in ours} == {""}
    found = inputs.find([str(root)])
    assert found.ignored == () and len(found) == 24
    files = list(found.files(CLASSES))
    assert [file.label for file in files if "train" in file.path] == sorted(CLASSES * 4)
    assert listed(root) == sorted(listed(root))


def test_what_a_path_looks_like(birds: Path, tmp_path: Path) -> None:
    assert scan(str(as_tar(birds, tmp_path / "a"))).splits["train"].paths[6] == "train/1.tar::000006.jpg"
    rows = scan(str(as_parquet(birds, tmp_path / "b"))).splits["train"].paths
    assert rows[3] == "data/train-00000-of-00001.parquet::03"


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("data/validation-00000-of-00001.parquet", "valid"),
        ("imagenet1k-val-00.tar", "valid"),
        ("birds/train/0000.parquet", "train"),
        ("test/birds-0.tar", "test"),
        ("train/test-0.tar", "test"),
        ("latest/trainer-0.tar", ""),
        ("0.tar", ""),
    ],
)
def test_a_split_is_a_word_of_the_path(path: str, split: str) -> None:
    assert split_of(path) == split


def test_without_a_split_all_is_train_and_with_some_the_others_are_named(tmp_path: Path, photo: bytes) -> None:
    for number, name in enumerate(CLASSES):
        write_tar(tmp_path / f"x/{number}.tar", [(f"{name}/1.jpg", photo), (f"{name}/2.jpg", photo)])
    data = scan(str(tmp_path / "x"))
    assert set(data.splits) == {"train"} and data.classes == CLASSES and len(data.splits["train"]) == 6
    write_tar(tmp_path / "x/valid.tar", [(f"{CLASSES[0]}/1.jpg", photo)])
    assert "x/0.tar: no split in its name" in breach(tmp_path / "x")


def test_a_whole_data_set_in_one_tar_file(birds: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "birds.tar", "w") as archive:
        archive.add(birds, ".")
    data = scan(str(tmp_path))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 12, "valid": 6, "test": 6}
    assert data.splits["test"].paths[0] == f"birds.tar::test/{CLASSES[0]}/1.jpg" and data.classes == CLASSES
    file = next(inputs.find([str(tmp_path / "birds.tar")]).files(CLASSES))
    assert file.path == f"birds.tar::test/{CLASSES[0]}/1.jpg" and file.label == CLASSES[0]


@pytest.mark.parametrize(
    ("beside", "label"),
    [
        ({"cls": b"2\n"}, "MOSS TERN"),  # by classnames.txt
        ({"cls": b"7"}, "7"),  # which does not have this one
        ({"json": b'{"label": 1, "url": "x"}', "txt": b"an owl"}, "CORAL OWL"),
        ({"json": b'{"cls": " A  b "}'}, "A b"),
        ({"json": b"{", "txt": "Küken\n".encode()}, "Küken"),
        ({"txt": b"x" * 201}, "FOLDER"),  # a text on the image
        ({"json": b"[" * 100_000}, "FOLDER"),
        ({}, "FOLDER"),
    ],
)
def test_labels_beside_an_image(tmp_path: Path, photo: bytes, beside: dict[str, bytes], label: str) -> None:
    members = [(f"FOLDER/1.{extension}", data) for extension, data in beside.items()]
    write_tar(
        tmp_path / "x/train/0.tar",
        [*members, ("FOLDER/1.jpg", photo), ("FOLDER/1.seg.png", photo), ("Z/1.jpg", photo)],
    )
    (tmp_path / "x/classnames.txt").write_text("\n".join(CLASSES))
    data = scan(str(tmp_path / "x"))
    assert data.splits["train"].paths[0] == "train/0.tar::FOLDER/1.jpg"
    assert data.classes[data.splits["train"].labels[0]] == data.classes[data.splits["train"].labels[1]] == label


def test_rows_without_a_label_are_counted_and_predicted(tmp_path: Path, photo: bytes) -> None:
    write_parquet(tmp_path / "train.parquet", [(photo, 0), (photo, 1), (photo, -1), (photo, None), (photo, 9)])
    data = scan(str(tmp_path))
    assert len(data.splits["train"]) == 2 and "3 images without a label are left out" in data.notes
    assert len(listed(tmp_path)) == 5
    write_parquet(tmp_path / "train.parquet", [(photo, -1)])
    assert "no labelled image of train (1 images without a label)" in breach(tmp_path)


def test_class_folders_go_before_shards(own_birds: Path, photo: bytes) -> None:
    """And a shard in a class folder holds images of the class."""
    write_tar(own_birds / "train/CORAL OWL/more.tar", [("a.jpg", photo), ("MOSS TERN/b.jpg", photo)])
    write_tar(own_birds / "elsewhere.tar", [("a.jpg", photo)])
    data = scan(str(own_birds))
    labels = dict(zip(data.splits["train"].paths, data.splits["train"].labels.tolist(), strict=True))
    assert len(labels) == 14 and labels["train/CORAL OWL/more.tar::a.jpg"] == 1
    assert labels["train/CORAL OWL/more.tar::MOSS TERN/b.jpg"] == 2


def test_a_table_is_no_shard(tmp_path: Path, photo: bytes) -> None:
    (tmp_path / "1.jpg").write_bytes(photo)
    parquet.write_table(pa.table({"path": ["1.jpg"], "label": ["A"]}), tmp_path / "labels.parquet")
    assert "has no folder train/" in breach(tmp_path)


def test_a_broken_member_is_a_row_with_a_reason(tmp_path: Path, photo: bytes) -> None:
    write_tar(tmp_path / "0.tar", [("a.jpg", photo[:300]), ("b.jpg", b""), ("c.jpg", photo), ("d", photo)])
    write_parquet(tmp_path / "0.parquet", [(photo[:300], 0), (None, 0), (b"", 0), (photo, 0)])
    found = errors(tmp_path)
    assert {path: error.partition(":")[0] for path, error in found.items()} == {
        "0.tar::a.jpg": "damaged",
        "0.tar::b.jpg": "empty file",
        "0.parquet::0": "damaged",
        "0.parquet::1": "cannot be read",
        "0.parquet::2": "empty file",
    }
    assert found["0.parquet::1"].endswith("holds no bytes of an image; one with embedded images is read")
    assert len(listed(tmp_path)) == 8
    assert decode.read(f"{tmp_path}/0.tar::c.jpg", 100)[1] == f"too large: {len(photo):,} bytes, over 100"
    assert decode.read(f"{tmp_path}/0.parquet::3", 100)[1] == f"too large: {len(photo):,} bytes, over 100"


def cut(data: bytes, photo: bytes) -> bytes:
    """Within the last image."""
    return data[: 2 * tarfile.BLOCKSIZE + 2 * len(photo)]


DAMAGES: dict[str, tuple[Callable[[bytes, bytes], bytes], set[str], str]] = {
    "cut": (cut, {"x.tar", "x.tar::b.jpg"}, "a shard that is cut short, within 'b.jpg'"),
    "no end": (
        lambda data, _: data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512),
        {"x.tar"},
        "a shard without its end",
    ),
    "empty": (lambda *_: b"", {"x.tar"}, "a damaged shard: empty file"),
    "no tar": (lambda *_: b"x" * 2000, {"x.tar"}, "a damaged shard: invalid header"),
    "a header": (
        lambda data, photo: data.replace(b"b.jpg\0", b"c.jpg\0"),
        {"x.tar"},
        "a damaged shard: no header at byte",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_tar_file_is_a_row_beside_those_of_its_images(tmp_path: Path, photo: bytes, damage: str) -> None:
    """And blocks a sweep, for images may be missing."""
    damaged, rows, reason = DAMAGES[damage]
    path = write_tar(tmp_path / "train/x.tar", [("a.jpg", photo), ("b.jpg", photo)])
    path.write_bytes(damaged(path.read_bytes(), photo))
    found = errors(path.parent)
    assert set(found) == rows and reason in found["x.tar"]
    assert ("x.tar::a.jpg" in listed(path.parent)) == (damage not in ("empty", "no tar"))
    if "x.tar::b.jpg" in rows:
        assert "its shard ends" in found["x.tar::b.jpg"]
    write_tar(tmp_path / "train/y.tar", [(f"{name}/1.jpg", photo) for name in CLASSES])
    problems = survey(str(tmp_path))[1]
    assert f"{tmp_path}/train/x.tar: {found['x.tar'].removeprefix('cannot be read: ')}" in problems[0]


@pytest.mark.parametrize("damage", ["cut", "no parquet", "a page", "two images"])
def test_a_damaged_parquet_file(tmp_path: Path, photo: bytes, damage: str) -> None:
    path = write_parquet(tmp_path / "x.parquet", [(photo, 0)] * 3 + [(photo + b" ", 1)] * 3, group=3)
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[:-20])
    elif damage == "no parquet":
        path.write_bytes(b"PAR1")
    elif damage == "two images":
        table = parquet.read_table(path)
        parquet.write_table(table.append_column("mask", table["image"]), path)
        parquet.write_table(table.append_column("mask", table["image"]).replace_schema_metadata({}), path)
    else:
        path.write_bytes(data[:4] + b"\xff" * 20 + data[24:])  # the first page's header
    found = errors(tmp_path)
    expected = [f"x.parquet::{row}" for row in range(3)] if damage == "a page" else ["x.parquet"]
    assert [*found] == expected and all(error.startswith("cannot be read: ") for error in found.values())


def test_what_a_shard_holds_beside_images(tmp_path: Path, photo: bytes) -> None:
    """What belongs to an image is not told of; the rest is left aside, with what systems leave behind."""
    members = [("1.jpg", photo), ("1.cls", b"2"), ("1.json", b"{}"), ("readme.md", b"# x"), ("._1.jpg", b"")]
    path = write_tar(tmp_path / "x.tar", members)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("linked.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "1.jpg"
        archive.addfile(link)
    parquet.write_table(pa.table({"path": ["x"], "label": ["y"]}), tmp_path / "labels.parquet")
    found = inputs.find([str(tmp_path)])
    assert [path for _, path in found.images] == ["x.tar::1.jpg"]
    assert dict(found.ignored) == {
        f"{tmp_path}/x.tar::readme.md": "not an image",
        f"{tmp_path}/x.tar::linked.jpg": "a link or a sparse file inside of an archive",
        f"{tmp_path}/labels.parquet": "not an image",
    }
    assert found.notes == ("1 files and folders that systems leave behind were passed over: ._* (1)",)


@pytest.mark.parametrize("name", ["./a//b/1.jpg", "/a/b/1.jpg", "a/./b/1.jpg"])
def test_names_in_a_tar_file_as_paths(tmp_path: Path, photo: bytes, name: str) -> None:
    write_tar(tmp_path / "x.tar", [(name, photo)])
    assert listed(tmp_path) == ["x.tar::a/b/1.jpg"] and read(tmp_path / "x.tar::a/b/1.jpg") == (photo, "")


def test_of_a_name_that_comes_again_the_last_one_counts(tmp_path: Path, photo: bytes) -> None:
    write_tar(tmp_path / "x.tar", [("1.jpg", b"old"), ("1.jpg", photo)])
    assert listed(tmp_path) == ["x.tar::1.jpg"] and read(tmp_path / "x.tar::1.jpg") == (photo, "")


def test_names_of_all_kinds(tmp_path: Path, photo: bytes) -> None:
    names = ["#?%20.jpg", "a::b.jpg", "l" * 300 + ".jpg", "x.tar::y.jpg", "鶯 é.jpg"]
    write_tar(tmp_path / "x.tar", [(name, photo) for name in names])
    assert listed(tmp_path) == [f"x.tar::{name}" for name in names] and errors(tmp_path) == {}


def test_a_file_whose_name_looks_like_a_member(tmp_path: Path, photo: bytes) -> None:
    (tmp_path / "x.tar::1.jpg").write_bytes(photo)
    assert listed(tmp_path) == ["x.tar::1.jpg"] and errors(tmp_path) == {}
    assert listed(tmp_path / "x.tar::1.jpg") == ["x.tar::1.jpg"]


def test_files_and_shards_beside_each_other_are_in_the_order_of_their_paths(tmp_path: Path, photo: bytes) -> None:
    """On which an update relies."""
    for name in ("a.jpg", "a.tar.jpg", "b/1.jpg", "x.tau.jpg", "z.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo)
    for name in ("a.tar", "b/0.tar", "x.tar"):
        write_tar(tmp_path / name, [(f"{n}.jpg", photo) for n in ("c/2", "1", "c/d/3", "e")])
    assert len(listed(tmp_path)) == 17 and listed(tmp_path) == sorted(listed(tmp_path))


def test_inputs_by_shard_by_member_and_by_pattern(birds: Path, tmp_path: Path) -> None:
    root = as_tar(birds, tmp_path / "x")
    shard = f"{root}/train/0.tar"
    assert [path for _, path in inputs.find([shard]).images] == [f"0.tar::{n:06}.jpg" for n in range(6)]
    (one,) = inputs.find([f"{shard}::000004.jpg"]).files(CLASSES)
    assert (one.path, one.label, one.size) == ("0.tar::000004.jpg", CLASSES[1], Path(shard).stat().st_size)
    assert len(inputs.find([f"{root}/*/1.tar"])) == 12
    twice = inputs.find([f"{shard}::000004.jpg", shard])
    assert len(twice) == 6 and twice.images[0][1] == "0.tar::000004.jpg"
    for given, said in ((f"{shard}::none.jpg", "no such image in"), (f"{root}/none.tar::1.jpg", "nothing there")):
        with pytest.raises(DataError, match=said):
            inputs.find([given])
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "table.parquet")
    with pytest.raises(DataError, match=r"table\.parquet: not an image"):
        inputs.find([str(tmp_path / "table.parquet")])


def test_a_table_of_labels_names_images_in_shards(birds: Path, tmp_path: Path) -> None:
    root = as_tar(birds, tmp_path / "x")
    lines = [f"train/0.tar::00000{n}.jpg,{'AB'[n % 2]}" for n in range(4)]
    labels = Labels(str(tmp_path / "labels.csv"))
    Path(labels.file).write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    assert scan(str(root), labels=labels).splits["train"].labels.tolist() == [0, 1, 0, 1]
    for lost in ("train/0.tar::none.jpg", "train/none.tar::1.jpg"):
        Path(labels.file).write_text("\n".join(["path,label", *lines, f"{lost},A"]), encoding="utf-8")
        assert f"line 6: '{lost}': no such file" in survey(str(root), labels=labels)[1][0]


def test_groups_of_images_in_shards(birds: Path, tmp_path: Path) -> None:
    root = as_tar(birds, tmp_path / "x")
    with pytest.raises(DataError, match="lie in shards; name a column of a table"):
        scan(str(root), labels=Labels(group_by="folder:1"))
    data = scan(str(root), labels=Labels(group_by="burst:30"))
    assert set(data.groups.values()) == {""} and len(data.groups) == 24


def test_a_shard_that_changes_is_listed_again(tmp_path: Path, photo: bytes) -> None:
    """Its images have its size and time, which keep what is known of them."""
    path = write_tar(tmp_path / "x.tar", [("1.jpg", photo)])
    uri = f"{path}::1.jpg"
    before = walk.stamp(uri)
    assert before == (path.stat().st_size, path.stat().st_mtime_ns // 1000)
    write_tar(path, [("0.jpg", b"x" * 700), ("1.jpg", photo[::-1])])
    os.utime(path, (1, 1))
    assert read(uri) == (photo[::-1], "") and walk.stamp(uri) != before
    path.unlink()
    assert read(uri) == (b"", "file has vanished") and walk.stamp(uri) == walk.UNKNOWN


def test_a_tar_file_s_headers_are_read_once_on_a_node(tmp_path: Path, photo: bytes) -> None:
    path = write_tar(tmp_path / "x.tar", [("1.jpg", photo), ("1.txt", b"A"), ("x.md", b""), ("2.jpg", photo)])
    stamp = 1, 1
    first = tar_index.of(str(path), stamp)
    (kept,) = node_folder.own("shards").glob("*.arrow")
    path.write_bytes(path.read_bytes()[:-3000])
    again = tar_index.of(str(path), stamp)
    for one in (
        again,
        webdataset.index(
            str(write_tar(path, [("1.jpg", photo), ("1.txt", b"A"), ("x.md", b""), ("2.jpg", photo)]))
        ),
    ):
        assert one.names.equals(first.names) and one.labels.equals(first.labels)
        assert one.sizes.tolist() == first.sizes.tolist() and one.offsets.tolist() == first.offsets.tolist()
        assert (one.uri, one.size, one.others, one.fault) == (first.uri, first.size, first.others, first.fault)
    kept.write_bytes(b"damaged")
    assert tar_index.of(str(path), stamp).names.equals(first.names)
    node_folder.own("shards").chmod(0o755)  # others could write there: nothing of it is believed
    assert tar_index.of(str(path), stamp).names.equals(first.names)


@pytest.mark.parametrize("group", [1, 7, 300])
def test_rows_of_parquet_in_any_order(tmp_path: Path, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a row group is more than is kept at a time."""
    monkeypatch.setattr(shard_parquet, "_ROOM", 4_000)
    images = [bytes([n % 256, n // 256]) * (50 + n) for n in range(300)]
    path = write_parquet(tmp_path / "x.parquet", [(one, 0) for one in images], group)
    order = list(range(300))
    for seed in (0, 1):
        assert [read(f"{path}::{n:03}")[0] for n in order] == [images[n] for n in order]
        random.Random(seed).shuffle(order)


def test_a_parquet_file_of_few_bytes_that_unpack_to_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One large image stands for many rows: these are read a few at a time; a larger page not at all."""
    path = write_parquet(tmp_path / "x.parquet", [(bytes(1_000_000), 0)] * 100, 100)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(shard_parquet, "_ROOM", 3_000_000)
    assert shard_parquet._Reader(shard_parquet.index(str(path)))._step(0) == 2
    assert read(f"{path}::99") == (bytes(1_000_000), "")
    monkeypatch.setattr(shard_parquet, "_LARGEST_PAGE", 900_000)
    os.utime(path, (1, 1))
    assert "a page of its Parquet file unpacks to 1,0" in read(f"{path}::99")[1]


def test_records_of_images_in_shards_are_recalled(birds: Path, tmp_path: Path) -> None:
    data = scan(str(as_tar(birds, tmp_path / "x")))
    paths = data.splits["train"].paths
    assert records.stamps(data).keys() == {path for split in data.splits.values() for path in split.paths}
    assert len({records.stamps(data)[path] for path in paths}) == 2


@pytest.mark.integration
def test_shards_on_an_object_store(birds: Path, tmp_path: Path) -> None:
    as_tar(birds, tmp_path / "x/tar")
    as_parquet(birds, tmp_path / "x/parquet")
    with own_s3() as bucket:
        storage.copy(str(tmp_path / "x"), f"{bucket}/x")
        for kind in ("tar", "parquet"):
            root = f"{bucket}/x/{kind}"
            data, here = scan(root), scan(str(tmp_path / "x" / kind))
            for name, split in data.splits.items():
                assert split.paths == here.splits[name].paths
                assert all(read(data.uri(path)) == read(here.uri(path)) for path in split.paths)
            files = list(inputs.find([root]).files(CLASSES))
            assert len(files) == 24 and None not in {file.size for file in files}
            assert records.stamps(data).keys() == {path for s in data.splits.values() for path in s.paths}
        write_tar(tmp_path / "x.tar", [("000000.jpg", b"other")])
        storage.copy(str(tmp_path / "x.tar"), f"{bucket}/x/tar/train/0.tar")
        assert "its shard has changed" in read(f"{bucket}/x/tar/train/0.tar::000000.jpg")[1]
        assert len(inputs.find([f"{bucket}/x/tar"])) == 19
        assert read(f"{bucket}/x/tar/train/0.tar::000000.jpg") == (b"other", "")


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_mutated_shards(birds: Path, tmp_path: Path, kind: str) -> None:
    """Whatever is in one, listing it and reading what it lists raises nothing."""
    photo = next(iter(images_of(birds / "test"))).read_bytes()[:600]
    members = [("a/1.jpg", photo), ("a/1.cls", b"1"), ("b.jpg", photo), ("l" * 150 + ".json", b'{"label": 2}')]
    tar = write_tar(tmp_path / "good.tar", members).read_bytes()
    rows = write_parquet(tmp_path / "good.parquet", [(photo, n % 3) for n in range(6)], 2).read_bytes()
    mutator = Mutator(1, [tar, rows])
    uri = str(tmp_path / f"x/x.{kind}")
    Path(uri).parent.mkdir()
    for number in range(200):
        Path(uri).write_bytes(mutator.damaged(tar if kind == "tar" else rows))
        os.utime(uri, (number, number))
        tree, others = walk.sort(walk.walk(str(Path(uri).parent)))
        for path in tree.files:
            reason = read(tree.uri(path))[1]
            assert "\n" not in reason and len(reason) < 400
        assert tree.files or others
