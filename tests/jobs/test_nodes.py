"""Several nodes: a cluster of three on this machine, everything it reads and writes in an S3 server beside it."""

import csv
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from ray_birds.core import cluster, storage
from ray_birds.core.errors import RayBirdsError, SettingsError
from tests.conftest import REPOSITORY, SECRET, own_s3

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

MODEL = {
    "--backbone": "MobileNetV2-0.35",
    "--weights": str(REPOSITORY / "ray_birds/demo/backbone.weights.h5"),
    "--image-size": "64",
    "--head": "adam",
    "--head-epochs": "2",
    "--fine-tune-epochs": "3",
    "--augment": "off",
}
VARIANTS = ("--unfreeze", "0", "10")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with own_s3() as uri:
        yield uri


@dataclass(frozen=True)
class Nodes:
    """A cluster that jobs join which are started while it lives; `folder` holds what Ray writes."""

    folder: Path
    cluster: Any

    def lose(self, node: Any) -> None:
        """As when a machine vanishes; another one joins."""
        self.cluster.remove_node(node, allow_graceful=False)
        self.cluster.add_node(num_gpus=1)


@pytest.fixture(scope="module")
def nodes(bucket: str) -> Iterator[Nodes]:
    """Three nodes with a CPU each, and two with what Ray takes for a GPU."""
    from ray.cluster_utils import Cluster

    # A folder of its own, so that no other Ray of this machine hears of the cluster; short, for its sockets.
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False})
        try:
            for _ in range(2):
                cluster.add_node(num_gpus=1)
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield Nodes(Path(folder), cluster)
        finally:
            cluster.shutdown()


def start(name: str, options: dict[str, str], *words: str, cwd: Path) -> "subprocess.Popen[str]":
    given = [word for pair in options.items() for word in pair]
    command = [sys.executable, str(REPOSITORY / f"jobs/{name}.py"), *given, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)


def job(name: str, options: dict[str, str], *words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    process = start(name, options, *words, cwd=cwd)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def table(uri: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(storage.read(uri).decode("utf-8-sig"))))


def names(uri: str) -> set[str]:
    return {storage.relative(info, uri) for info in storage.find(uri)}


@pytest.fixture(scope="module")
def uris(birds: Path, bucket: str) -> dict[str, str]:
    storage.copy(str(birds), f"{bucket}/birds")
    return {"--data": f"{bucket}/birds", "--results": f"{bucket}/results", "--features-dir": f"{bucket}/store"}


@pytest.fixture(scope="module")
def sweep(uris: dict[str, str], nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Output of a sweep called `first`, on half a GPU a trial."""
    here = tmp_path_factory.mktemp("here")
    done = job("tune", uris | MODEL, "--name", "first", "--gpus-per-trial", "0.5", *VARIANTS, cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(here.iterdir())  # nothing is left where the job was started
    return done.stdout


def test_a_sweep_and_its_predictions_from_and_to_s3(bucket: str, nodes: Nodes, sweep: str, tmp_path: Path) -> None:
    assert (
        "Ray: 3 node(s), 3 CPUs, 2 GPUs" in sweep
        and "each with 1 CPU(s) (TensorFlow threads) and 0.5 GPU" in sweep
    )
    assert "TensorFlow sees none there and trains on the CPU" in sweep

    results = f"{bucket}/results/first"
    rows = {row["trial"]: row for row in table(f"{results}/trials.csv")}
    assert list(rows) == ["plain-unfreeze0-lr0.001", "plain-unfreeze10-lr0.001"]
    for row in rows.values():
        assert (row["status"], row["gpus"], row["failures"]) == ("finished", "0.5", "0")
    found = names(results)
    assert {"report.html", "config.json", "run.json", "best/model.keras", "best/README.md"} <= found
    for name in rows:
        assert {f"trials/{name}/history.csv", f"trials/{name}/valid_predictions.parquet"} <= found
        assert any(uri.startswith(f"tensorboard/{name}/events") for uri in found)
    assert any(uri.endswith("manifest.json") for uri in names(f"{bucket}/store"))
    assert not [uri for uri in names(bucket) if ".seen-" in uri]

    scored = {"--model": f"{results}/best", "--input": f"{bucket}/birds/test", "--output": f"{bucket}/predictions"}
    done = job("predict", scored, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = storage.read_json(f"{bucket}/predictions/_manifest.json")
    assert manifest["rows"] == 6 and manifest["failed"] == 0
    accuracy = storage.read_json(f"{bucket}/predictions/_evaluation/metrics.json")["accuracy"]["value"]
    best = storage.read_json(f"{results}/run.json")["winner"]
    assert accuracy == pytest.approx(float(rows[best]["test_accuracy"]))

    kept = {uri: storage.read(f"{bucket}/{uri}") for uri in names(bucket)}
    kept |= {str(path): path.read_bytes() for path in nodes.folder.rglob("*.*") if path.is_file()}
    assert len(kept) > 50 and not [uri for uri, data in kept.items() if SECRET.encode() in data]


@pytest.mark.parametrize("option", ["--results", "--data"])
def test_a_place_that_other_nodes_do_not_see_is_refused(
    birds: Path, nodes: Nodes, tmp_path: Path, option: str
) -> None:
    """Through /proc each process sees its own folder at the same path, as each machine does at /home."""
    own = tmp_path / "own"
    uris = {"--data": str(birds), "--results": str(tmp_path / "results")} | MODEL
    if option == "--data":
        own.symlink_to(birds)
    done = job("tune", uris | {option: "/proc/self/cwd/own"}, "--name", "x", "--unfreeze", "0", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and f"error: {option} /proc/self/cwd/own" in done.stderr
    assert "not found by node" in done.stderr and "s3://" in done.stderr
    assert not (tmp_path / "results/x").exists() and not list(tmp_path.rglob(".seen-*"))


def test_a_sweep_outlives_the_loss_of_a_node(
    uris: dict[str, str], bucket: str, nodes: Nodes, sweep: str, tmp_path: Path
) -> None:
    """The one that trains vanishes after the first epoch; fine-tuning is still to be compiled then."""
    driver = start("tune", uris | MODEL, "--name", "second", "--unfreeze", "10", cwd=tmp_path)
    history = f"{bucket}/results/second/trials/plain-unfreeze10-lr0.001/history.csv"
    while not storage.exists(history):
        assert driver.poll() is None
        time.sleep(0.05)
    (lost,) = [node for node in nodes.cluster.worker_nodes if trains(node)]
    nodes.lose(lost)
    out, err = driver.communicate()
    assert driver.returncode == 0, out + err

    first, second = (
        {row["trial"]: row for row in table(f"{bucket}/results/{name}/trials.csv")} for name in ("first", "second")
    )
    name = "plain-unfreeze10-lr0.001"
    assert (second[name]["status"], second[name]["epochs"]) == ("finished", "5")
    assert (second[name]["gpus"], second[name]["failures"]) == ("1", "1")
    for score in ("valid_accuracy", "valid_loss"):
        assert float(second[name][score]) == pytest.approx(float(first[name][score]), rel=1e-6)
    (failure,) = table(f"{bucket}/results/second/failures.csv")
    assert failure["trial"] == name and f"{name}: failed after epoch" in out
    assert failure["epoch"] in "012"  # 0 where the node was lost before the driver had heard of the first


def test_a_job_begins_while_a_node_is_dead_and_ray_does_not_know(
    bucket: str, nodes: Nodes, sweep: str, tmp_path: Path
) -> None:
    lost = next(iter(nodes.cluster.worker_nodes))
    lost.all_processes["raylet"][0].process.kill()
    output = f"{bucket}/meanwhile"
    scored = {"--model": f"{bucket}/results/first/best", "--input": f"{bucket}/birds/test", "--output": output}
    done = job("predict", scored, cwd=tmp_path)
    nodes.lose(lost)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ray: 3 node(s)" in done.stdout  # it was taken for alive
    assert storage.read_json(f"{output}/_manifest.json")["rows"] == 6


def test_more_gpus_than_there_are_wait_for_nodes(bucket: str, nodes: Nodes, sweep: str, tmp_path: Path) -> None:
    output = f"{bucket}/on-gpus"
    scored = {"--model": f"{bucket}/results/first/best", "--input": f"{bucket}/birds", "--output": output}
    done = job("predict", scored | {"--gpus": "3", "--batch-size": "1"}, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 3 GPUs are there" in done.stdout
    assert storage.read_json(f"{output}/_manifest.json")["rows"] == 24


def trains(node: Any) -> bool:
    """Whether one of a node's processes is at a trial; Ray names them after what they run."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return any("ImplicitFunc" in " ".join(child.cmdline()) for child in raylet.children(recursive=True))


def test_what_a_cluster_without_an_autoscaler_lacks_is_refused() -> None:
    """A head node without CPUs alone; then with another node, which is not as large as a trial asks for."""
    from ray.cluster_utils import Cluster

    from ray_birds.sweep import prepare

    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            patch.setenv("RAY_ADDRESS", nodes.address)
            with pytest.raises(RayBirdsError, match="no CPUs and no autoscaler"), cluster.session(verbose=False):
                pass
            nodes.add_node(num_cpus=1, num_gpus=1)
            with cluster.session(verbose=False) as resources:
                prepare._check_fits(1, 0.5, resources)
                for cpus, gpus in ((2, 0.0), (1, 2.0)):
                    told = f"--cpus-per-trial {cpus} and --gpus-per-trial {gpus:g}: .*1 CPUs and 1 GPUs or 0 CPUs"
                    with pytest.raises(SettingsError, match=told):
                        prepare._check_fits(cpus, gpus, resources)
        finally:
            nodes.shutdown()
