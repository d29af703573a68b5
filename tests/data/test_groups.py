"""Groups by column, by folder and by time; groups that given splits break."""

import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from ray_birds.config import CheckConfig
from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data import exif, findings, groups
from ray_birds.data.check import check
from ray_birds.data.dataset import Dataset, scan
from ray_birds.data.inspection import ImageRecord
from ray_birds.data.table import Labels, Table
from tests.conftest import CLASSES
from tests.data.test_exif import block


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


def shoot(root: Path, times: dict[str, str], camera: str = "HP2X") -> Path:
    """Write a photograph at each path, taken at that time ("" for none) by a camera."""
    for path, taken in times.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(path) + sum(map(ord, path))).integers(0, 255, (32, 32, 3), np.uint8)
        made = block({Base.Model: camera}, {Base.DateTimeOriginal: f"2024:05:01 {taken}"} if taken else {})
        Image.fromarray(pixels).save(file, exif=made)
    return root


def by_time(root: Path, burst: str, file: str = "") -> Dataset:
    data = scan(str(root), labels=Labels(file, group_by=burst))
    images = {path: (root / path).read_bytes() for split in data.splits.values() for path in split.paths}
    facts = {path: exif.read(content) for path, content in images.items()}
    found = {
        path: ImageRecord(
            path, "", 9, 9, "JPEG", False, "", one.taken.timestamp() if one.taken else None, one.camera or ""
        )
        for path, one in facts.items()
    }
    return groups.by_time(data, found)


def test_bursts_are_photographs_of_one_folder_and_camera_taken_close_together(tmp_path: Path) -> None:
    times = {
        "train/OWL/a.jpg": "06:00:00",
        "test/OWL/b.jpg": "06:00:30",  # a burst goes on as long as no gap is longer
        "train/OWL/c.jpg": "06:01:00",
        "train/OWL/d.jpg": "06:01:31",
        "train/OWL/hill/e.jpg": "06:00:00",
        "train/TERN/f.jpg": "06:00:00",
        "train/TERN/g.jpg": "",
    }
    shoot(tmp_path, times)
    shoot(tmp_path, {"train/OWL/h.jpg": "06:00:10"}, camera="other")
    data = by_time(tmp_path, "burst:30")
    members = defaultdict(set)
    for path, group in data.groups.items():
        members[group].add(path.rpartition("/")[2][0])
    assert sorted(map("".join, map(sorted, members.values()))) == ["abc", "d", "e", "f", "h"]
    assert data.groups["test/OWL/b.jpg"] == "OWL, HP2X, 2024-05-01 06:00:00.000"
    broken, undated = findings.of_groups(data)
    assert broken.blocking and set(broken.groups[0]) == {"train/OWL/a.jpg", "train/OWL/c.jpg", "test/OWL/b.jpg"}
    assert not undated.blocking and undated.text.startswith("1 of the images do not say when")
    assert len(set(by_time(tmp_path, "burst:29").groups.values())) == 7
    file = as_table(scan(str(tmp_path)), tmp_path / "l.csv", "path,label,split,x")
    assert by_time(tmp_path, "burst:30", file).groups["test/OWL/b.jpg"].startswith("test/OWL, HP2X")


@pytest.mark.parametrize("path", ["/else/1.jpg", "D:/else/1.jpg", "s3://bucket/1.jpg"])
def test_folders_of_what_does_not_lie_below_the_root(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive's letter makes a path an absolute one, on Windows."""
    monkeypatch.setattr(storage, "_WINDOWS", True)
    table = Table("C:/birds", {"train": {"A": ["site/1.jpg", path]}}, file="C:/labels.csv")
    with pytest.raises(DataError, match=f"--group-by folder: {path} does not lie below C:/birds"):
        groups.by_folder(table, 1)
    del table.found["train"]["A"][1]
    assert groups.by_folder(table, 1) == {"site/1.jpg": "site"}


def test_bursts_of_photographs_without_a_time_are_refused(birds: Path) -> None:
    with pytest.raises(DataError, match=r"--group-by burst:30: no image of .* says when it was taken"):
        by_time(birds, "burst:30")


@pytest.mark.ray
def test_a_check_names_a_burst_on_both_sides_of_a_split(tmp_path: Path, local_ray: None) -> None:
    times = {
        f"{split}/{name}/{n}.jpg": f"0{n}:00:00" for split in ("train", "test") for name in "AB" for n in (1, 2)
    }
    shoot(tmp_path / "birds", times)
    found = check(CheckConfig(str(tmp_path / "birds"), str(tmp_path / "out"), group_by="burst:5"))
    (bursts,) = (one for one in found.found if one.kind == "group")
    assert bursts.blocking and bursts.text.startswith(
        "4 of the 4 groups are in more than one split, such as 'A, HP2X"
    )
