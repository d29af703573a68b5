"""Joining a Ray that is no more; cluster.yaml as Ray's own autoscaler reads it."""

import importlib.metadata
import os
import platform
import re
import resource
import socket
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.util.annotations import RayDeprecationWarning

from ray_birds.core import cluster
from ray_birds.core.errors import RayBirdsError
from tests.conftest import REPOSITORY, draw_birds


def test_a_ray_that_is_gone_is_one_line_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port = taken.getsockname()[1]
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        with pytest.raises(RayBirdsError, match=f":{port} does not answer .*RAY_ADDRESS=local"):
            cluster.check_address()
    assert re.fullmatch(rf"Joining the Ray at [\d.]+:{port}\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("sizes", "gpus", "made", "feeders", "fed"),
    [
        (((16, 1),), 1, 99, (16, 16), (1, 1)),
        (((16, 4), (16, 4)), 8, 99, (32, 32), (8, 8)),
        (((16, 1), (0, 0)), 4, 99, (16, 64), (1, 4)),  # three are to join
        (((4, 0),), 3, 99, (4, 12), (1, 3)),  # all of them
        (((16, 1),), 1, 3, (3, 3), (1, 1)),
        (((1, 2),), 2, 99, (2, 2), (2, 2)),
    ],
)
def test_decoders_are_as_many_as_there_are_cpus_to_each_gpu(
    sizes: tuple[tuple[int, int], ...], gpus: int, made: int, feeders: tuple[int, int], fed: tuple[int, int]
) -> None:
    cpus = sum(count for count, _ in sizes)
    resources = cluster.Resources(len(sizes), cpus, gpus, 1, 0, False, sizes)
    pools = resources.feeding(made, made)
    assert (pools.feeders.min_size, pools.feeders.max_size) == feeders
    assert (pools.fed.min_size, pools.fed.max_size) == fed
    given = resources.feeding(made, made, 2)
    assert (given.feeders.min_size, given.feeders.max_size) == (2, 2)


def test_a_ray_of_this_job_alone_needs_no_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert not cluster.check_address()
    assert capsys.readouterr().out == ""


def test_the_address_of_a_ray_client_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(RayBirdsError, match=r"^RAY_ADDRESS=ray://head:10001: .*`ray job submit`"):
        cluster.check_address()


def test_another_ray_or_python_is_one_line() -> None:
    """Ray's own comparison, with a cluster of other versions."""
    from ray._private.utils import check_version_info

    ours = f"this process Ray {importlib.metadata.version('ray')} on Python {platform.python_version()}"
    there = {"ray_version": "2.9.0", "python_version": "3.8.1"}
    told = f"^the running Ray is Ray 2.9.0 on Python 3.8.1, {ours}; install"
    with pytest.raises(RayBirdsError, match=told), cluster._refusals():
        check_version_info(there, "here")
    with pytest.raises(RuntimeError, match="another"), cluster._refusals():
        raise RuntimeError("another")


def test_a_ray_that_does_not_start_is_one_line() -> None:
    told = r"^Ray does not start .* \(The current node timed out.\); free memory"
    with pytest.raises(RayBirdsError, match=told), cluster._refusals():
        raise Exception("The current node timed out.\nIt is slow.")
    with pytest.raises(KeyError), cluster._refusals():
        raise KeyError("another")


_HEAD = """
import sys
from ray.cluster_utils import Cluster
head = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
print(head.address, flush=True)
sys.stdin.readline()
head.shutdown()
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_missing_token_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real head node with tokens on, and a check that has none."""
    pipe, words = (
        subprocess.PIPE,
        [sys.executable, str(REPOSITORY / "jobs/tune.py"), "--data", "", "--weights", "none"],
    )
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.setenv("HOME", folder)
        tokens = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 32}
        head = subprocess.Popen([sys.executable, "-c", _HEAD], env=tokens, stdin=pipe, stdout=pipe, text=True)
        try:
            assert head.stdout is not None
            monkeypatch.setenv("RAY_ADDRESS", head.stdout.readline().strip())
            words[3] = str(draw_birds(tmp_path / "birds"))
            done = subprocess.run([*words, "--results", str(tmp_path / "results")], capture_output=True, text=True)
        finally:
            head.communicate("end\n")
    assert done.returncode == 2 and not (tmp_path / "results").exists()
    (line,) = done.stderr.splitlines()
    assert "does not let this process in" in line and "RAY_AUTH_MODE=token" in line


@pytest.fixture
def config() -> dict[str, Any]:
    return dict(yaml.safe_load((REPOSITORY / "cluster.yaml").read_text()))


def test_cluster_yaml_passes_rays_own_validator(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))


def test_gpu_workers_start_from_none_beside_a_cpu_head(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    head = types[config["head_node_type"]]
    workers = [node for name, node in types.items() if name != config["head_node_type"]]
    assert "GPU" not in head["resources"]
    assert all(node["resources"]["GPU"] >= 1 for node in workers)
    assert all(node["min_workers"] == 0 < node["max_workers"] for node in workers)


def test_every_node_names_its_image(config: dict[str, Any]) -> None:
    """Ray's default one is Ubuntu 18.04, which has no Python 3.11."""
    assert all(node["node_config"]["ImageId"] for node in config["available_node_types"].values())


def test_every_node_installs_the_lock_file(config: dict[str, Any]) -> None:
    assert "requirements.lock" in config["file_mounts"].values()
    assert any("requirements.lock" in command for command in config["setup_commands"])
    for line in (REPOSITORY / "requirements.lock").read_text().splitlines():
        name, equal, version = line.partition("==")
        assert equal and name and version and " " not in line, line


def test_every_node_has_the_token_and_asks_for_it(config: dict[str, Any]) -> None:
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [config["head_start_ray_commands"], config["worker_start_ray_commands"]]
    for commands in starts:
        (start,) = [command for command in commands if "ray start" in command]
        assert "RAY_AUTH_MODE=token" in start
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


def test_workers_are_spot_instances_that_are_given_back(config: dict[str, Any]) -> None:
    head, worker = (config["available_node_types"][name]["node_config"] for name in ("head", "gpu_worker"))
    assert worker["InstanceMarketOptions"] == {"MarketType": "spot"} and "InstanceMarketOptions" not in head
    assert 0 < config["idle_timeout_minutes"] <= 15 and config["provider"]["cache_stopped_nodes"] is False
    assert "Name" in head["IamInstanceProfile"] and "Name" in worker["IamInstanceProfile"]


@pytest.mark.ray
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc's malloc")
def test_workers_use_freed_memory_again(local_ray: None) -> None:
    import ray

    def page_faults() -> int:
        """Of ten blocks of 40 MB (9,766 pages), each freed before the next, after a first one."""
        size = 40_000_000
        b"x" * size
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            b"x" * size
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert page_faults() > 90_000  # here, where nothing was set
    assert ray.get(ray.remote(page_faults).remote()) < 1000


def test_what_ray_deprecates_is_heard_by_the_tests() -> None:
    """pytest's filters make it an error; the quiet of a session must not come before them."""
    cluster._quieten()
    with pytest.raises(RayDeprecationWarning, match="going away"):
        warnings.warn("this is going away", RayDeprecationWarning, stacklevel=1)
