"""A node's copy of stored features: this user's alone, made once, and again when it is damaged."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ray_birds.core import node_folder, storage
from ray_birds.core.errors import OutputError
from ray_birds.features import node_copy, store
from ray_birds.features.store import Feature, Reader
from tests.conftest import REPOSITORY, own_s3

FEATURE = Feature("B", "train", "pooled", None, "stretch", (4,), "float32", 100, "0" * 16)
VALUES = np.arange(400, dtype=np.float32).reshape(100, 4)
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs owners and modes of files")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's temporary directory."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    """A store with the complete feature, of which copies are made."""
    fill(str(tmp_path / "store"))
    return str(tmp_path / "store")


def fill(uri: str) -> None:
    for shard in range(FEATURE.shards):
        store.write_shard(uri, FEATURE, shard, VALUES[slice(*FEATURE.span(shard))])
    store.finish(uri, FEATURE)


def copied(uri: str) -> Path:
    return node_copy.of(storage.join(uri, FEATURE.folder), FEATURE.folder)


def own(temporary: Path) -> Path:
    """Where this user's copies go."""
    return temporary / f"ray-birds-features-{os.getuid()}"


@pytest.mark.integration
def test_a_copy_in_s3_that_lost_a_file_is_made_again(temporary: Path) -> None:
    """Others tidy up temporary directories."""
    with own_s3() as uri:
        fill(uri)
        for lost in ("*.npy", "manifest.json"):
            np.testing.assert_array_equal(Reader(uri, FEATURE).rows(range(100)), VALUES)
            next(temporary.rglob(lost)).unlink()
        np.testing.assert_array_equal(Reader(uri, FEATURE).rows(range(100)), VALUES)


@pytest.mark.integration
def test_a_damaged_shard_in_s3_is_refused_by_readers_and_found_when_asked(temporary: Path) -> None:
    with own_s3() as uri:
        fill(uri)
        name = Path(storage.find(storage.join(uri, FEATURE.folder))[1].path).name
        storage.write(storage.join(uri, FEATURE.folder, name), b"planted")
        with pytest.raises(OutputError) as error:
            Reader(uri, FEATURE)
        assert (
            name in str(error.value) and "--verify-features" in str(error.value) and "\n" not in str(error.value)
        )
        assert not list(temporary.rglob("*.npy"))
        assert store.missing(uri, FEATURE) == [] and store.missing(uri, FEATURE, verify=True) == [1]
        fill(uri)
        np.testing.assert_array_equal(Reader(uri, FEATURE).rows(range(100)), VALUES)


@POSIX
def test_copies_are_for_this_user_alone(temporary: Path, elsewhere: str) -> None:
    before = os.umask(0)
    try:
        folder = copied(elsewhere)
    finally:
        os.umask(before)
    assert folder == own(temporary) / FEATURE.folder and folder.parent.stat().st_mode & 0o777 == 0o700
    assert all(lock.stat().st_mode & 0o777 == 0o600 for lock in folder.parent.glob("*.lock"))


@POSIX
def test_a_planted_link_is_not_followed(temporary: Path, elsewhere: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    own(temporary).symlink_to(victim)
    assert_refused(elsewhere, own(temporary), "a link")
    own(temporary).unlink()
    own(temporary).symlink_to(tmp_path / "nothing")
    assert_refused(elsewhere, own(temporary), "a link")
    assert not list(victim.iterdir()) and not (tmp_path / "nothing").exists()


@POSIX
def test_a_planted_lock_does_not_truncate_what_it_links_to(
    temporary: Path, elsewhere: str, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    own(temporary).mkdir(mode=0o700)
    (own(temporary) / f"{FEATURE.folder}.lock").symlink_to(victim)
    assert_refused(elsewhere, own(temporary) / f"{FEATURE.folder}.lock", "cannot be locked")
    assert victim.read_text() == "precious"


@POSIX
@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
def test_a_folder_open_to_others_is_refused_with_what_lies_in_it(
    temporary: Path, elsewhere: str, mode: int
) -> None:
    own(temporary).mkdir()
    own(temporary).chmod(mode)
    assert_refused(elsewhere, own(temporary), f"mode {mode:04o}")


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can give a folder to another user")
def test_anothers_folder_is_refused(temporary: Path, elsewhere: str) -> None:
    own(temporary).mkdir(mode=0o700)
    os.chown(own(temporary), 12345, 12345)
    assert_refused(elsewhere, own(temporary), "belongs to user 12345")


def test_a_file_in_its_place_is_refused(temporary: Path, elsewhere: str) -> None:
    own(temporary).write_text("")
    assert_refused(elsewhere, own(temporary), "a file")


def assert_refused(uri: str, path: Path, *words: str) -> None:
    with pytest.raises(OutputError) as error:
        copied(uri)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and all(word in message for word in (*words, "remove it", "--resume"))
    assert "\n" not in message


def test_planted_shards_with_the_right_names_are_not_read(temporary: Path, elsewhere: str) -> None:
    folder = own(temporary) / FEATURE.folder
    folder.mkdir(mode=0o700, parents=True)
    own(temporary).chmod(0o700)
    planted = Path(elsewhere, FEATURE.folder)
    for file in planted.iterdir():
        (folder / file.name).write_bytes(
            file.read_bytes()[:-4] + b"evil" if file.suffix == ".npy" else file.read_bytes()
        )
    files = [np.load(file) for file in sorted(copied(elsewhere).glob("*.npy"))]
    np.testing.assert_array_equal(np.concatenate(files), VALUES)


def test_several_at_a_time_share_one_copy(temporary: Path, elsewhere: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: copied(elsewhere), range(24)))
    names = {path.name for path in own(temporary).iterdir()}
    assert len(folders) == 1 and names - {f"{FEATURE.folder}.lock"} == {FEATURE.folder}


@pytest.mark.integration
def test_another_process_waits_for_the_one_that_copies(temporary: Path, elsewhere: str) -> None:
    code = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]; from ray_birds.features import node_copy\n"
        "print('asks', flush=True)\n"
        "print(node_copy.of(sys.argv[2], sys.argv[3]))"
    )
    words = [sys.executable, "-c", code, str(temporary), storage.join(elsewhere, FEATURE.folder), FEATURE.folder]
    copied(elsewhere)
    with node_folder.locked(own(temporary) / f"{FEATURE.folder}.lock"):
        other = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        assert other.stdout and other.stdout.readline() == "asks\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=0.5)
    assert other.communicate(timeout=60)[0].strip() == str(own(temporary) / FEATURE.folder)


@pytest.mark.integration
def test_the_store_can_be_imported_without_what_only_unix_has() -> None:
    code = (
        "import os, sys\n"
        "sys.modules |= {name: None for name in ('fcntl', 'grp', 'pwd', 'resource')}\n"
        "del os.getuid\n"
        "import ray_birds.features.store"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
