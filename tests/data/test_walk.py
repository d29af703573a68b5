"""The walk: names that systems leave behind, links, what is no file; on disks and on an object store."""

import os
from pathlib import Path

import boto3
import pytest

from ray_birds.core import storage
from ray_birds.data import formats, walk
from ray_birds.data.walk import Aside
from tests.conftest import own_s3

LITTER = (
    *(
        ".DS_Store",
        "._1.jpg",
        ".ipynb_checkpoints",
        ".git",
        "~$table.xlsx",
        "Thumbs.db",
        "THUMBS.DB",
        "ehthumbs.db",
    ),
    *("desktop.ini", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "@eaDir", "#recycle", "@__thumb"),
    *("lost+found", "FOUND.000", "Icon\r", "__pycache__"),
)


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


@pytest.mark.parametrize("name", LITTER)
def test_names_that_systems_leave_behind(name: str, tmp_path: Path) -> None:
    tree = walk.walk(str(make(tmp_path, f"A/{name}", f"B/{name}/x.jpg", "A/1.jpg")))
    assert tree.files == ["A/1.jpg"] and tree.folders == ["A", "B"] and tree.litter.total() == 2
    assert walk.litter_note(tree.litter)[0].startswith("2 files and folders that systems leave behind")


@pytest.mark.parametrize("name", ["A", "..", ".", "a.b", "St. Louis", "lost", "~", "thumbs", "eaDir", "_x"])
def test_names_that_people_give(name: str) -> None:
    assert not walk.is_litter(name)


def test_a_note_shows_a_few_names_and_counts_the_others(tmp_path: Path) -> None:
    names = [*(f"{letter}/Thumbs.db" for letter in "ABC"), *(f".{letter}" for letter in "abcdef")]
    (note,) = walk.litter_note(walk.walk(str(make(tmp_path, *names))).litter)
    assert "9 files and folders" in note and "Thumbs.db (3)" in note and note.endswith("and 2 more names")


def test_a_real_folder_goes_before_a_link_to_it_and_before_one_in_a_linked_folder(tmp_path: Path) -> None:
    root = make(tmp_path / "in", "z/1.jpg", "a/2.jpg")
    make(tmp_path / "out", "deep/3.jpg")
    (root / "a/link").symlink_to(root / "z")
    (root / "b").symlink_to(tmp_path / "out/deep")
    (root / "c").symlink_to(tmp_path / "out")
    tree = walk.walk(str(root))
    assert tree.files == ["a/2.jpg", "b/3.jpg", "z/1.jpg"] and tree.folders == ["a", "b", "c", "z"]
    assert tree.aside == [Aside("a/link", "a link to a folder that is listed already", False)]
    assert tree.real("b/3.jpg") == str(tmp_path / "out/deep/3.jpg") and tree.real("a/2.jpg") == str(
        root / "a/2.jpg"
    )


@pytest.mark.timeout(20)  # two links to the folder above make 2^40 ways through it
def test_loops_end(tmp_path: Path) -> None:
    root = make(tmp_path / "in", "A/1.jpg", "B/1.jpg")
    for name in ("A/up", "B/up"):
        (root / name).symlink_to(root)
    (root / "A/top").symlink_to("/")
    tree = walk.walk(str(root))
    assert tree.files == ["A/1.jpg", "B/1.jpg"]
    assert [path for path, *_ in tree.aside] == ["A/top", "A/up", "B/up"]


def test_only_the_folders_asked_for_are_entered(tmp_path: Path) -> None:
    root = make(tmp_path, "train/A/1.jpg", "other/A/1.jpg", "loose.jpg")
    tree = walk.walk(str(root), ["train", "valid"])
    assert tree.files == ["train/A/1.jpg"] and tree.folders == ["train", "train/A"]


def test_what_is_no_file_has_a_reason(tmp_path: Path) -> None:
    root = make(tmp_path, "A/1.jpg", "x.jpg/2.jpg")
    os.mkfifo(root / "pipe.jpg")
    (root / "self.jpg").symlink_to(root / "self.jpg")
    (root / "gone.jpg").symlink_to(root / "nothing")
    (root / "gone").symlink_to(root / "nothing")
    (root / "to pipe.jpg").symlink_to(root / "pipe.jpg")
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.jpg")).touch()
    tree = walk.walk(str(root))
    assert tree.files == ["A/1.jpg", "gone.jpg", "x.jpg/2.jpg"]
    reasons = {path: (reason.partition(":")[0], lost) for path, reason, lost in tree.aside}
    assert reasons == {
        "pipe.jpg": ("not a regular file", False),
        "to pipe.jpg": ("not a regular file", False),
        "gone": ("not a regular file", False),
        "self.jpg": ("cannot be followed", False),
        "x.jpg": ("a folder with an image's name", False),
        "caf\\xe9.jpg": ("its name is not UTF-8", True),
    }


def test_paths_are_sorted_though_folders_are_listed_one_by_one(tmp_path: Path) -> None:
    """As texts: a-b/ comes before a/, and a folder among the files of the one above."""
    names = [
        "a-b/1.jpg",
        "a.jpg",
        "a/1.jpg",
        "a/b/1.jpg",
        "a/b.jpg",
        "a/b0/1.jpg",
        "a/c/d/1.jpg",
        "a/z.jpg",
        "é.jpg",
    ]
    tree = walk.walk(str(make(tmp_path, *names, "z/y/x.jpg", "\U0001f426/\uffee.jpg", "\uffee.jpg")))
    assert tree.files == sorted(tree.files) and len(tree.files) == len(names) + 3
    runs = [(folder, names.to_pylist()) for folder, names in tree.runs() if folder == "a/" and len(names)]
    assert runs == [("a/", ["1.jpg", "b.jpg"]), ("a/", ["z.jpg"])]


def test_many_names_are_sorted_as_few_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = walk.walk(str(make(tmp_path, *(f"{number * 7 % 100} é.jpg" for number in range(100)))))
    monkeypatch.setattr(walk, "_CHUNK", 7)
    again = walk.walk(str(tmp_path))
    assert again.files == tree.files == sorted(tree.files) and len(tree.files) == 100


@pytest.mark.integration
def test_keys_of_an_object_store() -> None:
    """Every key is a file that can be asked for; one that the file system does not take has a reason."""
    keys = {
        "in/photo.jpg?width=300": b"\xff\xd8\xff",
        "in/x?region=eu": b"\xff\xd8\xff",
        "in/list.txt.gz": b"\x1f\x8b no gzip",
        "in/a//b.jpg": b"",
        "in//c.jpg": b"",
        "in/A/.ipynb_checkpoints/1.jpg": b"",
        "in/A/.ipynb_checkpoints/2.jpg": b"",
        "in/B/a #1%20.png": b"",
        "other/1.jpg": b"",
    }
    with own_s3() as bucket:
        store = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        for key, data in keys.items():
            store.put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=data)
        tree = walk.walk(f"{bucket}/in")
        assert tree.files == [
            "/c.jpg",
            "B/a #1%20.png",
            "a//b.jpg",
            "list.txt.gz",
            "photo.jpg?width=300",
            "x?region=eu",
        ]
        assert tree.litter == {".ipynb_checkpoints": 1} and {"A", "B", "a"} <= set(tree.folders)
        images, others = walk.sort(tree)
        assert images.files == ["/c.jpg", "B/a #1%20.png", "a//b.jpg", "photo.jpg?width=300", "x?region=eu"]
        assert others == [Aside("list.txt.gz", formats.NOT_AN_IMAGE, False)]
        assert storage.read(tree.uri("photo.jpg?width=300")) == b"\xff\xd8\xff"
        assert storage.read(tree.uri("list.txt.gz")) == b"\x1f\x8b no gzip"
        assert storage.kind(storage.resolve(f"{bucket}/in/photo.jpg?width=300")).name == "File"
        nested = walk.walk(bucket, ["in"])
        assert nested.files == [f"in/{path}" for path in tree.files] and "in/A" in nested.folders
