"""Records of images kept between sweeps: what has not changed is not read again, all else is."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ray_birds.core import storage
from ray_birds.data import inspect_job, records
from ray_birds.data.dataset import Dataset, scan
from ray_birds.data.inspection import ImageRecord, Inspection
from ray_birds.data.splits import Shares
from tests.conftest import CLASSES, own_s3

SHARES = Shares(0.2, 0.2, 0)
FIRST = f"train/{CLASSES[0]}/1.jpg"


def record(text: str, error: str = "") -> ImageRecord:
    return ImageRecord(text, error, 4, 3, "jpeg", False, "00ff")


def told(inspection: Inspection) -> dict[str, Any]:
    """All that an inspection says, as it can be compared."""
    facts = {"bad": inspection.bad, "findings": inspection.findings, "copies": inspection.copies}
    return facts | inspection.fingerprints | {"seen": inspection.seen.tolist()}


def written(data: Dataset, uri: str) -> dict[str, ImageRecord]:
    stamps = records.stamps(data)
    found = {path: record(path, "broken" if path == FIRST else "") for path in stamps}
    nothing = records.read(uri)
    records.write(
        uri,
        nothing,
        {"elsewhere.jpg": record("x"), FIRST: record("old")},
        {"elsewhere.jpg": (1, 2), FIRST: (3, 4)},
    )
    records.write(uri, records.read(uri), found, stamps)
    return found


def test_unchanged_files_have_the_record_that_was_kept_and_others_none(own_birds: Path, tmp_path: Path) -> None:
    data, uri = scan(str(own_birds)), str(tmp_path / "store" / "kept.parquet")
    found = written(data, uri)
    touched, grown, gone = (path for path in data.splits["train"].paths[1:4])
    os.utime(own_birds / touched, ns=(0, 12345))
    with (own_birds / grown).open("ab") as file:
        file.write(b"more")
    (own_birds / gone).unlink()
    kept = records.read(uri)
    elsewhere = records.unchanged(kept, {"elsewhere.jpg": (1, 2)})
    assert elsewhere == {"elsewhere.jpg": record("x")}  # of another part of the folder
    assert sorted(kept["path"].to_pylist()) == sorted(["elsewhere.jpg", *found])  # each once
    left = records.unchanged(kept, records.stamps(data))
    assert left == {path: one for path, one in found.items() if path not in (FIRST, touched, grown, gone)}


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more", None])
def test_a_damaged_file_of_records_is_none(tmp_path: Path, damage: bytes | None) -> None:
    uri = tmp_path / "kept.parquet"
    if damage is not None:
        uri.write_bytes(damage)
    assert records.read(str(uri)).num_rows == 0


def test_other_sizes_and_folders_have_records_of_their_own(birds: Path, own_birds: Path) -> None:
    data, other = scan(str(birds)), scan(str(own_birds))
    uris = {records.location("s", one, size) for one in (data, other) for size in (64, 224)}
    assert len(uris) == 4 and records.location("s", data, 64) in uris


@pytest.mark.slow
@pytest.mark.integration
def test_stamps_of_an_object_store_are_those_of_its_listing(birds: Path) -> None:
    with own_s3() as bucket:
        storage.copy(str(birds), f"{bucket}/birds")
        data = scan(f"{bucket}/birds")
        found = records.stamps(data)
    assert found.keys() == {path for split in data.splits.values() for path in split.paths}
    size, modified = found[FIRST]
    assert size == (birds / FIRST).stat().st_size and modified is not None and modified > 0


@pytest.mark.ray
def test_a_sweep_reads_what_has_changed_alone(
    own_birds: Path, tmp_path: Path, local_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_birds / FIRST).write_bytes(b"no image")
    data, store, found = scan(str(own_birds)), str(tmp_path / "store"), []
    for change in ("", "", "replaced", "forged", "verified"):
        if change == "replaced":
            shutil.copy(own_birds / f"valid/{CLASSES[1]}/1.jpg", own_birds / data.splits["train"].paths[5])
        if change == "forged":  # other bytes, as many and of the same time: nobody notices
            victim = own_birds / data.splits["train"].paths[6]
            status = victim.stat()
            victim.write_bytes(victim.read_bytes()[:-9] + b"123456789")
            os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
        data = scan(str(own_birds))
        found.append(told(inspect_job.inspect(data, 64, 0.2, SHARES, store, verify=change == "verified")))
    first, second, replaced, forged, verified = found
    assert first == second and first["bad"][0].path == FIRST
    assert replaced["valid"] == first["valid"]
    assert replaced["train"] != first["train"]
    assert forged == replaced and verified["train"] != forged["train"]
    assert told(inspect_job.inspect(data, 64, 0.2, SHARES)) == verified
    said = [line for line in capsys.readouterr().out.splitlines() if "have not changed" in line]
    total = sum(len(split) for split in data.splits.values())
    numbers = [int(line.partition(" ")[0]) for line in said]
    assert numbers == [total - 1, total - 2, total - 1]  # the one that cannot be read is tried each time
