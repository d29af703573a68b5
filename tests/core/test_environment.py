"""Faults of the machine are one line that names what to set, before any work."""

import ctypes
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ray_birds.core import environment, storage
from ray_birds.core.errors import OutputError, SettingsError
from tests.conftest import REPOSITORY, file_limit


def as_a_user() -> None:
    """Root, too, asks for permission then: what `capsh --drop=cap_dac_override,cap_dac_read_search` does."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def run(folder: Path, *words: object, **settings: str) -> str:
    """What a command says that ends with exit code 2: a single line."""
    environment = {**os.environ, "RAY_ADDRESS": "local", "PYTHONPATH": str(REPOSITORY), **settings}
    command = [sys.executable, "-m", "ray_birds.cli", *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, preexec_fn=as_a_user
    )
    lines = [line for line in done.stderr.splitlines() if "absl" not in line and "cudart" not in line]
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    return lines[0]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.TEMPORARY:
        monkeypatch.delenv(name, raising=False)
    environment.check_temporary()
    for name in environment.TEMPORARY:
        monkeypatch.setenv(name, str(tmp_path))
        environment.check_temporary()
        with (
            file_limit(100),
            pytest.raises(OutputError, match=rf"^{name}={tmp_path}: no room .* set {name} to a folder"),
        ):
            environment.check_temporary()
        monkeypatch.delenv(name)
    assert not list(tmp_path.iterdir())


def test_a_temporary_file_that_does_not_fit() -> None:
    with (
        file_limit(100),
        pytest.raises(OutputError, match=r"^TMPDIR=.*: no room for a temporary file of 1,000 bytes .* set TMPDIR"),
        storage.temporary_file(bytes(1000), ".x"),
    ):
        pass


def test_no_home_and_no_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"~nobody-of-this-name/x: .*set HOME, or give the whole path"):
        storage.resolve("~nobody-of-this-name/x")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SettingsError, match="x: the current folder is no more; change to another one"):
        storage.resolve("x")


@pytest.mark.ray
@pytest.mark.parametrize(
    "home", ["missing", *(pytest.param(home, marks=pytest.mark.slow) for home in ("closed/home", "file"))]
)
def test_a_home_that_cannot_be_used(birds: Path, tmp_path: Path, home: str) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "file").write_text("")
    said = run(tmp_path, "check", "--data", birds, HOME=str(tmp_path / home), RAY_AUTH_MODE="token")
    assert said.startswith(f"error: HOME={tmp_path / home}: Ray keeps its token there and cannot (")
    assert "set HOME to a folder that can be written" in said and not (tmp_path / "missing").exists()


@pytest.mark.ray
def test_a_tmpdir_too_long_for_sockets(birds: Path, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    said = run(tmp_path, "check", "--data", birds, TMPDIR=str(long))
    assert said.startswith(f"error: Ray cannot work in TMPDIR={long}: too long for the names of its sockets; ")
    assert "set RAY_TMPDIR to a short folder" in said


@pytest.mark.slow  # a process each
@pytest.mark.ray
def test_folders_without_permission(birds: Path, own_birds: Path, bundles: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    bundle, photo = bundles / "bundle", birds / "train" / "MOSS TERN" / "1.jpg"
    said = run(closed, "check", "--data", birds)
    assert said.startswith(f"error: --output {closed}/check: cannot be written (") and "Permission denied" in said
    said = run(closed, "tune", "--data", birds, "--weights", "none")
    assert said.startswith(f"error: --results {closed}/results: cannot be written (")
    said = run(closed, "predict", "--model", bundle, "--input", photo, "--show")
    assert said.startswith(f"error: --show {closed}: cannot be written (")
    said = run(closed, "predict", "--model", bundle, "--input", photo, "--output", "out")
    assert said.startswith(f"error: {closed}/out: cannot be written (")
    said = run(tmp_path, "check", "--data", birds, TMPDIR=str(closed))
    assert said.startswith(f"error: TMPDIR={closed}: no room for temporary files (Permission denied); set TMP")
    for inner, reason in (
        ("train/MOSS TERN", "cannot be listed: Permission denied; mend this, images may be missing"),
        ("train", "cannot be listed: Permission denied; mend this"),
        ("", "cannot be listed ("),
    ):
        (own_birds / inner).chmod(0)
        said = run(tmp_path, "tune", "--data", own_birds, "--weights", "none")
        assert said.startswith(f"error: {own_birds / inner}: {reason}")
        if inner != "train/MOSS TERN":
            assert "Permission denied" in run(tmp_path, "download", "--from", own_birds, "--output", "out")
    own_birds.chmod(0o755)


@pytest.mark.slow
@pytest.mark.ray
def test_nobody_else_reads_the_token_of_our_ray(birds: Path, tmp_path: Path) -> None:
    """The script starts a Ray by itself, as a job does; the token of an earlier one is closed."""
    code = "from ray_birds.core import cluster\nwith cluster.session(False): pass"
    token = tmp_path / ".ray/auth_token"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    for _ in range(2):
        settings = {**kept, "HOME": str(tmp_path), "RAY_ADDRESS": "local", "PYTHONPATH": str(REPOSITORY)}
        subprocess.run([sys.executable, "-c", code], check=True, env=settings)
        assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(token.read_text()) == 64
        token.chmod(0o644)


def test_a_process_counts_the_cpus_that_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.own_cpus() == len(os.sched_getaffinity(0))
    monkeypatch.setattr(sys, "platform", "win32")
    assert environment.own_cpus() == (os.cpu_count() or 1)
