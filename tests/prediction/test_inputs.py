"""Which files are scored: folders, files, patterns; names of all kinds; what is no image is left aside by name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.prediction import inputs
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
    for name in ("notes.txt", "a/Thumbs.db", "README", "a/2.jpg.part", "a/film.mp4"):
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
OTHERS = {"notes.txt", "a/Thumbs.db", "README", "a/2.jpg.part", "a/film.mp4"}


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


def test_odd_folders_and_links_are_listed_and_never_followed(folder: Path, birds: Path) -> None:
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
    subprocess.run([sys.executable, "-c", code, str(folder)], timeout=10, check=True)


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
