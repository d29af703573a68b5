"""A finished sweep to tell trackers of, and a real MLflow server on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Results
from tests.report.test_pages import FOUR, Writer, draw_data, read


@pytest.fixture
def finished(tmp_path: Path) -> Results:
    """Four trials on drawn images; the winner's bundle has no model in it."""
    data = draw_data(tmp_path / "birds", ["a", "b"], 1, 20, ("train", "valid", "test"))
    return read(Writer(tmp_path / "results", data, FOUR).uri)


@pytest.fixture
def plan(finished: Results, tmp_path: Path) -> Plan:
    """What that sweep was to do, as far as trackers look at it."""
    data = Writer(tmp_path / "again", tmp_path / "birds", FOUR).data
    variants = {trial.name: trial.variant for trial in finished.trials}
    return Plan(
        finished.config, finished.directory, "", data, {}, {}, variants, frozenset(), threads=1, alone=1, gpus=0.0
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """`python -m mlflow` with these words, in a process group of its own, for it starts others."""

    def __init__(self, words: list[str], health: str, log: Path, **environment: str) -> None:
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        quiet["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where it looks for uvicorn
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words],
                stdout=file,
                stderr=file,
                env=os.environ | quiet | environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while not _answers(health):
            assert self._process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.3)

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _answers(uri: str) -> bool:
    try:
        urllib.request.urlopen(uri, timeout=5).close()
    except OSError:
        return False
    return True


class Server:
    """MLflow's own server with SQLite and artifacts in a folder; what it kept is there when it starts again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        words = ["server", "--workers", "1", "--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        self._program = Program(words, f"{self.uri}/health", self.folder / "server.log")

    def stop(self) -> None:
        self._program.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("mlflow")
    made = Server(tmp_path_factory.mktemp("mlflow"))
    yield made
    made.stop()
