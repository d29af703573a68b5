"""Which files are scored: folders, files, patterns; names of all kinds; what is no image is left aside by name."""

import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_birds.config import PredictConfig
from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data import decode
from ray_birds.prediction import inputs, labelled
from ray_birds.prediction.inputs import Found
from tests.conftest import CLASSES


@pytest.fixture
def folder(birds: Path, tmp_path: Path) -> Path:
    """A folder nobody has looked at."""
    root = tmp_path / "unseen birds"
    image = birds / "test/CORAL OWL/1.jpg"
    for name in ("a/1.jpg", "a/UPPER.JPG", "a/b c/鶯 é.jpeg", "no ending", "a/x.png", "a/[1].webp", "#?%20.gif"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, root / name)
    (root / "zero.bmp").touch()
    for name in ("notes.txt", "README", "a/2.jpg.part", "a/film.mp4"):
        (root / name).write_text("no image")
    return root


IMAGES = {
    "a/1.jpg",
    "a/UPPER.JPG",
    "a/b c/鶯 é.jpeg",
    "no ending",
    "a/x.png",
    "a/[1].webp",
    "#?%20.gif",
    "zero.bmp",
}
OTHERS = {"notes.txt", "README", "a/2.jpg.part", "a/film.mp4"}


def uris(found: Found) -> list[str]:
    return [storage.join(inputs.root(given), path) for given, path in found.images]


def test_a_folder(folder: Path) -> None:
    found = inputs.find([str(folder)])
    assert {given for given, _ in found.images} == {str(folder)}
    assert [path for _, path in found.images] == sorted(IMAGES)
    assert {str(Path(uri).relative_to(folder)) for uri, _ in found.ignored} == OTHERS
    assert {reason for _, reason in found.ignored} == {"not an image"}
    assert all(Path(uri).is_file() for uri in uris(found))


def test_a_relative_folder_stays_as_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    for given in ("unseen birds", "unseen birds/", "./unseen birds"):
        found = inputs.find([given])
        assert {name for name, _ in found.images} == {given} and len(found.images) == len(IMAGES)
        assert set(uris(found)) == {str(folder / path) for path in IMAGES}
    monkeypatch.chdir(folder / "a")
    assert sorted(uris(inputs.find(["."]))) == sorted(str(folder / p) for p in IMAGES if p.startswith("a/"))


def test_several_inputs_keep_their_order(folder: Path) -> None:
    first, second = str(folder / "zero.bmp"), str(folder / "a")
    found = inputs.find([first, second])
    assert found.images[0] == (first, "zero.bmp") and found.images[1][0] == second
    assert uris(found)[0] == first and len(found.images) == 6


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_a_file_by_itself(folder: Path, name: str) -> None:
    """A name that exists is itself, though it may look like a pattern."""
    found = inputs.find([str(folder / name)])
    given = str(folder / name)
    assert found.images == ((given, Path(name).name),) and uris(found) == [given]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("a/*.jpg", {"a/1.jpg"}),
        ("**/*.j*g", {"a/1.jpg", "a/b c/鶯 é.jpeg"}),
        ("a", {path for path in IMAGES if path.startswith("a/")}),
        ("a*", {path for path in IMAGES if path.startswith("a/")}),
        ("*", IMAGES),
        ("**", IMAGES),
        ("a/**", {path for path in IMAGES if path.startswith("a/")}),
    ],
)
def test_a_pattern_gives_each_image_once(folder: Path, pattern: str, matched: set[str]) -> None:
    found = inputs.find([str(folder / pattern)])
    assert sorted(uris(found)) == sorted(str(folder / path) for path in matched)


def test_what_a_pattern_matches_and_is_no_image_is_left_aside(folder: Path) -> None:
    ignored = {uri for uri, _ in inputs.find([str(folder / "*")]).ignored}
    assert {str(folder / "notes.txt"), str(folder / "README")} <= ignored


def test_file_uri(folder: Path) -> None:
    found = inputs.find([f"file://{folder}"])
    assert set(uris(found)) == {str(folder / path) for path in IMAGES}


@pytest.mark.parametrize("given", ["nothing", "nothing/*.jpg", "a/*.tiff"])
def test_nothing_there(folder: Path, given: str) -> None:
    with pytest.raises(DataError) as error:
        inputs.find([str(folder / given)])
    assert str(folder / given) in str(error.value) and "\n" not in str(error.value)


def test_no_image_in_it_says_where_it_looked_and_what_it_saw(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").touch()
    with pytest.raises(DataError) as error:
        inputs.find([str(tmp_path / "empty"), str(tmp_path / "texts")])
    message = str(error.value)
    assert "empty" in message and "texts" in message and "1 other" in message and "a.txt" in message
    assert "\n" not in message


def test_odd_folders_are_listed_and_links_never_followed_round(folder: Path, birds: Path) -> None:
    (folder / "x.jpg").mkdir()
    shutil.copy(birds / "test/CORAL OWL/1.jpg", folder / "x.jpg/inside.jpg")
    (folder / "a/loop").symlink_to(folder, target_is_directory=True)
    (folder / "linked.jpg").symlink_to(birds / "test/CORAL OWL/1.jpg")
    (folder / "dangling.jpg").symlink_to(folder / "gone")
    found = inputs.find([str(folder)])
    assert {path for _, path in found.images} == IMAGES | {"x.jpg/inside.jpg", "linked.jpg", "dangling.jpg"}
    reasons = dict(found.ignored)
    assert "folder" in reasons[str(folder / "x.jpg")] and "link" in reasons[str(folder / "a/loop")]
    assert len(reasons) == len(OTHERS) + 2


@pytest.mark.timeout(20)  # two links make 2^40 ways through the folders
@pytest.mark.parametrize("pattern", ["**", "**/*.jpg", "a/*"])
def test_a_pattern_does_not_follow_links_either(folder: Path, pattern: str) -> None:
    (folder / "a/loop").symlink_to(folder, target_is_directory=True)
    (folder / "loop").symlink_to(folder / "a", target_is_directory=True)
    found = uris(inputs.find([str(folder / pattern)]))
    assert len({Path(uri).resolve() for uri in found}) == len(found)


def test_a_link_to_itself_is_left_aside(folder: Path) -> None:
    (folder / "self.jpg").symlink_to(folder / "self.jpg")
    found = inputs.find([str(folder)])
    assert {path for _, path in found.images} == IMAGES
    assert str(folder / "self.jpg") in dict(found.ignored)


def test_a_file_that_several_inputs_lead_to_is_scored_once(folder: Path) -> None:
    found = inputs.find([str(folder / "a/1.jpg"), str(folder / "a"), str(folder), str(folder / "**/*.png")])
    assert sorted(uris(found)) == sorted(str(folder / path) for path in IMAGES)
    assert found.images[0] == (str(folder / "a/1.jpg"), "1.jpg")


def test_a_name_that_is_not_utf8_can_be_written_to_the_manifest(folder: Path, birds: Path) -> None:
    odd = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")
    shutil.copy(birds / "test/CORAL OWL/1.jpg", odd)
    found = inputs.find([str(folder)])
    for text in (
        *(part for pair in found.images for part in pair),
        *(part for pair in found.ignored for part in pair),
    ):
        text.encode()
    assert len(found.images) + len(found.ignored) == len(IMAGES) + len(OTHERS) + 1


@pytest.mark.integration
def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    """In a process of its own, for opening a pipe that nobody writes to takes for ever."""
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.jpg")
    code = (
        "import sys; from ray_birds.core import storage\n"
        "from ray_birds.data import decode; from ray_birds.prediction import inputs\n"
        "for given, path in inputs.find([sys.argv[1]]).images:\n"
        "    decode.load(storage.join(inputs.root(given), path), 32)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], timeout=60, check=True)


def test_labels_come_from_folders_named_like_classes(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = frozenset(CLASSES)
    assert inputs.label(str(birds), "test/CORAL OWL/1.jpg", known) == "CORAL OWL"
    assert inputs.label(str(birds / "test/CORAL OWL"), "1.jpg", known) == "CORAL OWL"
    assert inputs.label("s3://bucket/x?region=eu-west-1", "CORAL  OWL/1.jpg", known) == "CORAL OWL"
    assert inputs.label(str(birds), "images to test/1.jpg", known) is None
    assert inputs.label(str(birds), "coral-owl/1.jpg", known) == "CORAL OWL"  # as a sweep takes it
    assert inputs.label(str(birds), "coral owl/1.jpg", known | {"CORAL-OWL"}) is None  # which of the two?
    monkeypatch.chdir(birds / "test/CORAL OWL")
    assert inputs.label(inputs.root("."), "1.jpg", known) == "CORAL OWL"
    assert inputs.label(inputs.root("1.jpg"), "1.jpg", known) == "CORAL OWL"


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("test/CORAL OWL/cam1/5.jpg", "CORAL OWL"),
        ("test/CORAL OWL/MOSS TERN/5.jpg", "MOSS TERN"),  # the nearest folder that is a class
        ("test/CORAL OWL/MOSS TERN/cam1/2024/5.jpg", "MOSS TERN"),
        ("test/CORAL_OWL/5.jpg", "CORAL OWL"),
        ("test/coral owl /5.jpg", "CORAL OWL"),
        ("test/CORALL OWL/5.jpg", None),
        ("5.jpg", None),
    ],
)
def test_the_nearest_folder_that_is_a_class_labels_an_image(path: str, wanted: str | None) -> None:
    known = frozenset(CLASSES)
    assert inputs.label("/data", path, known) == wanted
    folder, _, name = path.rpartition("/")
    assert inputs.label(f"/data/{folder}", name, known) == wanted  # however deep the input begins
    assert inputs.label("s3://bucket/data", path, known) == wanted


def test_unicode_forms_of_a_class_are_one() -> None:
    for folder, name in itertools.permutations(("CAFÉ", "CAFE\u0301")):
        assert folder != name and inputs.label("/data", f"{folder}/1.jpg", frozenset({name, "OWL"})) == name


def test_a_person_or_a_bucket_called_like_a_class_labels_nothing() -> None:
    known = frozenset({"ROBIN", "OWL"})
    assert inputs.label("/home/robin/new photos", "a/1.jpg", known) is None
    assert inputs.label("/home/robin/owl", "a/1.jpg", known) == "OWL"
    assert inputs.label("s3://robin/new photos", "a/1.jpg", known) is None
    assert inputs.label("/data/robin/test/unknown", "1.jpg", known) is None  # a data set ends at its split


def test_folders_of_no_class_are_named_with_the_nearest(folder: Path, birds: Path) -> None:
    shutil.copytree(birds / "test", folder / "labelled")
    (folder / "labelled/CORAL OWL").rename(folder / "labelled/CORRAL_OWLS")
    lines = inputs.notes(inputs.find([str(folder / "labelled")]), CLASSES)
    assert lines == ["2 files lie in folders that are no class: CORRAL_OWLS (nearest 'CORAL OWL')"]
    # Where some are labelled the others are told of, whatever their folders are called.
    shutil.rmtree(folder / "a")
    (line,) = inputs.notes(inputs.find([str(folder)]), CLASSES)
    assert line.startswith("5 files lie in folders that are no class:") and "unseen birds (nearest" in line


def test_a_folder_of_new_images_is_unlabelled_and_nothing_is_said(folder: Path) -> None:
    assert inputs.notes(inputs.find([str(folder)]), CLASSES) == []
    (folder / "a").rename(folder / "MOSS TERNS")
    (line,) = inputs.notes(inputs.find([str(folder)]), CLASSES)
    assert line == "5 files lie in folders that are no class: MOSS TERNS (nearest 'MOSS TERN')"


def test_what_systems_leave_behind_is_passed_over_and_counted(folder: Path, birds: Path) -> None:
    image = birds / "test/CORAL OWL/1.jpg"
    litter = (".ipynb_checkpoints/1-checkpoint.jpg", "a/@eaDir/1.jpg", "__MACOSX/a/1.jpg", "a/._1.jpg", "._2.jpg")
    for name in (*litter, "Thumbs.db", "$RECYCLE.BIN/x.jpg", "lost+found/y.jpg", "a/.DS_Store", "Desktop.ini"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(image, folder / name)
    found = inputs.find([str(folder)])
    assert {path for _, path in found.images} == IMAGES
    assert len(found.ignored) == len(OTHERS)
    (note,) = inputs.notes(found, CLASSES)
    assert note.startswith("10 files and folders that systems leave behind were passed over: ._* (2), ")
    given = str(folder / "a/._1.jpg")
    assert inputs.find([given]).images == ((given, "._1.jpg"),)  # named by the user: meant


def test_content_decides_where_the_name_does_not(folder: Path, birds: Path) -> None:
    data = (birds / "test/CORAL OWL/1.jpg").read_bytes()
    jpegs = ("x.jpg.1", "x.jfif", "x.HEIC", "x.jpg_large", "x.JPE", "x.txt", "x.5", "é?")
    tiff = {
        "y.tif": b"II*\0",
        "y.AVIF": b"",
        "scan": b"MM\0*",
        "phone.jpg": b"\0\0\0\x18ftypheic",
        "y.dng": b"II*\0",
    }
    for name, content in {**dict.fromkeys(jpegs, data), **tiff}.items():
        (folder / name).write_bytes(content)
    found = inputs.find([str(folder)])
    assert {path for _, path in found.images} == IMAGES | {*jpegs, *tiff}
    errors = {name: decode.load(str(folder / name), 32).error for name in (*jpegs, *tiff)}
    assert {errors[name] for name in jpegs} == {""} and errors["y.AVIF"] == "empty file"
    assert errors["scan"].startswith("damaged") and errors["phone.jpg"]


def test_a_folder_of_links_is_followed_and_each_real_folder_once(birds: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    for name in CLASSES:
        (root / name).symlink_to(birds / "test" / name)
    (root / "again").symlink_to(birds / "test/CORAL OWL")
    (root / "up").symlink_to(tmp_path)
    (root / "round").symlink_to(root)
    found = inputs.find([str(root)])
    assert [path for _, path in found.images] == [f"{name}/{n}.jpg" for name in CLASSES for n in (1, 2)]
    reasons = {Path(uri).name: reason for uri, reason in found.ignored}
    assert reasons == {
        "again": "a link to a folder that is listed already",
        "up": "a link to a folder above",
        "round": "a link to a folder that is listed already",
    }


def test_two_ways_to_one_folder_give_one_row_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "other name").symlink_to(folder / "a")
    found = inputs.find(["a", "./a/b c/../../a", f"{folder}/a/../a", "a", "other name", "."])
    assert len(found.images) == len(IMAGES)
    assert {given for given, _ in found.images} == {"a", "."}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("birds.zip", b"PK\x03\x04", "an archive; unpack it and give the folder"),
        ("birds.tar.gz", b"\x1f\x8b\x08", "an archive; unpack it and give the folder"),
        ("list.txt", b"a/1.jpg\na/2.jpg\n", "not an image; give folders, images or patterns"),
        ("table.csv", b"path,label\n", "not an image; give folders, images or patterns"),
        ("nothing", b"", "not an image"),
    ],
)
def test_what_is_no_image_by_itself_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        inputs.find([str(tmp_path / name)])
    assert str(error.value).startswith(f"--input {tmp_path / name}: {words}") and "\n" not in str(error.value)


@pytest.mark.parametrize("given", ["", "  "])
def test_an_empty_input_is_not_the_current_folder(given: str) -> None:
    with pytest.raises(DataError, match=r"--input .* is empty"):
        inputs.find([given])


def test_a_pattern_that_is_none_is_one_line(folder: Path) -> None:
    with pytest.raises(DataError, match=r"--input .*a\*\*: Invalid pattern"):
        inputs.find([f"{folder}/a**"])


@pytest.mark.integration
def test_a_folder_without_permission_is_named() -> None:
    """In a process without root's rights."""
    code = (
        "import os, pathlib, tempfile; from ray_birds.prediction import inputs\n"
        "folder = pathlib.Path(tempfile.mkdtemp()); folder.chmod(0o755)\n"
        "(folder / 'a.jpg').touch(); (folder / 'closed').mkdir(mode=0)\n"
        "root = os.geteuid() == 0\n"
        "if root: os.seteuid(65534)\n"
        "found = inputs.find([str(folder)])\n"
        "print(len(found), list(inputs.reasons(found.ignored)))\n"
        "if root: os.seteuid(0)\n"
        "(folder / 'closed').rmdir(); (folder / 'a.jpg').unlink(); folder.rmdir()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "1 ['1 x cannot be listed: Permission denied']", done.stderr


@pytest.mark.slow
def test_100_000_files_are_listed_in_seconds(tmp_path: Path) -> None:
    for number in range(100_000):
        os.close(os.open(f"{tmp_path}/{number}.jpg", os.O_CREAT))
    start = time.perf_counter()
    found = inputs.find([str(tmp_path)])
    assert len(found) == 100_000 and time.perf_counter() - start < 20


# ---- by a table of labels


def by_table(folder: Path, *rows: str, columns: tuple[str, ...] = ()) -> Found:
    (folder.parent / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    config = PredictConfig("m", (str(folder),), labels=str(folder.parent / "labels.csv"), columns=columns)
    return labelled.find(config, CLASSES)


def test_a_table_gives_files_and_labels(folder: Path, birds: Path) -> None:
    """In the order of the paths; labels as the model has them; one without a label, and one from elsewhere."""
    elsewhere = str(birds / "test/CORAL OWL/1.jpg")
    rows = (
        "id,label,path",
        "1,coral-owl,a/1.jpg",
        "2,,a/x.png",
        f"3,MOSS TERN,{elsewhere}",
        "4,MOSS TERN,zero.bmp",
    )
    found = by_table(folder, *rows)
    assert [(file.path, file.label) for file in found.files(CLASSES)] == [
        (elsewhere, "MOSS TERN"),
        ("a/1.jpg", "CORAL OWL"),
        ("a/x.png", None),
        ("zero.bmp", "MOSS TERN"),
    ]
    assert found.roots == {str(folder): str(folder)} and len(found) == 4
    (note,) = inputs.notes(found, CLASSES)
    assert note == f"1 rows of {folder.parent}/labels.csv have no label"
    again = by_table(folder, "file,species", "a/1.jpg,ATLAS FINCH", columns=("path=file", "label=species"))
    assert [(file.path, file.label) for file in again.files(CLASSES)] == [("a/1.jpg", "ATLAS FINCH")]


def test_a_label_that_is_no_class_is_named(folder: Path) -> None:
    found = by_table(folder, "path,label", "a/1.jpg,MOSS TERN", "a/x.png,MOSS TERNS", "zero.bmp,human")
    assert [file.label for file in found.files(CLASSES)] == ["MOSS TERN", None, None]
    (note,) = inputs.notes(found, CLASSES)
    assert note.startswith("2 rows of ") and "line 3: 'MOSS TERNS' (nearest 'MOSS TERN')" in note


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["path,label", "a/1.jpg,A", "a/2.jpg,A"], r"labels\.csv line 3: 'a/2\.jpg': no such file below"),
        (["path,label", "a/1.jpg,A", "a/1.jpg,B"], r"labels\.csv line 3: 'a/1\.jpg' has label 'B', not 'A'"),
        (["path,label", "a/1.jpg,A", ",B"], r"labels\.csv line 3: path is empty"),
        (["path,species", "a/1.jpg,A"], r"labels\.csv: no column 'label' .*name it with --columns label=NAME"),
        (["path,label"], r"labels\.csv: has no rows; expected one for each image"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(folder: Path, rows: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        by_table(folder, *rows)
    assert "\n" not in str(error.value)


def test_splits_of_a_table_say_nothing_to_a_prediction(folder: Path) -> None:
    assert len(by_table(folder, "path,label,split", "a/1.jpg,MOSS TERN,held out")) == 1
