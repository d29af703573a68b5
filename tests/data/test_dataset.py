"""The folder contract: what is found in a labelled folder, and each breach of it as one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ray_birds.core.errors import DataError
from ray_birds.data.dataset import scan, survey
from ray_birds.data.labels import class_name
from ray_birds.prediction import inputs
from tests.conftest import CLASSES, COUNTS


def breach(root: Path) -> str:
    """The one line that `scan` refuses the folder with."""
    with pytest.raises(DataError) as error:
        scan(str(root))
    assert "\n" not in str(error.value)
    return str(error.value)


def move(root: Path, old: str, new: str) -> None:
    (root / old).rename(root / new)


def test_the_drawn_birds(birds: Path) -> None:
    data = scan(str(birds))
    assert data.root == str(birds) and data.classes == CLASSES and data.notes == ()
    assert {name: len(split) for name, split in data.splits.items()} == {n: 3 * c for n, c in COUNTS.items()}
    train = data.splits["train"]
    assert train.paths == tuple(f"train/{name}/{number}.jpg" for name in CLASSES for number in range(1, 5))
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 and train.labels.dtype == np.int32
    assert train.numbers.tolist() == list(range(12)) and train.numbers.dtype == np.int64
    assert all(Path(data.uri(path)).is_file() for path in train.paths)


def test_numbers_stay_when_bad_files_are_left_out(birds: Path) -> None:
    valid = scan(str(birds)).splits["valid"]
    kept = valid.select(np.array([True, False, True, False, False, True]))
    assert kept.numbers.tolist() == [0, 2, 5] and kept.labels.tolist() == [0, 1, 2]
    assert kept.paths == tuple(valid.paths[number] for number in (0, 2, 5)) and len(kept) == 3


def test_a_relative_root_is_made_absolute(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(birds.parent)
    assert scan("birds").root == str(birds)


@pytest.mark.parametrize("spelling", ["val", "validation", "Valid", "VALIDATION"])
def test_spellings_of_valid(own_birds: Path, spelling: str) -> None:
    move(own_birds, "valid", spelling)
    valid = scan(str(own_birds)).splits["valid"]
    assert len(valid) == 6 and valid.paths[0].startswith(f"{spelling}/")


def test_test_may_be_missing_and_other_folders_are_nobodys_business(own_birds: Path) -> None:
    move(own_birds, "test", "images to test")
    (own_birds / "notes.csv").touch()
    data = scan(str(own_birds))
    assert set(data.splits) == {"train", "valid"} and data.notes == ()


def test_white_space_is_collapsed(own_birds: Path) -> None:
    assert class_name(" PARAKETT  \t AKULET ") == "PARAKETT AKULET"
    move(own_birds, "train/CORAL OWL", "train/CORAL  OWL")
    move(own_birds, "test/CORAL OWL", "test/CORAL OWL ")
    data = scan(str(own_birds))
    assert data.classes == CLASSES
    assert "train/CORAL  OWL/1.jpg" in data.splits["train"].paths
    assert data.splits["test"].labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_classes_are_sorted_after_collapsing(own_birds: Path) -> None:
    """A folder "A  B" sorts before "A A"; its class name does not."""
    for split in COUNTS:
        move(own_birds, f"{split}/ATLAS FINCH", f"{split}/A  B")
        move(own_birds, f"{split}/CORAL OWL", f"{split}/A A")
    data = scan(str(own_birds))
    assert data.classes == ("A A", "A B", "MOSS TERN")
    for found in data.splits.values():
        names = [class_name(path.split("/")[1]) for path in found.paths]
        assert [data.classes[label] for label in found.labels] == names


def test_only_images_in_class_folders_count(own_birds: Path) -> None:
    folder = own_birds / "train/CORAL OWL"
    (folder / "Thumbs.db").touch()
    (folder / "list.txt").touch()
    (own_birds / "train/loose.jpg").touch()
    shutil.copy(folder / "1.jpg", folder / "UPPER.JPEG")
    (folder / "deeper").mkdir()
    shutil.copy(folder / "1.jpg", folder / "deeper/x y 鶯.webp")
    paths = [p for p in scan(str(own_birds)).splits["train"].paths if "CORAL" in p]
    assert paths == [
        f"train/CORAL OWL/{n}" for n in ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "UPPER.JPEG", "deeper/x y 鶯.webp")
    ]


def test_a_wrong_path(tmp_path: Path) -> None:
    assert str(tmp_path / "brids") in breach(tmp_path / "brids")
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in breach(tmp_path / "file")


def test_no_train(own_birds: Path) -> None:
    move(own_birds, "train", "training")
    message = breach(own_birds)
    assert str(own_birds) in message and "train/" in message and "test, training, valid" in message
    assert "no folders" in breach(own_birds / "test/CORAL OWL")


def test_valid_and_test_may_be_missing(own_birds: Path) -> None:
    for split in ("valid", "test"):
        shutil.rmtree(own_birds / split)
    assert list(scan(str(own_birds)).splits) == ["train"]


def test_no_images_at_all(own_birds: Path) -> None:
    for image in (own_birds / "train").rglob("*.jpg"):
        image.unlink()
    assert f"{own_birds}/train: no images" in breach(own_birds)
    with pytest.raises(DataError):
        survey(str(own_birds))


def test_an_empty_class(own_birds: Path) -> None:
    (own_birds / "train/EMPTY EMU").mkdir()
    (own_birds / "train/EMPTY EMU/readme.txt").touch()
    assert f"{own_birds}/train/EMPTY EMU" in breach(own_birds)


@pytest.mark.parametrize("left", [1, 0])
def test_too_few_classes(own_birds: Path, left: int) -> None:
    for split in COUNTS:
        for name in CLASSES[left:]:
            shutil.rmtree(own_birds / split / name)
    message = breach(own_birds)
    assert str(own_birds / "train") in message and f"{left} class" in message


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_class_that_train_does_not_have_is_named_with_the_nearest(own_birds: Path, split: str) -> None:
    move(own_birds, f"{split}/CORAL OWL", f"{split}/CORALL OWL")
    message = breach(own_birds)
    assert f"{split}/" in message and "'CORALL OWL'" in message and "'CORAL OWL'" in message
    assert "MOSS" not in message and "ATLAS" not in message


def test_case_spaces_and_hyphens_may_differ_between_splits(own_birds: Path) -> None:
    move(own_birds, "valid/CORAL OWL", "valid/Coral-Owl")
    (own_birds / "valid/CORAL OWL").mkdir()
    shutil.copy(own_birds / "train/CORAL OWL/1.jpg", own_birds / "valid/CORAL OWL/9.jpg")
    data = scan(str(own_birds))
    assert data.classes == CLASSES and data.splits["valid"].labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert data.notes == ("class 'Coral-Owl' of valid/ is taken for 'CORAL OWL' of train/",)


def test_a_spelling_that_fits_two_classes_is_taken_for_neither(own_birds: Path) -> None:
    shutil.copytree(own_birds / "train/CORAL OWL", own_birds / "train/CORAL-OWL")
    move(own_birds, "valid/CORAL OWL", "valid/Coral Owl")
    assert "'Coral Owl' is in valid/ but not in train/" in breach(own_birds)


@pytest.mark.parametrize("given", ["LOONEY BIRDS", " looney  birds"])
def test_an_excluded_class_is_in_no_split(own_birds: Path, given: str) -> None:
    shutil.copytree(own_birds / "train/CORAL OWL", own_birds / "train/LOONEY  BIRDS")
    shutil.copytree(own_birds / "train/CORAL OWL", own_birds / "valid/LOONEY BIRDS")
    shutil.copytree(own_birds / "train/CORAL OWL", own_birds / "valid/CORALL OWL")
    data = scan(str(own_birds), (given, "CORALL OWL"))
    assert data.classes == CLASSES and data.notes == ()
    assert not any("LOONEY" in path or "CORALL" in path for split in data.splits.values() for path in split.paths)


def test_an_unknown_class_to_exclude_is_refused_with_the_nearest(own_birds: Path) -> None:
    with pytest.raises(DataError, match=r"--exclude-class 'CORL OWL'.*\(nearest: 'CORAL OWL'\)"):
        scan(str(own_birds), ("CORL OWL",))


def test_a_survey_goes_on_where_a_scan_stops(own_birds: Path) -> None:
    move(own_birds, "valid/CORAL OWL", "valid/CORALL OWL")
    move(own_birds, "test/CORAL OWL", "test/GOAT")
    (own_birds / "train/EMPTY EMU").mkdir()
    data, problems = survey(str(own_birds))
    assert [next(name for name in ("EMPTY EMU", "CORALL OWL", "GOAT") if name in p) for p in problems] == [
        "EMPTY EMU",
        "CORALL OWL",
        "GOAT",
    ]
    assert all("--exclude-class" in problem for problem in problems)
    assert (
        data.classes == ("ATLAS FINCH", "CORAL OWL", "EMPTY EMU", "MOSS TERN") and len(data.splits["valid"]) == 4
    )


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_split_without_images(own_birds: Path, split: str) -> None:
    shutil.rmtree(own_birds / split)
    (own_birds / split).mkdir()
    message = breach(own_birds)
    assert str(own_birds) in message and f"{split}/" in message


def test_a_class_without_images_in_valid_is_noted(own_birds: Path) -> None:
    shutil.rmtree(own_birds / "valid/MOSS TERN")
    for image in (own_birds / "test/CORAL OWL").iterdir():
        image.unlink()
    notes = scan(str(own_birds)).notes
    assert len(notes) == 2
    assert "valid/" in notes[0] and "'MOSS TERN'" in notes[0]
    assert "test/" in notes[1] and "'CORAL OWL'" in notes[1]


@pytest.mark.parametrize("twin", ["Coral Owl", "CORAL-OWL", "CORALOWL"])
def test_names_that_may_be_the_same_bird_are_noted(own_birds: Path, twin: str) -> None:
    for split in COUNTS:
        shutil.copytree(own_birds / split / "CORAL OWL", own_birds / split / twin)
    data = scan(str(own_birds))
    assert len(data.classes) == 4 and len(data.notes) == 1
    assert repr(twin) in data.notes[0] and "'CORAL OWL'" in data.notes[0]


@pytest.mark.parametrize("name", [b"train/CORAL OWL/caf\xe9.jpg", b"train/CAF\xc9", b"caf\xe9"])
def test_a_name_that_is_not_utf8_is_one_line(own_birds: Path, name: bytes) -> None:
    uri = os.fsencode(own_birds) + b"/" + name
    if name.endswith(b".jpg"):
        shutil.copy(own_birds / "train/CORAL OWL/1.jpg", os.fsdecode(uri))
    else:
        Path(os.fsdecode(uri)).mkdir()
    message = breach(own_birds)
    message.encode()  # it is printed
    assert str(own_birds) in message and "UTF-8" in message


def test_real_birds(shared: Path) -> None:
    data = scan(str(shared / "data/birds263"))
    assert len(data.classes) == 263
    counts = {name: len(split) for name, split in data.splits.items()}
    assert counts == {"train": 789, "valid": 263, "test": 263}
    assert all(np.bincount(s.labels, minlength=263).std() == 0 for s in data.splits.values())
    assert list(data.classes) == sorted(data.classes) and data.notes == ()


def test_what_systems_leave_behind_is_no_class_and_no_image(own_birds: Path) -> None:
    image = own_birds / "train/CORAL OWL/1.jpg"
    for name in (
        ".ipynb_checkpoints/1-checkpoint.jpg",
        "CORAL OWL/@eaDir/1.jpg",
        "CORAL OWL/._1.jpg",
        "Thumbs.db",
    ):
        (own_birds / "train" / name).parent.mkdir(exist_ok=True)
        shutil.copy(image, own_birds / "train" / name)
    (own_birds / "valid/.Trash").mkdir()  # an empty one stops nothing
    data = scan(str(own_birds))
    assert data.classes == CLASSES and len(data.splits["train"]) == 12 and len(data.splits["valid"]) == 6
    (note,) = data.notes
    assert note.startswith("5 files and folders that systems leave behind were passed over: ")


def test_the_nearest_folder_that_is_a_class_labels_an_image(own_birds: Path) -> None:
    image = own_birds / "train/CORAL OWL/1.jpg"
    for path in ("test/CORAL OWL/cam1/5.jpg", "test/ATLAS FINCH/CORAL OWL/5.jpg", "test/site/coral_owl/cam/5.jpg"):
        (own_birds / path).parent.mkdir(parents=True)
        shutil.copy(image, own_birds / path)
    data = scan(str(own_birds))
    test = data.splits["test"]
    labels = dict(zip(test.paths, (data.classes[label] for label in test.labels), strict=True))
    assert len(test) == 9
    for path, label in labels.items():
        assert label == inputs.label(str(own_birds), path, frozenset(CLASSES))  # as a prediction labels it
    assert {labels[path] for path in test.paths if path.endswith("5.jpg")} == {"CORAL OWL"}
    assert data.notes == ("class 'coral_owl' of test/ is taken for 'CORAL OWL' of train/",)


def test_unicode_forms_of_a_class_are_one(own_birds: Path) -> None:
    move(own_birds, "train/CORAL OWL", "train/CAFÉ")
    move(own_birds, "valid/CORAL OWL", "valid/CAFE\u0301")
    move(own_birds, "test/CORAL OWL", "test/cafe\u0301")
    data = scan(str(own_birds))
    assert data.classes == ("ATLAS FINCH", "CAFÉ", "MOSS TERN")
    assert all(data.splits[name].labels.tolist().count(1) == 2 for name in ("valid", "test"))
    shutil.copytree(own_birds / "train/CAFÉ", own_birds / "train/CAFE\u0301")
    data = scan(str(own_birds))
    assert data.splits["train"].labels.tolist().count(1) == 8
    assert "2 folders of train/ are one class, 'CAFÉ': they differ in spaces or Unicode form" in data.notes


def test_linked_class_folders_and_loops(own_birds: Path, tmp_path: Path) -> None:
    move(own_birds, "train/CORAL OWL", "../elsewhere")
    (own_birds / "train/CORAL OWL").symlink_to(tmp_path / "elsewhere")
    for name in ("ATLAS FINCH/up", "MOSS TERN/up", "CORAL OWL/up"):
        (own_birds / "train" / name).symlink_to(own_birds)
    (own_birds / "train/MOSS TERN/further up").symlink_to(tmp_path)
    data = scan(str(own_birds))
    assert data.classes == CLASSES and len(data.splits["train"]) == 12
    assert data.notes == (
        "3 left out, a link to a folder that is listed already: such as train/ATLAS FINCH/up",
        "1 left out, a link to a folder above: such as train/MOSS TERN/further up",
    )


@pytest.mark.parametrize(("first", "second"), [("valid", "Val"), ("test", "TEST"), ("train", "Train")])
def test_two_folders_for_one_split_are_named(own_birds: Path, first: str, second: str) -> None:
    shutil.copytree(own_birds / first, own_birds / second)
    message = breach(own_birds)
    assert f"{first}/" in message and f"{second}/" in message and f"are both {first}" in message
    data, problems = survey(str(own_birds))
    assert len(problems) == 1 and all(path.startswith(f"{first}/") for path in data.splits[first].paths)


def test_images_without_a_usual_name_are_found_and_other_files_told_of(own_birds: Path) -> None:
    folder = own_birds / "train/CORAL OWL"
    for name in ("5.jfif", "6.JPE", "7.jpg.1", "eight", "9.tif", "10.avif", "11.HEIC"):
        shutil.copy(folder / "1.jpg", folder / name)
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    shutil.copy(folder / "1.jpg", own_birds / "train/loose.jpg")
    data = scan(str(own_birds))
    assert len(data.splits["train"]) == 12 + 7
    assert data.notes == (
        "1 images in no class folder are left out, such as train/loose.jpg",
        "1 left out, not an image: such as train/CORAL OWL/notes.txt",
    )


def test_an_archive_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "birds.zip").write_bytes(b"PK\x03\x04")
    assert f"{tmp_path}/birds.zip: a file; expected a folder" in breach(tmp_path / "birds.zip")


@pytest.mark.integration
def test_a_class_folder_without_permission_is_one_line() -> None:
    """In a process without root's rights: a class must not vanish from the model without a word."""
    code = (
        "import os, pathlib, shutil, tempfile; from ray_birds.data.dataset import scan\n"
        "root = pathlib.Path(tempfile.mkdtemp()); root.chmod(0o755)\n"
        "for folder in (root / 'train' / name for name in 'ABC'):\n"
        "    folder.mkdir(parents=True); (folder / '1.jpg').touch()\n"
        "(root / 'train/C').chmod(0)\n"
        "was = os.geteuid()\n"
        "if was == 0: os.seteuid(65534)\n"
        "try: scan(str(root))\n"
        "except Exception as error: print(type(error).__name__, str(error).replace(str(root), ''))\n"
        "if was == 0: os.seteuid(0)\n"
        "(root / 'train/C').chmod(0o700); shutil.rmtree(root)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == (
        "DataError /train/C: cannot be listed: Permission denied; mend this, images may be missing"
    ), done.stderr
