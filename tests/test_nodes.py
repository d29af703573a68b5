"""Several nodes: a cluster of three on this machine, everything it reads and writes in an S3 server beside it."""

import csv
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY, SECRET, own_s3

from ray_birds import files

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

MODEL = {
    "--backbone": "MobileNetV2-0.35",
    "--weights": str(REPOSITORY / "ray_birds/sources/demo_backbone.weights.h5"),
    "--image-size": "64",
    "--head-epochs": "1",
    "--fine-tune-epochs": "1",
    "--augment": "off",
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with own_s3() as place:
        yield place


@pytest.fixture(scope="module")
def session(bucket: str) -> Iterator[Path]:
    """The temporary folder of a three-node cluster with a CPU each; jobs started meanwhile join it."""
    from ray.cluster_utils import Cluster

    # A folder of its own, so that no other Ray of this machine hears of the cluster; short, for its sockets.
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False})
        try:
            for _ in range(2):
                cluster.add_node()
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield Path(folder)
        finally:
            cluster.shutdown()


def job(name: str, options: dict[str, str], *words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    given = [word for pair in options.items() for word in pair]
    command = [sys.executable, str(REPOSITORY / f"jobs/{name}.py"), *given, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=os.environ)


def table(place: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files.read(place).decode())))


def names(place: str) -> set[str]:
    return {files.relative(info, place) for info in files.find(place)}


def test_a_sweep_and_its_predictions_from_and_to_s3(
    birds: Path, bucket: str, session: Path, tmp_path: Path
) -> None:
    files.copy(str(birds), f"{bucket}/birds")
    places = {"--data": f"{bucket}/birds", "--results": f"{bucket}/results", "--features-dir": f"{bucket}/store"}
    done = job("tune", places | MODEL, "--name", "first", "--unfreeze", "0", "10", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ray: 3 node(s), 3 CPUs" in done.stdout

    results = f"{bucket}/results/first"
    rows = {row["trial"]: row for row in table(f"{results}/trials.csv")}
    assert {name: row["status"] for name, row in rows.items()} == dict.fromkeys(
        ("plain-unfreeze0-lr0.001", "plain-unfreeze10-lr0.001"), "finished"
    )
    found = names(results)
    assert {"report.html", "config.json", "run.json", "best/model.keras", "best/README.md"} <= found
    for name in rows:
        assert {f"trials/{name}/history.csv", f"trials/{name}/valid_predictions.parquet"} <= found
        assert any(place.startswith(f"tensorboard/{name}/events") for place in found)
    assert any(place.endswith("manifest.json") for place in names(f"{bucket}/store"))
    assert not [place for place in names(bucket) if ".seen-" in place]
    assert not list(tmp_path.iterdir())  # nothing is left where the job was started

    scored = {"--model": f"{results}/best", "--input": f"{bucket}/birds/test", "--output": f"{bucket}/predictions"}
    done = job("predict", scored, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = files.read_json(f"{bucket}/predictions/_manifest.json")
    assert manifest["rows"] == 6 and manifest["failed"] == 0
    accuracy = files.read_json(f"{bucket}/predictions/_evaluation/metrics.json")["accuracy"]["value"]
    best = files.read_json(f"{results}/run.json")["winner"]
    assert accuracy == pytest.approx(float(rows[best]["test_accuracy"]))

    kept = {place: files.read(f"{bucket}/{place}") for place in names(bucket)}
    kept |= {str(path): path.read_bytes() for path in session.rglob("*.*") if path.is_file()}
    assert len(kept) > 50 and not [place for place, data in kept.items() if SECRET.encode() in data]


@pytest.mark.parametrize("option", ["--results", "--data"])
def test_a_place_that_other_nodes_do_not_see_is_refused(
    birds: Path, bucket: str, session: Path, tmp_path: Path, option: str
) -> None:
    """Through /proc each process sees its own folder at the same path, as each machine does at /home."""
    own = tmp_path / "own"
    places = {"--data": str(birds), "--results": str(tmp_path / "results")} | MODEL
    if option == "--data":
        own.symlink_to(birds)
    done = job("tune", places | {option: "/proc/self/cwd/own"}, "--name", "x", "--unfreeze", "0", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and f"error: {option} /proc/self/cwd/own" in done.stderr
    assert "not found by node" in done.stderr and "s3://" in done.stderr
    assert not (tmp_path / "results/x").exists() and not list(tmp_path.rglob(".seen-*"))
