"""Groups by column and by folder; groups that given splits break."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ray_birds.core.errors import DataError
from ray_birds.data import findings
from ray_birds.data.dataset import Dataset, scan
from ray_birds.data.table import Labels
from tests.conftest import CLASSES


def by_site(root: Path) -> Path:
    """The drawn birds with the first of each class in a folder below the class, the second in one two deep."""
    for folder in [folder for folder in root.glob("*/*") if folder.is_dir()]:
        for name, site in (("1.jpg", "north"), ("2.jpg", "south/june")):
            (folder / site).mkdir(parents=True)
            shutil.move(folder / name, folder / site / name)
    return root


def as_table(data: Dataset, file: Path, columns: str, group: str = "") -> str:
    rows = [
        f"{path},{data.classes[label]},{name},{group.format(path=path, name=name)}"
        for name, split in data.splits.items()
        for path, label in zip(split.paths, split.labels, strict=True)
    ]
    file.write_text("\n".join([columns, *rows]), encoding="utf-8")
    return str(file)


def test_folders_below_the_class(own_birds: Path) -> None:
    root = str(by_site(own_birds))
    data = scan(root, labels=Labels(group_by="folder:1"))
    assert {path.split("/", 2)[2]: group for path, group in data.groups.items()} == {
        "north/1.jpg": "north",
        "south/june/2.jpg": "south",
    }
    assert "6 images have no group: each is on its own" in data.notes
    assert set(scan(root, labels=Labels(group_by="folder:2")).groups.values()) == {"north", "south/june"}
    assert scan(root).groups == {}


def test_folders_below_the_root_of_a_table(own_birds: Path, tmp_path: Path) -> None:
    file = as_table(scan(str(own_birds)), tmp_path / "l.csv", "path,label,split,n")
    data = scan(str(own_birds), labels=Labels(file, group_by="folder:2"))
    assert data.groups["test/CORAL OWL/1.jpg"] == "test/CORAL OWL" and len(data.groups) == 24
    (tmp_path / "other").mkdir()
    absolute = [f"{own_birds}/{line}" for line in Path(file).read_text(encoding="utf-8").splitlines()[1:]]
    Path(file).write_text("\n".join(["path,label,split,n", *absolute]), encoding="utf-8")
    with pytest.raises(DataError, match=r"does not lie below .*other; give a column"):
        scan(str(tmp_path / "other"), labels=Labels(file, group_by="folder:1"))


def test_a_column(birds: Path, tmp_path: Path) -> None:
    file = as_table(scan(str(birds)), tmp_path / "l.csv", "path,label,split,site", "of {name}")
    assert scan(str(birds), labels=Labels(file)).groups == {}
    data = scan(str(birds), labels=Labels(file, group_by="site"))
    assert data.groups["test/CORAL OWL/1.jpg"] == "of test" and findings.of_groups(data) == []
    with pytest.raises(DataError, match=r"no column 'sit' .*name it with --group-by NAME"):
        scan(str(birds), labels=Labels(file, group_by="sit"))
    assert len(set(scan(str(birds), labels=Labels(file, group_by="label")).groups.values())) == 3
    file = as_table(scan(str(birds)), tmp_path / "l.csv", "path,label,split,group", "of {name}")
    assert scan(str(birds), labels=Labels(file)).groups == data.groups


def test_a_column_or_folders_that_say_nothing_are_refused(birds: Path, tmp_path: Path) -> None:
    file = as_table(scan(str(birds)), tmp_path / "l.csv", "path,label,split,site")
    for labels in (Labels(file, group_by="site"), Labels(group_by="folder:1")):
        with pytest.raises(DataError, match=r"--group-by .*: no image has a group by that"):
            scan(str(birds), labels=labels)


def test_a_group_that_given_splits_break_is_named(birds: Path) -> None:
    data = scan(str(birds))
    owls = [f"{split}/CORAL OWL/1.jpg" for split in ("train", "test")]
    whole = {f"train/{name}/2.jpg": "nest 3" for name in CLASSES}
    (found,) = findings.of_groups(replace(data, groups=dict.fromkeys(owls, "nest 7") | whole))
    assert found.kind == "group" and found.blocking and found.groups == (tuple(owls),)
    assert found.text == (
        "1 of the 2 groups are in more than one split, such as 'nest 7': "
        "train/CORAL OWL/1.jpg and test/CORAL OWL/1.jpg"
    )
