"""`download` against a stub of Kaggle and of the web on loopback, with the real kaggle client."""

import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests
from PIL import Image
from pyarrow import parquet

from ray_birds.config import DownloadConfig
from ray_birds.core.errors import DataError, OutputError, RayBirdsError, SettingsError
from ray_birds.data.dataset import scan
from ray_birds.data.sources import transfer
from ray_birds.data.sources.download import download, show
from tests.conftest import small_disk
from tests.data.sources.kaggle_stub import DOWNLOAD, SIGNATURE, Stub, serve

REPOSITORY = Path(__file__).parent.parent.parent.parent
USER, KEY = "some-user", "s3cre7-k3y"
OWNER_NAME = "some-owner/some-birds"
STORAGE = f"/storage/{OWNER_NAME}/newest"
CLASSES = ("ABBOTTS BABBLER", "PARAKETT  AKULET", "ZEBRA DOVE")


def image(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade % 256, 100, 50)).save(file, "JPEG")
    return file.getvalue()


def birds(splits: dict[str, int], classes: tuple[str, ...] = CLASSES) -> dict[str, bytes]:
    """Path -> JPEG of a small data set: split folder -> images a class."""
    numbered = [(s, c, n) for s, count in splits.items() for c in classes for n in range(count)]
    return {f"{s}/{c}/{n:03}.jpg": image(i) for i, (s, c, n) in enumerate(numbered)}


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


BIRDS = birds({"train": 3, "valid": 1, "test": 1})
# Weight that does not compress, so that an interruption falls into the middle of many chunks.
NOISE = b"".join(hashlib.sha512(number.to_bytes(4)).digest() for number in range(50_000))
ARCHIVE = zipped(BIRDS | {"notes.bin": NOISE})


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Stub]:
    monkeypatch.setattr(transfer, "WAITS", (0.01, 0.02, 0.03))
    stub = Stub({STORAGE: ARCHIVE})
    server = serve(stub)
    yield stub
    server.shutdown()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without credentials; user name and key in the environment, read when kaggle is imported."""
    for name in list(os.environ):
        if name.startswith("KAGGLE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    for name, value in (
        ("HOME", str(home)),
        ("KAGGLE_API_ENVIRONMENT", "TEST"),
        ("KAGGLE_CONFIG_DIR", str(home)),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    return home


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "uri" / "birds"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def images(folder: Path) -> dict[str, bytes]:
    return {path: data for path, data in snapshot(folder).items() if path.endswith(".jpg")}


def get(output: Path, **options: Any) -> None:
    config = DownloadConfig(output=str(output), **({"dataset": OWNER_NAME} | options))
    show(download(config), config.labels)


def take(output: Path, source: object, **options: Any) -> None:
    get(output, dataset="", source=str(source), **options)


def refused(output: Path, kind: type[RayBirdsError], **options: Any) -> str:
    """The message that a download ends with: one line, no secrets."""
    with pytest.raises(kind) as caught:
        get(output, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert KEY not in message and SIGNATURE not in message
    return message


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def fetched_digest(output: Path) -> str:
    return str(json.loads((output / ".download.json").read_text())["blake2b"])


# --- Kaggle -----------------------------------------------------------------------------------------------


def test_fine(stub: Stub, output: Path, capfd: pytest.CaptureFixture[str]) -> None:
    get(output)
    assert images(output) == BIRDS
    assert sorted(entry.name for entry in output.iterdir()) == [
        ".download.json",
        "notes.bin",
        "test",
        "train",
        "valid",
    ]
    record = json.loads((output / ".download.json").read_text())
    assert record["blake2b"] == digest(ARCHIVE)
    assert (record["source"], record["files"]) == (f"Kaggle's {OWNER_NAME}", len(BIRDS) + 1)
    wanted = json.loads(stub.of(DOWNLOAD)[0].body)
    assert (wanted["ownerSlug"], wanted["datasetSlug"]) == ("some-owner", "some-birds")
    assert stub.of(DOWNLOAD)[0].headers["Authorization"].startswith("Basic ")
    assert all("Authorization" not in asked.headers for asked in stub.of(STORAGE))  # another host
    shown = capfd.readouterr()
    everything = shown.out + shown.err + "".join(map(repr, snapshot(output).values()))
    assert "3 classes; images: train 9, valid 3, test 3" in shown.out
    assert all(secret not in everything for secret in (KEY, SIGNATURE, "Authorization", "Basic "))


def test_a_finished_download_is_not_repeated(stub: Stub, output: Path, capfd: pytest.CaptureFixture[str]) -> None:
    get(output)
    before, asked = snapshot(output), len(stub.asked)
    get(output)
    assert (snapshot(output), len(stub.asked)) == (before, asked)
    assert "finished download" in capfd.readouterr().out
    stub.files[f"/storage/{OWNER_NAME}/7"] = ARCHIVE
    assert "choose another --output" in refused(output, OutputError, dataset=f"{OWNER_NAME}/versions/7")
    assert snapshot(output) == before
    shutil.rmtree(output / "valid")
    assert "valid is missing" in refused(output, OutputError)


def test_a_version(stub: Stub, output: Path) -> None:
    stub.files[f"/storage/{OWNER_NAME}/7"] = zipped(BIRDS)
    get(output, dataset=f"{OWNER_NAME}/versions/7")
    assert json.loads(stub.of(DOWNLOAD)[0].body)["datasetVersionNumber"] == 7
    assert images(output) == BIRDS


@pytest.mark.parametrize(
    "name", ["birds", "a/b/c", "a/b/versions/0", "a/b/versions/x", "https://www.kaggle.com/a/b", "../b"]
)
def test_a_name_that_cannot_be(output: Path, name: str) -> None:
    assert "OWNER/NAME" in refused(output, SettingsError, dataset=name)
    assert not output.exists()


def test_resumes_within_a_run(stub: Stub, output: Path) -> None:
    stub.file_troubles = ["", "cut", "cut", "cut", "cut", "cut"]  # the first request is the client's own
    get(output)
    assert images(output) == BIRDS
    starts = [asked.headers.get("Range", "") for asked in stub.of(STORAGE)]
    assert starts[:2] == ["", ""]
    first = int(starts[2].removeprefix("bytes=").rstrip("-"))
    assert 0 <= len(ARCHIVE) // 2 - first < transfer.CHUNK  # the middle, less a chunk that was broken
    assert len(starts) == 7  # more failures than WAITS has, each with new bytes


def interrupted(stub: Stub, output: Path) -> int:
    """Leave a half of the archive behind; returns its length."""
    stub.file_troubles = ["", "cut", 500, 500, 500, 500]
    assert "goes on where it stopped" in refused(output, DataError)
    stub.asked.clear()
    stub.file_troubles.clear()
    assert [path.name for path in output.iterdir()] == [".download"]
    return (output / ".download/fetched/archive.zip.part").stat().st_size


def test_resumes_in_the_next_run(stub: Stub, output: Path) -> None:
    length = interrupted(stub, output)
    assert 0 <= len(ARCHIVE) // 2 - length < transfer.CHUNK
    write(output / ".download/unpacked", {"train/A/1.jpg": b"of a run that was killed while unpacking"})
    get(output)
    assert stub.of(STORAGE)[-1].headers["Range"] == f"bytes={length}-"
    assert images(output) == BIRDS
    assert not (output / ".download").exists()


def test_starts_over_where_the_file_has_changed(stub: Stub, output: Path) -> None:
    interrupted(stub, output)
    stub.etag, stub.files[STORAGE] = '"version-2"', zipped({"more.bin": NOISE[::-1]} | BIRDS)
    get(output)
    assert fetched_digest(output) == digest(stub.files[STORAGE])


def test_starts_over_where_the_server_has_no_ranges(stub: Stub, output: Path) -> None:
    stub.ranges = False
    interrupted(stub, output)
    get(output)
    assert images(output) == BIRDS
    assert fetched_digest(output) == digest(ARCHIVE)


def test_a_complete_archive_is_not_fetched_again(stub: Stub, output: Path) -> None:
    interrupted(stub, output)
    (output / ".download/fetched/archive.zip.part").write_bytes(ARCHIVE)  # killed just before it got its name
    get(output)
    assert images(output) == BIRDS
    assert len(stub.of(STORAGE)) == 1  # the client's own, which is closed unread


def test_an_error_page_is_never_part_of_the_archive(stub: Stub, output: Path) -> None:
    length = interrupted(stub, output)
    stub.file_troubles = ["", 403]
    assert "403" in refused(output, DataError)
    assert (output / ".download/fetched/archive.zip.part").stat().st_size == length
    get(output)
    assert images(output) == BIRDS


def test_what_cannot_be_resumed_is_not_kept(stub: Stub, output: Path) -> None:
    stub.etag = ""  # a server that does not say which version it sends
    stub.file_troubles = ["", "cut", 500, 500, 500, 500]
    assert "goes on where it stopped if the server can" in refused(output, DataError)
    assert not output.exists()


def test_a_length_that_is_no_number(stub: Stub, output: Path) -> None:
    stub.file_troubles = ["", "odd length"]
    get(output)
    assert images(output) == BIRDS


@pytest.mark.parametrize("trouble", ["drip", "drip headers"])
def test_a_server_that_sends_next_to_nothing(
    stub: Stub, output: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(transfer, "PATIENCE", 0.5)
    stub.file_troubles = [trouble] * 9
    start = time.monotonic()
    message = refused(output, DataError, dataset="", source=f"{stub.url}/{STORAGE}")
    stub.go_on.set()
    assert message.startswith("127.0.0.1 brings less than 65,536 bytes in 0.5 s: later, run the same command")
    assert time.monotonic() - start < 5 and len(stub.asked) == 1


def test_a_slow_server_that_gets_there(stub: Stub, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has time for each chunk, not for all of them."""
    monkeypatch.setattr(transfer, "PATIENCE", 0.4)
    read = requests.Response.iter_content

    def slowly(answer: Any, size: int) -> Iterator[bytes]:
        for data in read(answer, size):
            time.sleep(0.03)
            yield data

    monkeypatch.setattr(requests.Response, "iter_content", slowly)
    get(output)
    assert images(output) == BIRDS and len(ARCHIVE) // transfer.CHUNK * 0.03 > 1


def test_a_server_that_breaks_off_after_each_byte(stub: Stub, output: Path) -> None:
    stub.files[STORAGE] = b"PK"
    stub.file_troubles = ["", *["cut"] * 20]
    assert "breaks off before all bytes have come" in refused(output, DataError)
    assert len(stub.of(STORAGE)) < 7


def test_an_unfinished_download_is_not_mixed_with_another(stub: Stub, output: Path) -> None:
    interrupted(stub, output)
    before = snapshot(output)
    assert "unfinished download of Kaggle's" in refused(output, OutputError, dataset="other/birds")
    assert snapshot(output) == before


def test_publishing_goes_on_where_it_stopped(stub: Stub, output: Path) -> None:
    interrupted(stub, output)
    (output / "test").mkdir()  # put here meanwhile by somebody
    (output / "test/mine.txt").write_text("mine")
    assert "test: was put here meanwhile" in refused(output, OutputError)
    assert (output / "test/mine.txt").read_text() == "mine"
    assert not (output / ".download.json").exists()
    stub.asked.clear()
    shutil.rmtree(output / "test")
    get(output)
    assert images(output) == BIRDS and not stub.asked


def test_429_with_retry(stub: Stub, output: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stub.api_troubles = [(429, {"Retry-After": "0"}), (429, {})]
    stub.file_troubles = [429, "", 429, 503]
    get(output)
    assert images(output) == BIRDS
    assert capfd.readouterr().out.count("the server answers 429; trying again in") == 4
    assert len(stub.of(DOWNLOAD)) == 4


@pytest.mark.parametrize("after", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_quota_is_not_waited_for(stub: Stub, output: Path, after: str) -> None:
    stub.api_troubles = [(429, {"Retry-After": after})]
    message = refused(output, DataError)
    assert "quota at Kaggle is used up (429): in " in message and " min, run the same command again" in message
    assert len(stub.asked) == 1 and not output.exists()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (401, "does not accept the credentials it was given (401)"),
        (403, "https://www.kaggle.com/datasets/some-owner/some-birds"),
        (404, "Kaggle has no data set some-owner/some-birds (404)"),
        (503, "answers with status 503: later, run the same command again"),
    ],
)
def test_refusals(stub: Stub, output: Path, code: int, expected: str) -> None:
    stub.api_troubles = [(code, {})] * 4
    assert expected in refused(output, DataError)
    assert not output.exists()


@pytest.mark.parametrize("code", [403, 404])
@pytest.mark.parametrize("version", ["", "/versions/48"])
def test_the_article_s_data_set(stub: Stub, output: Path, code: int, version: str) -> None:
    stub.api_troubles = [(code, {})]
    message = refused(output, DataError, dataset=f"gpiosenka/100-bird-species{version}")
    for copy in (
        "--dataset vinjamuripavan/bird-species",
        "--from https://huggingface.co/datasets/yashikota/birds-525-species-image-classification",
        "--from https://huggingface.co/datasets/chriamue/bird-species-dataset",
    ):
        assert copy in message


def test_wrong_length(stub: Stub, output: Path) -> None:
    stub.file_troubles = ["", *["lie"] * 9]
    assert "breaks off before all bytes have come" in refused(output, DataError)
    stub.file_troubles = []
    get(output)
    assert images(output) == BIRDS


@pytest.mark.parametrize("damage", ["truncated", "flipped", "web page"])
def test_a_damaged_archive_is_fetched_again(stub: Stub, output: Path, damage: str) -> None:
    flipped = ARCHIVE.replace(b"PK\x03\x04", b"PK\x03\x05", 1)
    stub.files[STORAGE] = {"truncated": ARCHIVE[:-500], "flipped": flipped, "web page": b"<html>"}[damage]
    assert "archive.zip: damaged, or not a zip file" in refused(output, DataError)
    assert not output.exists()
    stub.files[STORAGE] = ARCHIVE
    get(output)
    assert images(output) == BIRDS


@pytest.mark.parametrize("bad", ["../../escaped.jpg", "/tmp/ray-birds-escaped.jpg", "link"])
def test_nothing_is_written_outside(stub: Stub, output: Path, tmp_path: Path, bad: str) -> None:
    entry = zipfile.ZipInfo(bad)
    entry.external_attr = (stat.S_IFLNK if bad == "link" else stat.S_IFREG) << 16
    file = io.BytesIO(zipped(BIRDS))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(entry, str(tmp_path))
    stub.files[STORAGE] = file.getvalue()
    output.mkdir(parents=True)  # empty, and stays
    (output.parent / "neighbour.txt").write_text("here before")
    before = snapshot(tmp_path)
    assert "do not trust this archive" in refused(output, DataError)
    assert snapshot(tmp_path) == before and output.is_dir()
    assert not Path("/tmp/ray-birds-escaped.jpg").exists()


def test_what_was_there_before_stays(stub: Stub, output: Path) -> None:
    (output / "train/OTHER").mkdir(parents=True)
    (output / "train/OTHER/1.jpg").write_bytes(b"mine")
    assert "holds other files" in refused(output, OutputError)
    assert snapshot(output) == {"train/OTHER/1.jpg": b"mine"} and not stub.asked


def test_the_cap(stub: Stub, output: Path) -> None:
    stub.files[STORAGE] = zipped(BIRDS)
    unpacked = sum(-(-len(data) // 4096) * 4096 + 4096 for data in BIRDS.values())
    assert "raise --max-size" in refused(output, OutputError, max_size=(unpacked - 1) / 1e9)
    asked = len(stub.of(STORAGE))
    get(output, max_size=unpacked / 1e9)  # the archive was kept
    assert images(output) == BIRDS and len(stub.of(STORAGE)) == asked


def test_the_cap_holds_where_no_length_is_told(stub: Stub, output: Path) -> None:
    stub.file_troubles = ["", "no length"]
    assert "the download would take 0.0 GB, over the cap" in refused(output, OutputError, max_size=0.0015)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "1200k") as uri:
        yield uri


def test_a_disk_too_small_for_the_archive(stub: Stub, disk: Path) -> None:
    assert "the download needs 0.006 GB and the disk has 0.001 GB free" in refused(disk / "birds", OutputError)
    assert list(disk.iterdir()) == []


def test_a_disk_too_small_for_what_is_in_the_archive(stub: Stub, disk: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/A/1.jpg", bytes(10**8))
    stub.files[STORAGE] = packed.getvalue()
    assert "unpacked, needs 0.100 GB" in refused(disk / "birds", OutputError)
    assert not images(disk)


def test_a_disk_that_fills_up(stub: Stub, disk: Path) -> None:
    stub.file_troubles = ["", "no length"]
    assert "the disk, or your quota on it, is full" in refused(disk / "birds", OutputError)


# --- the command line, and credentials --------------------------------------------------------------------


def run(*options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/download.py", *map(str, options)]
    values = {
        "PATH": os.environ["PATH"],
        "OMP_NUM_THREADS": "1",
        "KAGGLE_API_ENVIRONMENT": "TEST",
    } | environment
    return subprocess.run(command, cwd=REPOSITORY, env=values, capture_output=True, text=True, timeout=120)


@pytest.mark.integration
def test_without_credentials(stub: Stub, output: Path, home: Path) -> None:
    done = run("--dataset", OWNER_NAME, "--output", output, HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert images(output) == BIRDS
    assert "Authorization" not in stub.of(DOWNLOAD)[0].headers
    assert "Authentication required" not in done.stdout  # the client's advice, which is not needed
    stub.api_troubles = [(401, {})]
    done = run("--dataset", OWNER_NAME, "--output", output.with_name("more"), HOME=str(home))
    assert done.returncode == 2 and done.stderr.startswith(
        "error: Kaggle gives some-owner/some-birds only to those"
    )
    assert done.stderr.count("\n") == 1 and "https://www.kaggle.com/settings/api" in done.stderr


@pytest.mark.slow  # a process each
@pytest.mark.parametrize("kind", ["kaggle.json", "access_token", "KAGGLE_API_TOKEN"])
def test_credentials_as_the_client_takes_them(stub: Stub, output: Path, home: Path, kind: str) -> None:
    folder = home / ".kaggle"
    folder.mkdir()
    environment = {"HOME": str(home)}
    if kind == "kaggle.json":
        (folder / kind).write_text(json.dumps({"username": USER, "key": KEY}))
    elif kind == "access_token":
        (folder / kind).write_text(KEY)
    else:
        environment[kind] = KEY
    done = run("--dataset", OWNER_NAME, "--output", output, **environment)
    assert done.returncode == 0, done.stderr
    scheme = "Basic" if kind == "kaggle.json" else f"Bearer {KEY}"
    assert stub.of(DOWNLOAD)[0].headers["Authorization"].startswith(scheme)
    everything = done.stdout + done.stderr + "".join(map(repr, snapshot(output).values()))
    assert KEY not in everything and SIGNATURE not in everything


@pytest.mark.slow
def test_resumes_after_a_kill(stub: Stub, output: Path, home: Path) -> None:
    stub.file_troubles = ["", "stall"]
    command = [sys.executable, "jobs/download.py", "--dataset", OWNER_NAME, "--output", str(output)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    part = output / ".download/fetched/archive.zip.part"
    assert stub.stalling.wait(60)
    while not part.exists() or part.stat().st_size < len(ARCHIVE) // 2 - 2 * transfer.CHUNK:
        time.sleep(0.05)
    process.kill()
    process.wait()
    stub.go_on.set()
    length = part.stat().st_size
    get(output)
    assert stub.of(STORAGE)[-1].headers["Range"] == f"bytes={length}-"
    assert images(output) == BIRDS


@pytest.mark.slow  # the waits are real: 1, 2 and 4 s
def test_no_network(output: Path, home: Path) -> None:
    # Nothing listens there: the client honours the proxy, as it does behind a company's wall.
    done = run("--dataset", OWNER_NAME, "--output", output, HOME=str(home), HTTP_PROXY="http://127.0.0.1:1")
    assert done.returncode == 2
    assert (
        done.stderr.startswith("error: no connection to Kaggle: check the network")
        and done.stderr.count("\n") == 1
    )
    assert not output.exists()


# --- copies from elsewhere --------------------------------------------------------------------------------


def test_from_a_url(stub: Stub, output: Path) -> None:
    stub.files["/some/birds.zip"] = ARCHIVE
    stub.file_troubles = ["cut"]
    take(output, f"{stub.url}/some/birds.zip?{SIGNATURE}")
    assert images(output) == BIRDS
    assert SIGNATURE not in "".join(map(repr, snapshot(output).values()))


def test_from_a_url_of_one_parquet_file(stub: Stub, output: Path) -> None:
    stub.files["/data/train-00000-of-00001.parquet"] = hub("train")
    take(output, f"{stub.url}/data/train-00000-of-00001.parquet?download=true")
    assert labelled(output) == expected({"train": "train"})


@pytest.mark.parametrize(("code", "expected"), [(404, "nothing at this address"), (403, "--from FILE.zip")])
def test_from_a_url_that_is_refused(stub: Stub, output: Path, code: int, expected: str) -> None:
    stub.file_troubles = [code]
    assert expected in refused(output, DataError, dataset="", source=f"{stub.url}/birds.zip?{SIGNATURE}")


def test_from_a_url_with_a_password(output: Path) -> None:
    message = refused(output, SettingsError, dataset="", source=f"http://me:{KEY}@127.0.0.1:7777/birds.zip")
    assert "leave user and password out" in message


def test_from_a_zip(tmp_path: Path, output: Path) -> None:
    (tmp_path / "birds.zip").write_bytes(ARCHIVE)
    take(output, tmp_path / "birds.zip")
    assert images(output) == BIRDS and (tmp_path / "birds.zip").read_bytes() == ARCHIVE


def test_from_a_damaged_zip_leaves_it_alone(tmp_path: Path, output: Path) -> None:
    (tmp_path / "birds.zip").write_bytes(ARCHIVE[:1000])
    with pytest.raises(DataError, match="damaged"):
        take(output, tmp_path / "birds.zip")
    assert (tmp_path / "birds.zip").read_bytes() == ARCHIVE[:1000] and not output.exists()


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_from_a_folder(tmp_path: Path, output: Path) -> None:
    source = write(tmp_path / "source", {f"inner/{path}": data for path, data in BIRDS.items()})
    take(output, source)
    assert images(output) == BIRDS and images(source / "inner") == BIRDS


def test_from_a_folder_that_cannot_be(tmp_path: Path, output: Path) -> None:
    source = write(tmp_path / "source", BIRDS)
    assert "no such file" in refused(output, DataError, dataset="", source=str(tmp_path / "none"))
    assert "lies inside" in refused(source / "copy", SettingsError, dataset="", source=str(source))
    empty = write(tmp_path / "empty", {"a.txt": b""})
    assert "neither a folder train/ nor Parquet files" in refused(output, DataError, dataset="", source=str(empty))
    assert not output.exists()


def test_links_are_followed_once_and_litter_is_left_out(
    tmp_path: Path, output: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "source", BIRDS)
    write(source / "train", {".ipynb_checkpoints/1.jpg": image(0), "Thumbs.db": b"", "._1.jpg": b""})
    write(source / "__MACOSX", {"train/A/._1.jpg": b""})
    write(tmp_path / "elsewhere", {"1.jpg": image(7)})
    (source / "train" / "loop").symlink_to(source)
    (source / "train" / "LINKED").symlink_to(tmp_path / "elsewhere")
    take(output, source)
    assert images(output) == BIRDS | {"train/LINKED/1.jpg": image(7)}
    said = capfd.readouterr().out
    assert "a link to a folder that is listed already: such as train/loop" in said
    assert "4 files and folders that systems leave behind" in said and "__MACOSX (1)" in said


def test_two_folders_with_train(tmp_path: Path, output: Path) -> None:
    source = write(tmp_path / "source", {f"{part}/{path}": data for path, data in BIRDS.items() for part in "ab"})
    assert "several folders hold train/ (a, b)" in refused(output, DataError, dataset="", source=str(source))


# --- the shapes that the article's data come in -----------------------------------------------------------

TWELVE = (*CLASSES, *(f"BIRD {number}" for number in range(9)))
ROWS = b"filepaths,labels,data set\ntrain/ABBOTTS BABBLER/000.jpg,A,train\ntrain/GONE/999.jpg,B,train\n"


@pytest.mark.parametrize("wrap", ["", "archive/", "100-bird-species/birds/"])
@pytest.mark.parametrize("valid", ["valid", "validation"])
def test_shapes(tmp_path: Path, output: Path, wrap: str, valid: str) -> None:
    """The original shape (400 species) has `images to test` and birds.csv, the 525 one a model file."""
    extra = {
        **{f"images to test/{number}.jpg": image(number) for number in range(7)},
        "birds.csv": ROWS,
        "EfficientNetB0-525-(224 X 224)- 98.97.h5": b"model",
    }
    contents = birds({"train": 5, valid: 2, "test": 2}, TWELVE) | extra
    (tmp_path / "birds.zip").write_bytes(zipped({wrap + path: data for path, data in contents.items()}))
    take(output, tmp_path / "birds.zip")
    dataset = scan(str(output))
    assert dataset.classes == tuple(sorted(" ".join(name.split()) for name in TWELVE))
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 60,
        "valid": 24,
        "test": 24,
    }
    assert len(list((output / "images to test").iterdir())) == 7 and (output / "birds.csv").read_bytes() == ROWS


def test_files_outside_the_wrapping_folder_are_named(
    tmp_path: Path, output: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.zip").write_bytes(
        zipped({f"birds/{p}": d for p, d in BIRDS.items()} | {"README": b"", "LICENSE": b""})
    )
    take(output, tmp_path / "a.zip")
    assert "train/ is in birds/; 2 files outside that folder are left out" in capfd.readouterr().out


def test_spaces_may_differ_but_spelling_may_not(
    tmp_path: Path, output: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spaces = birds({"train": 2}) | birds({"valid": 1}, ("ABBOTTS BABBLER", "PARAKETT AKULET", "ZEBRA  DOVE"))
    (tmp_path / "a.zip").write_bytes(zipped(spaces))
    take(output, tmp_path / "a.zip")
    assert len(scan(str(output)).classes) == 3
    spelling = birds({"train": 2}) | birds({"valid": 1}, ("ABBOTS BABBLER", *CLASSES[1:]))
    (tmp_path / "b.zip").write_bytes(zipped(spelling))
    capfd.readouterr()
    take(output.with_name("b"), tmp_path / "b.zip")
    said = capfd.readouterr().out
    assert "a sweep would not take it yet" in said and "'ABBOTS BABBLER'" in said and "'ABBOTTS BABBLER'" in said


# --- Parquet ----------------------------------------------------------------------------------------------


Rows = list[tuple[bytes | None, str | None, int | str | None]]


def table(rows: Rows, names: tuple[str, ...] = CLASSES, group: int = 7) -> bytes:
    """A Parquet file as `datasets.push_to_hub` writes it; without metadata if there are no `names`."""
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    images = [{"bytes": data, "path": path} for data, path, _ in rows]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    made = pa.table({"image": pa.array(images, kind), "label": [label for *_, label in rows]})
    if names:
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = io.BytesIO()
    parquet.write_table(made, file, row_group_size=group)
    return file.getvalue()


def hub(part: str) -> bytes:
    return table([(image(40 * i + len(part)), f"{i}.jpg" if i % 2 else None, i % 3) for i in range(9)])


def labelled(folder: Path) -> dict[tuple[str, str], set[bytes]]:
    """(split, class) -> images, whatever they are called."""
    found: dict[tuple[str, str], set[bytes]] = {}
    for path, data in images(folder).items():
        found.setdefault((path.split("/")[0], path.split("/")[1]), set()).add(data)
    return found


def expected(parts: dict[str, str]) -> dict[tuple[str, str], set[bytes]]:
    return {
        (split, CLASSES[label]): {image(40 * i + len(part)) for i in range(label, 9, 3)}
        for split, part in parts.items()
        for label in range(3)
    }


@pytest.mark.parametrize("names", ["data/{}-00000-of-00001.parquet", "default/{}/0000.parquet", "{}.parquet"])
def test_parquet_becomes_the_folder(tmp_path: Path, output: Path, names: str) -> None:
    parts = {"train": "train", "valid": "validation", "test": "test"}
    source = write(tmp_path / "hub", {names.format(part): hub(part) for part in parts.values()})
    take(output, source)
    assert labelled(output) == expected(parts)
    assert scan(str(output)).splits.keys() == {"train", "valid", "test"}


def test_a_page_of_hugging_face(stub: Stub, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", stub.url)
    address = "/api/datasets/yashikota/birds-525/parquet"
    parts = {"train": "train", "valid": "validation"}
    listed = {part: [f"{stub.url}{address}/default/{part}/0.parquet"] for part in parts.values()}
    stub.files[address] = json.dumps({"default": listed}).encode()
    stub.files |= {f"{address}/default/{part}/0.parquet": hub(part) for part in parts.values()}
    stub.file_troubles = [503, "", "", "cut"]
    take(output, f"{stub.url}/datasets/yashikota/birds-525")
    assert labelled(output) == expected(parts)


def test_the_cap_counts_all_files_of_a_hub(stub: Stub, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", stub.url)
    listed = [f"{stub.url}/{number}.parquet" for number in range(3)]
    stub.files["/api/datasets/a/b/parquet"] = json.dumps({"default": {"train": listed}}).encode()
    stub.files |= {f"/{number}.parquet": hub("train") for number in range(3)}
    cap = 2.5 * len(hub("train")) / 1e9
    message = refused(output, OutputError, dataset="", source=f"{stub.url}/datasets/a/b", max_size=cap)
    assert message.startswith("the download would take")
    assert len(stub.of("/1.parquet")) == len(stub.of("/2.parquet")) == 1


def test_a_hub_that_names_other_places(stub: Stub, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", stub.url)
    stub.files["/api/datasets/a/b/parquet"] = json.dumps({"default": {"../../train": [f"{stub.url}/x"]}}).encode()
    assert "'../../train'" in refused(output, DataError, dataset="", source=f"{stub.url}/datasets/a/b")
    stub.files["/api/datasets/a/b/parquet"] = json.dumps({"one": {}, "two": {}}).encode()
    assert "found one, two" in refused(output, DataError, dataset="", source=f"{stub.url}/datasets/a/b")


@pytest.mark.parametrize(
    "answer", [b"[]", b"5", b"<html>", b'{"default": 3}', b'{"default": {"train": 3}}', b"[" * 100_000, b"{}"]
)
def test_a_hub_that_answers_something_else(
    stub: Stub, output: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", stub.url)
    stub.files["/api/datasets/a/b/parquet"] = answer
    message = refused(output, DataError, dataset="", source=f"{stub.url}/datasets/a/b")
    assert "fetch its files" in message and not output.exists()


def test_a_hub_that_does_not_stop_answering(stub: Stub, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", stub.url)
    stub.files["/api/datasets/a/b/parquet"] = b" " * (transfer.MOST_ANSWER + 1)
    assert "AnswerTooLongError" in refused(output, DataError, dataset="", source=f"{stub.url}/datasets/a/b")


def test_parquet_with_texts_as_labels_and_rows_without(tmp_path: Path, output: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    rows: Rows = [(image(1), None, "A"), (png.getvalue(), None, "B/C"), (image(2), None, None)]
    source = write(tmp_path / "hub", {"train.parquet": table(rows, ())})
    take(output, source)
    found = sorted(path for path in snapshot(output) if not path.startswith("."))
    assert found == [
        "images to test/train-000003.jpg",
        "train/A/train-000001.jpg",
        "train/B_C/train-000002.png",
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("train.parquet", table([(None, "x.jpg", 0)]), "holds paths instead of images"),
        ("train.parquet", table([(image(0), None, 3)]), "label 3, but only 3 class names"),
        ("train.parquet", table([(image(0), None, 0)], ("..",)), "cannot be the name of a folder"),
        ("train.parquet", hub("train")[:-200], "damaged Parquet file"),
        ("train.parquet", hub("train")[:50] + b"\0" * 300 + hub("train")[350:], "damaged Parquet file"),
        ("extra.parquet", hub("train"), "no split in its name"),
    ],
)
def test_parquet_that_cannot_be(tmp_path: Path, output: Path, name: str, content: bytes, expected: str) -> None:
    source = write(tmp_path / "hub", {name: content})
    assert expected in refused(output, DataError, dataset="", source=str(source))
    assert not output.exists()


def packed(images: list[bytes], metadata: object = None, **options: Any) -> bytes:
    """A Parquet file of images of one class, with these metadata."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    made = pa.table({"image": pa.array([{"bytes": data} for data in images], kind), "label": ["A"] * len(images)})
    if metadata is not None:
        text = metadata if isinstance(metadata, str) else json.dumps(metadata)
        made = made.replace_schema_metadata({"huggingface": text})
    file = io.BytesIO()
    parquet.write_table(made, file, compression="zstd", **options)
    return file.getvalue()


def test_parquet_of_few_bytes_that_unpack_to_many(tmp_path: Path, output: Path) -> None:
    data = packed([bytes(130_000_000)], use_dictionary=False, write_statistics=False)
    assert len(data) < 50_000
    source = write(tmp_path / "hub", {"train.parquet": data})
    before = pa.total_allocated_bytes()
    message = refused(output, DataError, dataset="", source=str(source))
    assert re.search(r"train\.parquet: a page unpacks to 130,0\d\d,\d\d\d bytes, expected 128,000,000", message)
    assert pa.total_allocated_bytes() == before and not output.exists()


@pytest.mark.slow
def test_parquet_whose_rows_share_a_large_image(tmp_path: Path) -> None:
    """As many rows are read at a time as fit: here two of eight."""
    data = packed([bytes(60_000_000)] * 8, dictionary_pagesize_limit=10**8)
    write(tmp_path, {"train.parquet": data})
    script = f"""
from pathlib import Path
from ray_birds.data.sources import parquet
try:
    parquet.convert([Path({str(tmp_path)!r}, "train.parquet")], Path({str(tmp_path)!r}, "out"), 200_000_000)
except Exception as error:
    print(type(error).__name__)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY)
    *_, kind, peak = done.stdout.split()
    assert kind == "OutputError", done.stderr  # eight images are over the cap, after three of them
    assert int(peak) < 900_000  # kB; 1,380,000 with all eight at a time


@pytest.mark.parametrize(
    "metadata",
    [
        *([], 5, "not JSON", "[" * 100_000, {"info": 5}, {"info": {"features": []}}),
        {"info": {"features": {"image": 5, "label": "x"}}},
        {"info": {"features": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": 5}}}},
        {"info": {"features": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": [5]}}}},
        {"info": {"features": {"label": {"_type": "Image"}, "image": {"_type": "ClassLabel"}}}},
        {"info": {"features": {"nothing": {"_type": "Image"}}}},
    ],
    ids=str,
)
def test_parquet_metadata_of_another_form(tmp_path: Path, output: Path, metadata: object) -> None:
    """They are passed over where the columns tell enough, or are no metadata of this form at all."""
    source = write(tmp_path / "hub", {"train.parquet": packed([image(1)], metadata)})
    try:
        take(output, source)
    except DataError as error:
        assert "\n" not in str(error) and len(str(error)) < 400 and not output.exists()
    else:
        assert set(images(output)) == {"train/A/train-000001.jpg"}


def test_parquet_with_a_class_name_that_no_disk_takes(tmp_path: Path, output: Path) -> None:
    source = write(tmp_path / "hub", {"train.parquet": table([(image(0), None, 0)], ("a" * 300,))})
    assert "cannot be the name of a folder" in refused(output, DataError, dataset="", source=str(source))


def test_a_folder_too_deep_to_copy(tmp_path: Path, output: Path) -> None:
    source = write(tmp_path / "source", {"/".join(["train", "A", *"d" * 70, "1.jpg"]): image(0)})
    assert "more than 64 folders deep" in refused(output, DataError, dataset="", source=str(source))
    assert not output.exists()


def test_parquet_that_unpacks_beyond_the_cap(tmp_path: Path, output: Path) -> None:
    """One image of 100 kB in the dictionary stands for 2,000 rows: 200 MB from a file of few kB."""
    source = write(tmp_path / "hub", {"train.parquet": table([(bytes(100_000), None, 0)] * 2000, group=2000)})
    assert (source / "train.parquet").stat().st_size < 300_000
    message = refused(output, OutputError, dataset="", source=str(source), max_size=0.02)
    assert "as images, would take" in message and not output.exists()


# ---- with a table of labels

TABLE = "path,label\n" + "".join(f"2024/{n}.jpg,{CLASSES[n % 3]}\n" for n in range(6))
WITH_TABLE = {"meta/labels.csv": TABLE.encode()} | {f"2024/{n}.jpg": image(n) for n in range(6)}


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_table_of_labels_comes_with_its_images_as_they_lie(
    output: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "data.zip"
    source.write_bytes(zipped(WITH_TABLE))
    if kind == "folder":
        source = tmp_path / "data"
        with zipfile.ZipFile(tmp_path / "data.zip") as archive:
            archive.extractall(source)
    take(output, source, labels="meta/labels.csv")
    assert {name: data for name, data in snapshot(output).items() if not name.startswith(".")} == WITH_TABLE
    said = capsys.readouterr().out
    assert "3 classes; images: train 6" in said and f"--labels {output}/meta/labels.csv" in said
    before = snapshot(output)
    take(output, source, labels="meta/labels.csv")
    assert "holds the finished download" in capsys.readouterr().out and snapshot(output) == before
    with pytest.raises(OutputError, match="holds the download of"):
        take(output, source)


def test_a_table_that_is_not_there_is_named_with_those_that_are(output: Path, tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(zipped(WITH_TABLE))
    with pytest.raises(DataError, match=r"has no labels\.csv \(--labels\); its tables: meta/labels\.csv"):
        take(output, tmp_path / "data.zip", labels="labels.csv")
    assert not output.exists()
    with pytest.raises(SettingsError, match=r"--labels \.\./labels\.csv: expected a path inside"):
        take(output, tmp_path / "data.zip", labels="../labels.csv")
