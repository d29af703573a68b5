"""cluster.yaml as Ray's own autoscaler reads it."""

from typing import Any

import pytest
import yaml
from conftest import REPOSITORY


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


def test_every_node_installs_the_lock_file(config: dict[str, Any]) -> None:
    assert "requirements.lock" in config["file_mounts"].values()
    assert any("requirements.lock" in command for command in config["setup_commands"])
    for line in (REPOSITORY / "requirements.lock").read_text().splitlines():
        name, equal, version = line.partition("==")
        assert equal and name and version and " " not in line, line
