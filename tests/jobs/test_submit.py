"""The README's steps to a cluster, from an empty home directory: a token, `ray start`, `ray job submit`."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ray_birds.core import storage
from tests.conftest import REPOSITORY, SECRET, own_s3
from tests.jobs.test_nodes import MODEL, names, table

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

KEPT_AT_HOME = (".venv/lib.py", "results/old/trials.csv", "birds/train/A/1.jpg", "predictions/part-000000.parquet")
WHERE = """
import ray, ray_birds
ray.init()
print('here', ray_birds.__file__)
print('there', ray.get(ray.remote(lambda: __import__('ray_birds').__file__).remote()))
"""


@dataclass(frozen=True)
class Head:
    """A Ray started from the shell; `folder` holds what it writes, `checkout` is the project as a user has it."""

    address: str
    folder: Path
    checkout: Path
    environment: dict[str, str]

    def submit(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = ["ray", "job", "submit", "--address", self.address, "--working-dir", ".", "--", *words]
        return subprocess.run(command, cwd=self.checkout, env=self.environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def bucket(birds: Path) -> Iterator[str]:
    with own_s3() as uri:
        storage.copy(str(birds), f"{uri}/birds")
        yield uri


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files, and others that a user has beside them."""
    uri = tmp_path_factory.mktemp("checkout")
    for name in ("ray_birds", "jobs"):
        shutil.copytree(REPOSITORY / name, uri / name)
    shutil.copy(REPOSITORY / ".gitignore", uri)
    for name in KEPT_AT_HOME:
        (uri / name).parent.mkdir(parents=True)
        (uri / name).write_text("stays here")
    return uri


@pytest.fixture(scope="module", params=["clean", "used"])
def head(
    request: pytest.FixtureRequest, bucket: str, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Head]:
    """In a clean home, and in one where Ray has run on this machine alone before."""
    home = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if request.param == "used":
        alone = "import ray; ray.init(address='local', num_cpus=1, include_dashboard=False)"
        subprocess.run([sys.executable, "-c", alone], env=environment, check=True, capture_output=True)
    environment |= {"RAY_AUTH_MODE": "token"}
    subprocess.run(["ray", "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    # Short, for Ray's sockets. To end it at once: it would wait for its work to go elsewhere.
    environment |= {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as folder:
        options = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
        ports = dict(zip(options, free_ports(len(options)), strict=True))
        words = [f"--{option}={port}" for option, port in ports.items()]
        command = ["ray", "start", "--head", "--block", "--num-cpus=2", f"--temp-dir={folder}", *words]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            assert process.stdout is not None
            assert any(b"block forever" in line for line in process.stdout)
            yield Head(f"http://127.0.0.1:{ports['dashboard-port']}", Path(folder), checkout, environment)
        finally:
            process.terminate()
            process.communicate()


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in taken]
    for server in taken:
        server.close()
    return ports


def test_driver_and_workers_import_what_travelled(head: Head) -> None:
    """The code, not what lies beside it; each job's working directory is a folder below Ray's own."""
    done = head.submit("python", "-c", WHERE)
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(line.split() for line in done.stdout.splitlines() if line.startswith(("here", "there")))
    assert found.keys() == {"here", "there"}
    for uri in found.values():
        assert uri.startswith(str(head.folder)) and uri.endswith("ray_birds/__init__.py")
    travelled = {file.name for file in Path(found["here"]).parents[1].iterdir()}
    assert travelled == {"ray_birds", "jobs", ".gitignore"}


def test_a_sweep_and_its_predictions_as_jobs(head: Head, bucket: str) -> None:
    root = f"{bucket}/{head.folder.name}"
    uris = {"--data": f"{bucket}/birds", "--results": f"{root}/results", "--features-dir": f"{root}/store"}
    model = MODEL | {"--weights": "ray_birds/demo/backbone.weights.h5"}  # below the working directory
    given = [word for pair in (uris | model).items() for word in pair]
    done = head.submit("python", "jobs/tune.py", *given, "--name", "first", "--unfreeze", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout.splitlines()[-2] and "Traceback" not in done.stdout
    (row,) = table(f"{root}/results/first/trials.csv")
    assert row["status"] == "finished"

    best = f"{root}/results/first/best"
    scored = ["--model", best, "--input", f"{bucket}/birds/test", "--output", f"{root}/predictions"]
    done = head.submit("python", "jobs/predict.py", *scored)
    assert done.returncode == 0, done.stdout + done.stderr
    assert storage.read_json(f"{root}/predictions/_manifest.json")["rows"] == 6

    written = [path.read_bytes() for path in head.folder.rglob("*") if path.is_file()]
    written += [storage.read(f"{root}/{name}") for name in names(root)]
    assert len(written) > 50 and not any(SECRET.encode() in data for data in written)


def test_a_mistake_is_the_last_line_and_the_job_failed(head: Head, bucket: str) -> None:
    done = head.submit("python", "jobs/tune.py", "--data", f"{bucket}/nothing", "--results", f"{bucket}/failed")
    assert done.returncode == 1
    assert "failed" in (done.stdout + done.stderr) and "Traceback" not in done.stdout
    assert any(line.startswith("error: ") and f"{bucket}/nothing" in line for line in done.stdout.splitlines())
