"""Zip files from strangers, each a real file made here."""

import stat
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest

from ray_birds.core.errors import DataError, OutputError
from ray_birds.data.sources.archive import unpack

CAP = 10**9


def _zip(uri: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(uri, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, data in entries:
            archive.writestr(name, data)
    return uri


def _special(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3  # Unix
    entry.external_attr = (kind | 0o777) << 16
    return entry


def _everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_unpacks_what_is_well(tmp_path: Path) -> None:
    archive = _zip(
        tmp_path / "a.zip", ("train/A  B/1.jpg", b"one"), ("./train/C/2.jpg", b"two"), ("train/D/", b"")
    )
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("valid\\A  B\\3.jpg", b"three")
        more.writestr("__MACOSX/train/A  B/._1.jpg", b"litter")
    unpack(archive, tmp_path / "out", CAP)
    files = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*.jpg")}
    assert files == {"train/A  B/1.jpg": b"one", "train/C/2.jpg": b"two", "valid/A  B/3.jpg": b"three"}
    assert (tmp_path / "out/train/D").is_dir()  # an empty class is a finding for the check, not for us to hide


@pytest.mark.parametrize(
    "bad",
    [
        "../escaped.jpg",
        "train/A/../../../escaped.jpg",
        "..\\escaped.jpg",
        "/tmp/ray-birds-escaped.jpg",
        "C:\\escaped.jpg",
        _special("train/link", stat.S_IFLNK),
        _special("train/pipe", stat.S_IFIFO),
    ],
    ids=str,
)
def test_refuses_what_leads_out(tmp_path: Path, bad: str | zipfile.ZipInfo) -> None:
    archive = _zip(tmp_path / "a.zip", ("train/A/1.jpg", b"one"), (bad, b"/etc/passwd"))
    with pytest.raises(DataError, match=r"leads out of|is a link|is not a file") as caught:
        unpack(archive, tmp_path / "in/out", CAP)
    assert "\n" not in str(caught.value)
    assert _everything(tmp_path) == ["a.zip"]
    assert not Path("/tmp/ray-birds-escaped.jpg").exists()


def test_refuses_a_link_and_a_file_through_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = _zip(
        tmp_path / "a.zip", (_special("train", stat.S_IFLNK), str(outside).encode()), ("train/1.jpg", b"one")
    )
    with pytest.raises(DataError, match="is a link"):
        unpack(archive, tmp_path / "out", CAP)
    assert _everything(outside) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_says_what_is_truncated(tmp_path: Path, share: float) -> None:
    archive = _zip(tmp_path / "a.zip", ("train/A/1.jpg", bytes(range(256)) * 40))
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    with pytest.raises(DataError, match=r"a.zip: damaged, or not a zip file"):
        unpack(archive, tmp_path / "out", CAP)


def test_says_what_is_damaged_inside(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", ("train/A/1.jpg", bytes(range(256)) * 40))
    data = bytearray(archive.read_bytes())
    data[60] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, tmp_path / "out", CAP)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a/" * 1900 + "1.jpg", "lies 1,900 folders deep, more than 64"),
        ("train/" + "a" * 256, "has a name that no disk takes"),
        ("/".join(["b" * 250] * 20), "has a name that no disk takes"),
    ],
)
def test_refuses_what_no_disk_takes(tmp_path: Path, name: str, reason: str) -> None:
    archive = _zip(tmp_path / "a.zip", ("train/A/1.jpg", b"one"), (name, b"two"))
    with pytest.raises(DataError, match=f"{reason}; nothing was unpacked") as caught:
        unpack(archive, tmp_path / "out", CAP)
    assert len(str(caught.value)) < 400 and _everything(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("second", ["train/A", "train/A/1.jpg"])
def test_says_what_occurs_twice(tmp_path: Path, second: str) -> None:
    archive = _zip(tmp_path / "a.zip", ("train/A/1.jpg", b"one"), (second, b"two"))
    with pytest.raises(DataError, match="two entries for"):
        unpack(archive, tmp_path / "out", CAP)


def test_says_what_is_encrypted(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", ("train/A/1.jpg", b"one"))
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"encrypted.*password"):
        unpack(archive, tmp_path / "out", CAP)


def zeros_archive(uri: Path, entries: int, chunks: int) -> Path:
    """A valid zip of `entries` files of `chunks` times 16 MiB of zeros each, compressed once and repeated."""
    block = bytes(1 << 24)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    repeated = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    stream = repeated * chunks + packer.flush(zlib.Z_FINISH)
    checksum = 0
    for _ in range(chunks):
        checksum = zlib.crc32(block, checksum)
    common = (20, 0, 8, 0, 0x21, checksum, len(stream), chunks << 24)
    directory = b""
    with uri.open("wb") as file:
        for number in range(entries):
            name = f"train/A/{number:05}.jpg".encode()
            directory += struct.pack(
                "<4s6H3L5H2L", b"PK\x01\x02", 20, *common, len(name), 0, 0, 0, 0, 0, file.tell()
            ) + name  # fmt: skip
            file.write(struct.pack("<4s5H3L2H", b"PK\x03\x04", *common, len(name), 0) + name + stream)
        start = file.tell()
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, entries, entries, len(directory), start, 0)
        file.write(directory + end)
    return uri


def test_refuses_100_gb_of_zeros(tmp_path: Path) -> None:
    archive = zeros_archive(tmp_path / "a.zip", entries=1600, chunks=4)
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        assert sum(info.file_size for info in infos) > 100 * 10**9
        with opened.open(infos[-1]) as entry:  # it is no mere claim: they do unpack, checksum and all
            assert sum(len(data) for data in iter(lambda: entry.read(1 << 24), b"")) == 64 << 20
    with pytest.raises(OutputError, match=r"107.4 GB, over the cap of 50.0 GB; .* --max-size"):
        unpack(archive, tmp_path / "out", 50 * 10**9)
    assert _everything(tmp_path) == ["a.zip"]


def test_an_entry_cannot_grow_beyond_what_it_announces(tmp_path: Path) -> None:
    archive = zeros_archive(tmp_path / "a.zip", entries=1, chunks=4)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<L", 4 << 24), struct.pack("<L", 1000)))
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, tmp_path / "out", 10**6)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.jpg")) <= 1000


def test_empty_files_are_not_free(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", *((f"train/A/{number}", b"") for number in range(300)))
    with pytest.raises(OutputError, match="over the cap"):
        unpack(archive, tmp_path / "out", 10**6)
