"""Places on local disks; places on object stores as far as they can be had without one."""

from pathlib import Path

import pytest
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import SettingsError
from tests.conftest import file_limit


@pytest.mark.parametrize(
    ("uri", "names", "joined"),
    [
        ("/data", ("a", "b c"), "/data/a/b c"),
        ("/data/", ("a/b.jpg",), "/data/a/b.jpg"),
        ("s3://bucket/birds", ("train", "1.jpg"), "s3://bucket/birds/train/1.jpg"),
        ("s3://bucket/birds/", ("train",), "s3://bucket/birds/train"),
        ("s3://bucket/birds?region=x", ("a",), "s3://bucket/birds/a?region=x"),
        ("/data", (), "/data"),
    ],
)
def test_join(uri: str, names: tuple[str, ...], joined: str) -> None:
    assert storage.join(uri, *names) == joined


@pytest.mark.parametrize(
    ("uri", "local"),
    [("birds", True), ("/a/b", True), ("C:/x", True), ("s3://b", False), ("gs://b/k", False), ("a:b", True)],
)
def test_is_local(uri: str, local: bool) -> None:
    assert storage.is_local(uri) is local


def test_resolve_makes_local_paths_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert storage.resolve("birds/train") == str(tmp_path / "birds/train")
    assert storage.resolve("~/birds") == "/home/someone/birds"
    assert storage.resolve("/a b/鶯/") == "/a b/鶯"
    assert storage.resolve("file:///a b/c") == "/a b/c"
    assert storage.resolve(storage.resolve("birds")) == storage.resolve("birds")


def test_resolve_keeps_an_object_store_address() -> None:
    assert storage.resolve("s3://bucket/birds/?region=eu-west-1") == "s3://bucket/birds/?region=eu-west-1"
    assert storage.resolve("s3://bucket/birds/?region=eu-west-1") == storage.resolve(
        storage.resolve("s3://bucket/birds/?region=eu-west-1")
    )


@pytest.mark.parametrize(
    "address",
    [
        "s3://AKIAUSER:s3cr3t@bucket/key",
        "s3://AKIAUSER:s3cr3t%2Fmore@bucket/key?region=x",
        "s3://AKIAUSER:s3cr3t/more@bucket/key",  # secrets often hold a slash, and people paste them as they are
        "s3://AKIAUSER:s3cr3t#more@bucket/key",
        "s3://AKIAUSER:s3cr3t+more?x@bucket/key",
        "s3://bucket/key?access_key=AKIAUSER&secret_key=s3cr3t",
    ],
)
def test_credentials_in_an_address_are_refused_and_never_repeated(address: str) -> None:
    with pytest.raises(SettingsError) as error:
        storage.resolve(address)
    assert "s3cr3t" not in str(error.value) and "more" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "query",
    [
        "endpoint_override=http://AKIAUSER:s3cr3t@host",
        "sig=s3cr3t",
        "X-Amz-Signature=s3cr3t",
        "X-Amz-Credential=s3cr3t",
        "region=x&se%63ret_%6bey=s3cr3t",
    ],
)
def test_credentials_in_the_options_are_refused_however_they_are_written(query: str) -> None:
    with pytest.raises(SettingsError) as error:
        storage.resolve(f"s3://bucket/key?{query}")
    assert "s3cr3t" not in str(error.value) and "environment" in str(error.value)


@pytest.mark.parametrize("given", ["", " ", "\n"])
def test_an_empty_path_is_refused_and_not_the_current_folder(given: str) -> None:
    with pytest.raises(SettingsError, match="an empty path"):
        storage.resolve(given)


@pytest.mark.parametrize(
    "key", ["photo.jpg?width=300", "a?region=eu", "a?", "?", "a b#c%20d.jpg", "x?y/z.jpg", "a??b"]
)
def test_a_key_is_a_key_whatever_is_in_it(key: str) -> None:
    """Its path is the bucket and the key as they are; the options stay those of the base."""
    base = "s3://bucket/in?region=eu-west-1"
    assert storage.path(storage.join("s3://bucket/in", key)) == f"bucket/in/{key}"
    uri = storage.join(base, key)
    assert storage.path(uri) == storage.filesystem(uri)[1] == f"bucket/in/{key}"
    assert storage.parent(storage.join(base, "x", key.replace("/", ""))) == storage.join(base, "x")
    assert storage.filesystem(uri)[0] == storage.filesystem(base)[0]
    assert storage.resolve(uri) == uri
    assert storage.path(storage.beside(uri, ".partial")) == f"bucket/in/{key}.partial"


def test_a_key_given_by_hand_is_one_where_arrow_has_no_such_option() -> None:
    assert storage.path("s3://bucket/photo.jpg?width=300") == "bucket/photo.jpg?width=300"
    assert storage.path("s3://bucket/photo.jpg?region=x") == "bucket/photo.jpg"
    assert storage.path("s3://bucket/photo.jpg?region=x?") == "bucket/photo.jpg?region=x"


def test_reading_no_more_than_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert storage.read_up_to(str(tmp_path / "a"), 5) == b"12345"
    with pytest.raises(storage.TooLargeError) as error:
        storage.read_up_to(str(tmp_path / "a"), 4)
    assert error.value.size == 5


@pytest.mark.parametrize("address", ["ftp://host/x", "nonsense://x"])
def test_an_address_of_an_unknown_kind_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=address):
        storage.resolve(address)


def test_write_makes_folders_replaces_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    uri = str(tmp_path / "new/folder/a.bin")
    storage.write(uri, b"old" * 1000)
    storage.write(uri, b"new")
    assert storage.read(uri) == b"new"
    assert [path.name for path in Path(uri).parent.iterdir()] == ["a.bin"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.bin")
    storage.write(uri, b"old")
    with file_limit(100), pytest.raises(OSError):
        storage.write(uri, b"x" * 5000)
    assert storage.read(uri) == b"old"


def test_json_keeps_every_character(tmp_path: Path) -> None:
    value = {"name": 'ÉTOURNEAU 鶯 "x"', "numbers": [1, 0.1, None], "empty": {}}
    storage.write_json(str(tmp_path / "a.json"), value)
    assert storage.read_json(str(tmp_path / "a.json")) == value
    assert "鶯" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_reading_what_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read(str(tmp_path / "nothing"))


def test_find_and_folders_are_sorted(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "b/10.jpg", "a b/c/鶯.jpg", "top.txt"):
        storage.write(str(tmp_path / name), b"")
    (tmp_path / "empty").mkdir()
    found = [storage.relative(info, str(tmp_path)) for info in storage.find(str(tmp_path))]
    assert found == ["a b/c/鶯.jpg", "b/10.jpg", "b/2.jpg", "top.txt"]
    assert storage.folders(str(tmp_path)) == ["a b", "b", "empty"]
    assert storage.find(str(tmp_path / "nothing")) == []


def test_kinds(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert storage.kind(str(tmp_path)) == fs.FileType.Directory
    assert storage.kind(str(tmp_path / "a")) == fs.FileType.File
    assert storage.exists(str(tmp_path / "a")) and not storage.exists(str(tmp_path / "b"))


def test_remove(tmp_path: Path) -> None:
    storage.write(str(tmp_path / "d/e/f"), b"")
    storage.remove(str(tmp_path / "d/e/f"))  # no directory
    assert (tmp_path / "d/e/f").exists()
    storage.remove_file(str(tmp_path / "d"))  # no file
    storage.remove_file(str(tmp_path / "d/e/f"))
    assert (tmp_path / "d/e").is_dir() and not (tmp_path / "d/e/f").exists()
    storage.remove(str(tmp_path / "d"))
    storage.remove(str(tmp_path / "d"))
    storage.remove_file(str(tmp_path / "d"))
    assert not (tmp_path / "d").exists()


def test_copy_of_a_file(tmp_path: Path) -> None:
    storage.write(str(tmp_path / "a b.bin"), b"content")
    storage.copy(str(tmp_path / "a b.bin"), str(tmp_path / "new/deep/c.bin"))
    assert (tmp_path / "new/deep/c.bin").read_bytes() == b"content"


def test_copy_of_a_directory(tmp_path: Path) -> None:
    contents = {"1.bin": b"one", "deep/er/2 鶯.bin": b"two"}
    for name, data in contents.items():
        storage.write(str(tmp_path / "from" / name), data)
    storage.copy(str(tmp_path / "from"), str(tmp_path / "new/to"))
    target = tmp_path / "new/to"
    copied = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert copied == contents


def test_publish_is_one_rename(tmp_path: Path) -> None:
    storage.write(str(tmp_path / "staging/deep/a"), b"content")
    before = (tmp_path / "staging").stat().st_ino
    storage.publish(str(tmp_path / "staging"), str(tmp_path / "new/place"))
    assert (tmp_path / "new/place/deep/a").read_bytes() == b"content"
    assert (tmp_path / "new/place").stat().st_ino == before and not (tmp_path / "staging").exists()


def test_publish_does_not_mix_with_what_is_there(tmp_path: Path) -> None:
    storage.write(str(tmp_path / "staging/a"), b"new")
    storage.write(str(tmp_path / "place/b"), b"old")
    with pytest.raises(OSError):
        storage.publish(str(tmp_path / "staging"), str(tmp_path / "place"))
    assert (tmp_path / "place/b").exists() and (tmp_path / "staging/a").exists()


def test_temporary_file() -> None:
    with storage.temporary_file(b"weights", ".weights.h5") as path:
        assert path.endswith(".weights.h5") and Path(path).read_bytes() == b"weights"
    assert not Path(path).exists()


def test_digest_depends_on_every_part_and_on_where_parts_end() -> None:
    known = storage.digest(["ab", b"c"])
    assert len(known) == 32 and int(known, 16) >= 0
    assert known == storage.digest([b"ab", "c"])
    others = [["a", "bc"], ["abc"], ["ab", "c", ""], ["c", "ab"], ["ab"], []]
    assert len({known, *map(storage.digest, others)}) == len(others) + 1


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are read as Windows reads them. What asks a disk stays this system's."""
    monkeypatch.setattr(storage, "_WINDOWS", True)


def test_a_path_of_windows_is_divided_by_slashes(windows: None) -> None:
    for root in ("C:/birds", "C:\\birds", "C:/birds/"):
        assert storage.join(root, "train", "1.jpg") == "C:/birds/train/1.jpg"
    assert storage.from_os("C:\\Users\\a b\\1.jpg") == "C:/Users/a b/1.jpg"
    assert storage.join("//server/share/birds", "1.jpg") == "//server/share/birds/1.jpg"
    assert storage.parent("C:/birds/train") == "C:/birds" and storage.parent("C:\\birds") == "C:/"
    assert storage.beside("C:/birds", ".new") == "C:/birds.new" and storage.path("C:/birds") == "C:/birds"
    assert isinstance(storage.filesystem("C:/birds")[0], fs.LocalFileSystem)


def test_what_is_absolute_on_windows(windows: None) -> None:
    for path in ("D:/x.jpg", "D:\\x.jpg", "//server/share/x.jpg", "/x.jpg"):
        assert storage.is_absolute(path) and storage.at("C:/birds", path) == path
    assert storage.at("C:/birds", "train/1.jpg") == "C:/birds/train/1.jpg"
    assert storage.without_file_scheme("file:///C:/birds") == "C:/birds"


def test_elsewhere_a_drive_and_a_backslash_are_letters_like_others() -> None:
    assert not storage.is_absolute("C:/x.jpg") and storage.at("/birds", "C:/x.jpg") == "/birds/C:/x.jpg"
    assert storage.from_os("a\\b.jpg") == "a\\b.jpg" and storage.join("/birds", "a\\b") == "/birds/a\\b"
    assert storage.without_file_scheme("file:///C:/birds") == "/C:/birds"
