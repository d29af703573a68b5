"""A check of a folder with planted faults: each is found, and nothing else is."""

import csv
import io
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from ray_birds.cli import main
from ray_birds.config import CheckConfig
from ray_birds.core.errors import DataError, ModelError, OutputError
from ray_birds.data import findings, inspect_job
from ray_birds.data.check import check
from ray_birds.data.dataset import scan
from ray_birds.data.splits import Shares
from ray_birds.data.table import Labels
from tests import conftest
from tests.conftest import CLASSES, DRAWN_WEIGHTS
from tests.report.test_pages import Page

pytestmark = pytest.mark.ray

FINCH, OWL, TERN = CLASSES
SHARES = Shares(0.2, 0.2, 0)
MISNAMED = ("MOSS TURN", "EMPTY EMU")


def draw(root: Path, counts: dict[str, int]) -> Path:
    """Images that have nothing in common, `counts` by split in each of the classes."""
    random = np.random.default_rng(0)
    for split, count in counts.items():
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (12, 12, 3), np.uint8)
                Image.fromarray(pixels).resize((80, 60)).save(folder / f"{number}.jpg", quality=90)
    return root


def changed(source: Path, target: Path, *, size: tuple[int, int], flip: bool = False) -> None:
    with Image.open(source) as image:
        resized = image.resize(size)
    (ImageOps.mirror(resized) if flip else resized).save(target, "JPEG", quality=70)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("clean") / "birds", {"train": 8, "valid": 3, "test": 3})


@pytest.fixture(scope="module")
def faulty(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(clean, tmp_path_factory.mktemp("faulty") / "birds"))
    train, valid, test = (root / split for split in ("train", "valid", "test"))
    shutil.copy(train / FINCH / "0.jpg", test / FINCH / "copied.jpg")
    changed(train / FINCH / "1.jpg", test / FINCH / "flipped.jpg", size=(80, 60), flip=True)
    changed(train / FINCH / "2.jpg", valid / FINCH / "small.jpg", size=(50, 50))
    changed(train / TERN / "3.jpg", train / OWL / "relabelled.jpg", size=(160, 120))
    shutil.copy(train / TERN / "4.jpg", train / TERN / "again.jpg")
    Image.new("RGB", (40, 40), "red").save(train / OWL / "red.jpg")
    Image.new("RGB", (40, 40), "blue").save(test / OWL / "blue.png")
    (train / OWL / "0.jpg").write_bytes((train / OWL / "0.jpg").read_bytes()[:700])
    (valid / OWL / "0.jpg").write_bytes(b"")
    (test / TERN).rename(test / "MOSS TURN")
    (train / "EMPTY EMU").mkdir()
    return root


@pytest.fixture(scope="module")
def checked(faulty: Path, local_ray: None) -> Path:
    """What a check of the faulty folder writes."""
    output = faulty.parent / "check"
    found = check(CheckConfig(str(faulty), str(output)))
    assert "findings block a sweep" in found.blocking and found.findings["blocking"].any()
    return output


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))


def test_every_planted_fault_is_found_and_nothing_else(checked: Path) -> None:
    groups: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for row in rows(checked / "findings.csv"):
        if row["path"]:
            groups[row["kind"], row["blocking"], row["group"]].add(row["path"])
    found = {(kind, blocking, tuple(sorted(paths))) for (kind, blocking, _), paths in groups.items()}
    assert found == {
        ("leak", "yes", (f"test/{FINCH}/copied.jpg", f"train/{FINCH}/0.jpg")),
        ("leak", "yes", (f"test/{FINCH}/flipped.jpg", f"train/{FINCH}/1.jpg")),
        ("leak", "yes", (f"train/{FINCH}/2.jpg", f"valid/{FINCH}/small.jpg")),
        ("two labels", "yes", (f"train/{OWL}/relabelled.jpg", f"train/{TERN}/3.jpg")),
        ("repeated", "no", (f"train/{TERN}/4.jpg", f"train/{TERN}/again.jpg")),
        ("constant", "no", (f"train/{OWL}/red.jpg",)),
        ("constant", "no", (f"test/{OWL}/blue.png",)),
        ("unreadable", "yes", (f"train/{OWL}/0.jpg",)),
        ("unreadable", "yes", (f"valid/{OWL}/0.jpg",)),
    }


def test_names_and_empty_classes_are_found(checked: Path) -> None:
    lines = {row["reason"]: row["blocking"] for row in rows(checked / "findings.csv") if not row["path"]}
    blocking_findings = [line for line, blocking in lines.items() if blocking == "yes"]
    assert len(blocking_findings) == 2
    assert "EMPTY EMU" in blocking_findings[0]
    assert (
        "'MOSS TURN'" in blocking_findings[1]
        and "'MOSS TERN'" in blocking_findings[1]
        and "--exclude-class" in blocking_findings[1]
    )
    assert any("test/ has no image of 2 class(es)" in line for line, blocking in lines.items() if blocking == "no")


def test_reasons_and_counts(checked: Path) -> None:
    reasons = {row["path"]: row["reason"] for row in rows(checked / "findings.csv")}
    assert reasons[f"valid/{OWL}/0.jpg"] == "empty file" and "truncated" in reasons[f"train/{OWL}/0.jpg"]
    classes = {row.pop("class"): row for row in rows(checked / "classes.csv")}
    assert classes[OWL] == {"train": "10", "valid": "3", "test": "4"} and classes["EMPTY EMU"]["train"] == "0"


def test_the_page_shows_every_finding_and_every_class(checked: Path) -> None:
    page = Page(str(checked / "report.html"))
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert len(page.source) < 2e6
    for kind in ("leak", "two labels", "repeated", "constant", "unreadable", "classes"):
        assert f'data-kind="{kind}"' in page.source
    assert [row[0]["data-class"] for row in page.rows("classes")] == [
        "ATLAS FINCH",
        "CORAL OWL",
        "EMPTY EMU",
        TERN,
    ]
    numbers = {row[0]["data-split"]: [cell[0].get("data-value") for cell in row[1]] for row in page.rows("splits")}
    assert numbers["train"][1:3] == ["27", "1"] and numbers["test"][1:3] == ["9", "0"]
    assert "JPEG 8, PNG 1" in page.source
    # Two images of each of five groups, two constant ones, three samples of each class that has images.
    assert page.source.count("<img") == 10 + 2 + 9


@pytest.mark.parametrize(("uri", "code"), [("clean", 0), ("faulty", 1), ("nowhere", 2)])
def test_exit_codes(
    uri: str,
    code: int,
    clean: Path,
    faulty: Path,
    tmp_path: Path,
    local_ray: None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    root = {"clean": clean, "faulty": faulty}.get(uri, tmp_path / "nowhere")
    try:
        main("check", ["--data", str(root), "--output", str(tmp_path / "out")])
        left = 0
    except SystemExit as end:
        left = int(str(end.code))
    said = capfd.readouterr()
    assert left == code
    assert ("nothing in it blocks a sweep" in said.out) == (code == 0)
    assert (len(said.err.splitlines()) == 1) == (code != 0)
    assert (tmp_path / "out/report.html").exists() == (code < 2)


def test_an_excluded_class_is_not_looked_at(faulty: Path, tmp_path: Path, local_ray: None) -> None:
    found = check(CheckConfig(str(faulty), str(tmp_path / "out"), exclude_class=(OWL, *MISNAMED)))
    assert "2 findings block" in found.blocking  # leaks into valid and into test
    assert not any(OWL in row["path"] for row in rows(tmp_path / "out/findings.csv"))


def test_the_sweep_s_quick_check_finds_copies_and_lists_bad_files(
    faulty: Path, tmp_path: Path, local_ray: None
) -> None:
    data = scan(str(faulty), MISNAMED)
    seen = inspect_job.inspect(data, 64, 0.2, SHARES)
    assert [(one.kind, one.blocking) for one in seen.findings] == [
        ("leak", True),  # into valid, made smaller
        ("leak", True),  # into test, as it is and mirrored
        ("two labels", True),
        ("repeated", False),
        ("constant", False),
    ]
    assert set(seen.dataset.notes) >= {one.text for one in seen.findings}
    assert {image.path for image in seen.bad} == {f"train/{OWL}/0.jpg", f"valid/{OWL}/0.jpg"}
    assert seen.made == ()


def test_splits_are_made_from_train_with_copies_on_one_side(faulty: Path, tmp_path: Path, local_ray: None) -> None:
    root = tmp_path / "birds"
    shutil.copytree(faulty / "train", root / "train")
    (root / "train/EMPTY EMU").rmdir()
    for number in range(8):
        changed(
            root / f"train/{FINCH}/{number}.jpg", root / f"train/{FINCH}/{number}b.jpg", size=(60, 60), flip=True
        )
    seen = inspect_job.inspect(scan(str(root)), 64, 0.2, SHARES)
    assert seen.made == ("valid", "test") and set(seen.fingerprints) == {"train", "valid", "test"}
    side = {path: name for name, split in seen.dataset.splits.items() for path in split.paths}
    assert all(side[f"train/{FINCH}/{n}.jpg"] == side[f"train/{FINCH}/{n}b.jpg"] for n in range(8))
    assert side[f"train/{OWL}/relabelled.jpg"] == side[f"train/{TERN}/3.jpg"]
    assert {name for path, name in side.items() if FINCH in path} == {"train", "valid", "test"}
    assert "valid and test made from train/" in seen.dataset.notes[-1]


def test_too_many_bad_files_stop_a_sweep(faulty: Path, local_ray: None) -> None:
    with pytest.raises(DataError, match=r"2 of \d+ images cannot be read, more than --max-bad-images 0.01"):
        inspect_job.inspect(scan(str(faulty), MISNAMED), 64, 0.01, SHARES)


@pytest.mark.parametrize("name", ["valid", "test"])
def test_a_split_that_is_emptied_is_named_before_anything_is_trained(
    clean: Path, tmp_path: Path, local_ray: None, name: str
) -> None:
    root = Path(shutil.copytree(clean, tmp_path / "birds"))
    for image in (root / name).rglob("*.jpg"):
        image.write_bytes(b"")
    told = rf"birds/{name}: none of its 9 image\(s\) can be read; the first is {name}/{FINCH}/0.jpg \(empty file\)"
    with pytest.raises(DataError, match=told):
        inspect_job.inspect(scan(str(root)), 64, 0.5, SHARES)


def test_a_folder_with_train_alone_is_taken(clean: Path, tmp_path: Path, local_ray: None) -> None:
    shutil.copytree(clean / "train", tmp_path / "birds/train")
    check(CheckConfig(str(tmp_path / "birds"), str(tmp_path / "out")))
    assert [row["kind"] for row in rows(tmp_path / "out/findings.csv")] == ["split", "split"]


def test_a_table_and_its_groups(clean: Path, tmp_path: Path, local_ray: None) -> None:
    """One site on both sides of the test split blocks; splits that a sweep makes keep the sites whole."""
    paths = [str(path.relative_to(clean)) for path in sorted(clean.glob("*/*/*.jpg"))]
    site = {path: f"site {'7' if path.endswith('/0.jpg') else path}" for path in paths}
    given = [f"{path},{path.split('/')[1]},{path.split('/')[0]},{site[path]}" for path in paths]
    file = tmp_path / "labels.csv"
    file.write_text("\n".join(["path,species,split,site", *given]), encoding="utf-8")
    config = CheckConfig(
        str(clean), str(tmp_path / "out"), labels=str(file), columns=("label=species",), group_by="site"
    )
    found = check(config)
    assert found.blocking.startswith(f"{clean}: 1 finding blocks")
    assert {row["path"] for row in rows(tmp_path / "out/findings.csv") if row["kind"] == "group"} == {
        path for path in paths if path.endswith("/0.jpg")
    }
    data = scan(str(clean), labels=Labels.of(config))
    (broken,) = inspect_job.inspect(data, 64, 0.2, SHARES).findings
    assert broken.kind == "group" and broken.blocking
    file.write_text("\n".join(["path,species,site", *(f"{p},{p.split('/')[1]},{site[p]}" for p in paths)]))
    seen = inspect_job.inspect(scan(str(clean), labels=Labels.of(config)), 64, 0.2, SHARES)
    assert seen.made == ("valid", "test") and "groups are whole, so valid has" in seen.findings[0].text
    assert findings.of_groups(replace(seen.dataset, groups=site)) == [] and seen.dataset.groups == {}


def test_only_an_earlier_check_is_replaced(clean: Path, tmp_path: Path, local_ray: None) -> None:
    output = tmp_path / "out"
    check(CheckConfig(str(clean), str(output)))
    (output / "findings.csv").write_text("old")
    (output / "notes.txt").write_text("mine")
    check(CheckConfig(str(clean), str(output)))
    assert rows(output / "classes.csv") and (output / "findings.csv").read_text() != "old"
    assert (output / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["report.html", "findings.csv", "classes.csv"])
def test_the_files_of_others_are_not_replaced(clean: Path, tmp_path: Path, name: str) -> None:
    """They are seen before the work: no Ray is started here."""
    (tmp_path / name).write_text("<title>a sweep</title>")
    with pytest.raises(OutputError, match=rf"{name}: is not of an earlier check; choose another --output"):
        check(CheckConfig(str(clean), str(tmp_path)))
    assert (tmp_path / name).read_text() == "<title>a sweep</title>"


def test_an_output_that_cannot_be_written_is_said_before_the_work(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"--output .*file/out: cannot be written \(.*; give a folder that can"):
        check(CheckConfig(str(clean), str(tmp_path / "file" / "out")))


def test_planted_wrong_labels_are_the_first_suspects(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "COUNTS", {"train": 12, "valid": 4, "test": 4})
    birds = conftest.draw_birds(tmp_path / "birds")
    wrong: dict[str, str] = {}  # path -> true class
    for name, other in zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True):
        for number in (1, 2):
            wrong[f"train/{other}/wrong {number}.jpg"] = name
            (birds / "train" / name / f"{number}.jpg").rename(birds / "train" / other / f"wrong {number}.jpg")
    output = tmp_path / "check"
    config = CheckConfig(
        str(birds), str(output), suspects=True, backbone="MobileNetV2-0.35", weights=DRAWN_WEIGHTS, image_size=64
    )
    found = check(config)
    table = found.suspects
    assert len(table) >= 3 and table["rank"].tolist() == [*range(1, len(table) + 1)]
    assert [wrong.get(path) for path in table.path[:3]] == table.suggested[:3].tolist()
    assert [row["path"] for row in rows(output / "suspects.csv")] == table.path.tolist()
    page = Page(str(output / "suspects.html"))
    assert page.source.count("<img") == 4 * len(table) and all(link.startswith("data:") for link in page.links)
    first = table.iloc[0]
    line = f"1 {first.path}\nlabelled {first.given} ({100 * first.of_given:.2f} %), suggested {first.suggested}"
    assert line in page.sections[""]
    assert {finding.blocking for finding in found.found if finding.kind in ("suspect", "close")} == {False}
    folders = {folder.name for folder in (output / "features").iterdir() if folder.is_dir()}
    assert {folder.split("-")[2] for folder in folders} == {"train", "valid", "test"}
    check(replace(config, suspects=False, backbone="EfficientNetB0", weights="imagenet", image_size=224))
    assert not (output / "suspects.csv").exists() and not (output / "suspects.html").exists()


@pytest.mark.parametrize(("option", "error"), [("weights", ModelError), ("features_dir", OutputError)])
def test_what_suspects_need_is_tried_before_images_are_read(
    option: str, error: type[Exception], clean: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    options: dict[str, Any] = {"weights": DRAWN_WEIGHTS, option: str(tmp_path / "file" / "below")}
    with pytest.raises(error, match=f"--{option.replace('_', '-')} .*; (expected|give)"):
        check(
            CheckConfig(str(clean), str(tmp_path / "check"), suspects=True, backbone="MobileNetV2-0.35", **options)
        )
