"""A table of labels: the same data set as the folder gives, and each fault as one line."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data import table_file
from ray_birds.data.dataset import Dataset, scan, survey
from ray_birds.data.inspection import ImageRecord, fingerprint
from ray_birds.data.table import Labels
from tests.conftest import CLASSES, own_s3

Row = tuple[str, ...]


def rows_of(root: Path, *, split: bool = True) -> list[Row]:
    """Path, label and split of the drawn birds, shuffled."""
    data = scan(str(root))
    rows = [
        (path, data.classes[label], name)[: 3 if split else 2]
        for name, images in data.splits.items()
        for path, label in zip(images.paths, images.labels, strict=True)
    ]
    random.Random(0).shuffle(rows)
    return rows


def table(rows: Sequence[Row], folder: Path, header: str = "path,label,split") -> Labels:
    file = folder / "labels.csv"
    file.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    return Labels(str(file))


def told(root: Path, labels: Labels) -> str:
    """The one line that `scan` refuses the table with."""
    with pytest.raises(DataError) as error:
        scan(str(root), labels=labels)
    assert "\n" not in str(error.value)
    return str(error.value)


def same(one: Dataset, other: Dataset) -> None:
    assert (one.root, one.classes, one.notes, list(one.splits)) == (
        other.root,
        other.classes,
        other.notes,
        list(other.splits),
    )
    records = {
        path: ImageRecord(path, "", 9, 9, "JPEG", False, "") for s in one.splits.values() for path in s.paths
    }
    for name, split in one.splits.items():
        assert split.paths == other.splits[name].paths
        for array in ("labels", "numbers"):
            ours, theirs = getattr(split, array), getattr(other.splits[name], array)
            assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
        assert fingerprint(one, name, records) == fingerprint(other, name, records)


def test_a_shuffled_table_gives_what_the_folder_gives(birds: Path, tmp_path: Path) -> None:
    same(scan(str(birds), labels=table(rows_of(birds), tmp_path)), scan(str(birds)))


def test_real_birds_as_a_table(shared: Path, tmp_path: Path) -> None:
    root = shared / "data/birds263"
    same(scan(str(root), labels=table(rows_of(root), tmp_path)), scan(str(root)))


def test_parquet_with_columns_by_other_names(birds: Path, tmp_path: Path) -> None:
    paths, labels, splits = zip(*rows_of(birds), strict=True)
    columns = {
        "file": paths,
        "species": pa.array(labels).dictionary_encode(),
        "fold": splits,
        "n": range(24),
    }
    file = tmp_path / "labels.PARQUET"
    parquet.write_table(pa.table(columns), file)
    given = Labels(str(file), ("path=file", "label=species", "split=fold"))
    same(scan(str(birds), labels=given), scan(str(birds)))


@pytest.mark.parametrize("spelled", ["{root}/{path}", "file://{root}/{path}", "./{path}", "x/../{path}", "{path}"])
def test_a_path_is_one_however_it_is_spelled(birds: Path, tmp_path: Path, spelled: str) -> None:
    rows = [(spelled.format(root=birds, path=path), *others) for path, *others in rows_of(birds)]
    same(scan(str(birds), labels=table(rows, tmp_path)), scan(str(birds)))


def test_images_elsewhere_keep_their_place(birds: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    rows: list[Row] = [(str(birds / path), *others) for path, *others in rows_of(birds)]
    data = scan(
        str(tmp_path / "empty"), labels=table([*rows, ("s3://bucket/1.jpg", CLASSES[0], "test")], tmp_path)
    )
    assert len(data.splits["test"]) == 7 and data.splits["train"].paths[0] == f"{birds}/train/ATLAS FINCH/1.jpg"
    assert {data.uri(path) for path in data.splits["test"].paths} >= {
        "s3://bucket/1.jpg",
        f"{birds}/test/CORAL OWL/1.jpg",
    }


def test_without_a_column_of_splits_all_is_train(birds: Path, tmp_path: Path) -> None:
    data = scan(str(birds), labels=table(rows_of(birds, split=False), tmp_path, "path,label"))
    assert list(data.splits) == ["train"] and len(data.splits["train"]) == 24 and data.classes == CLASSES


def test_spellings_of_splits_and_of_classes(birds: Path, tmp_path: Path) -> None:
    said = {"train": " Train", "valid": "VALIDATION", "test": "test"}
    rows = [
        (path, label if split == "train" else label.lower(), said[split]) for path, label, split in rows_of(birds)
    ]
    data = scan(str(birds), labels=table(rows, tmp_path))
    assert data.classes == CLASSES and {name: len(split) for name, split in data.splits.items()} == {
        "train": 12,
        "valid": 6,
        "test": 6,
    }
    assert "class 'coral owl' of test/ is taken for 'CORAL OWL' of train/" in data.notes


def test_classes_are_texts(birds: Path, tmp_path: Path) -> None:
    names = dict(zip(CLASSES, ("007", "NA", "1e3"), strict=True))
    rows = [(path, names[label], split) for path, label, split in rows_of(birds)]
    assert scan(str(birds), labels=table(rows, tmp_path)).classes == ("007", "1e3", "NA")


def test_rows_without_a_label_and_those_that_say_nothing_new_are_counted(birds: Path, tmp_path: Path) -> None:
    rows = rows_of(birds)
    path, _, split = rows[0]
    labels = table([(path, " ", split), *rows[1:], rows[1]], tmp_path)
    data = scan(str(birds), labels=labels)
    assert sum(map(len, data.splits.values())) == 23
    assert data.notes == (
        f"1 rows of {labels.file} have no label and are left out",
        f"1 rows of {labels.file} say the same as an earlier one",
    )


def test_a_label_of_one_image_is_a_note_with_the_nearest_name(birds: Path, tmp_path: Path) -> None:
    rows = rows_of(birds)
    place = next(n for n, row in enumerate(rows) if row[1:] == ("CORAL OWL", "train"))
    rows[place] = (rows[place][0], "CORALL OWL", "train")
    data = scan(str(birds), labels=table(rows, tmp_path))
    assert any("1 class(es) have one image in all, such as 'CORALL OWL'" in note for note in data.notes)
    assert any("'CORAL OWL' perhaps" in note for note in data.notes)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("train/none.jpg", "CORAL OWL", "train"), "'train/none.jpg': no such file below"),
        (("train/CORAL OWL/1.jpg", "MOSS TERN", "train"), "has label 'MOSS TERN', not 'CORAL OWL' as in line "),
        (("train/CORAL OWL/1.jpg", "CORAL OWL", "test"), "has split 'test', not 'train' as in line "),
        (("train/CORAL OWL/1.jpg", "CORAL OWL", "dev"), "split 'dev'; expected train, valid or test"),
        (("", "CORAL OWL", "test"), "path is empty"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_line(birds: Path, tmp_path: Path, row: Row, said: str) -> None:
    labels = table([*rows_of(birds), row, row], tmp_path)
    message = told(birds, labels)
    assert message.startswith(f"{labels.file} line 26: ") and said in message
    assert message.endswith("(and 1 more)") != ("no such file" in said)
    data, problems = survey(str(birds), labels=labels)
    assert problems == [message] and len(data.splits["train"]) == 12


def test_lines_are_those_of_the_file(birds: Path, tmp_path: Path) -> None:
    """A remark of two lines and empty lines between."""
    file = tmp_path / "labels.csv"
    rows = [f'{path},{label},{split},"two\nlines"\n' for path, label, split in rows_of(birds)]
    file.write_text("\ufeffpath,label,split,remark\n" + "".join(rows) + "\n\nnone.jpg,CORAL OWL,train,\n")
    assert f"{file} line 52: 'none.jpg'" in told(birds, Labels(str(file)))


def test_a_class_that_train_does_not_have(birds: Path, tmp_path: Path) -> None:
    rows = [(p, "GOAT" if (c, s) == (CLASSES[1], "test") else c, s) for p, c, s in rows_of(birds)]
    labels = table(rows, tmp_path)
    assert told(birds, labels).startswith(f"{labels.file}: class 'GOAT' is in test/ but not in train/")
    assert len(scan(str(birds), ("GOAT",), labels=labels).splits["test"]) == 4


def test_files_and_columns_that_are_not_there(birds: Path, tmp_path: Path) -> None:
    assert "no such file; expected a table of labels" in told(birds, Labels(str(tmp_path / "none.csv")))
    assert "expected a .csv or .parquet file" in told(birds, Labels(str(birds / "train/CORAL OWL/1.jpg")))
    labels = table(rows_of(birds), tmp_path, "filepath,label,split")
    assert "no column 'path' (nearest: 'filepath'" in told(birds, labels)
    assert "no column 'fold'" in told(birds, Labels(labels.file, ("path=filepath", "split=fold")))
    assert "no such folder" in told(birds / "none", Labels(labels.file, ("path=filepath",)))
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    assert "cannot be read as a table" in told(birds, Labels(str(tmp_path / "bad.parquet")))
    (tmp_path / "latin.csv").write_bytes("path,label\nx.jpg,Küken\n".encode("latin-1"))
    assert "expected CSV in UTF-8" in told(birds, Labels(str(tmp_path / "latin.csv")))
    assert "has 2 columns 'label'" in told(birds, table([], tmp_path, "path,label,label"))
    assert "no image of it is of train" in told(birds, table([], tmp_path))
    only_test = table([(p, c, "test") for p, c, _ in rows_of(birds)], tmp_path)
    assert "no image of it is of train" in told(birds, only_test)


@pytest.mark.integration
def test_images_and_table_on_an_object_store(birds: Path, tmp_path: Path) -> None:
    labels = table([*rows_of(birds), ("train/none.jpg", CLASSES[0], "train")], tmp_path)
    with own_s3() as bucket:
        storage.copy(str(birds), f"{bucket}/birds")
        storage.copy(labels.file, f"{bucket}/labels.csv")
        data, problems = survey(f"{bucket}/birds", labels=Labels(f"{bucket}/labels.csv"))
    assert [problem.partition("'")[0] for problem in problems] == [f"{bucket}/labels.csv line 26: "]
    assert data.splits["train"].paths == scan(str(birds)).splits["train"].paths
    assert data.uri(data.splits["test"].paths[0]) == f"{bucket}/birds/test/{CLASSES[0]}/1.jpg"


def test_paths_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_WINDOWS", True)
    for given in (
        "train\\1.jpg",
        "C:\\birds\\train\\1.jpg",
        "C:/birds/train/1.jpg",
        "file:///C:/birds/train/1.jpg",
    ):
        assert table_file._path("C:/birds", given) == "train/1.jpg"
    assert table_file._path("C:/birds", "D:\\else\\1.jpg") == "D:/else/1.jpg"
