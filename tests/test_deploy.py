"""The container, the job for KubeRay and the script for Slurm: linted, of known fields, their commands our own.

No container is built and no cluster started here. In place of KubeRay's schema stand the fields that its API
reference names (https://ray-project.github.io/kuberay/reference/api/).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tyro
import yaml

from ray_birds.cli import COMMANDS
from tests.conftest import REPOSITORY

DEPLOY = REPOSITORY / "deploy"

# Fields of ray.io/v1; "!" marks those that must be there.
RAY_JOB = {"entrypoint!", "rayClusterSpec!", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes"} | {
    "ttlSecondsAfterFinished"
}
RAY_CLUSTER = {"headGroupSpec!", "workerGroupSpecs", "rayVersion", "authOptions", "enableInTreeAutoscaling"} | {
    "autoscalerOptions"
}
HEAD = {"rayStartParams!", "template!"}
WORKERS = {"groupName!", "minReplicas!", "maxReplicas!", "rayStartParams!", "template!", "replicas"}

RECORDER = """#!/bin/sh
"{python}" -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@" >> "{log}"
case "$*" in tune*--resume*|predict*) exit 0;; esac
exit {status}
"""


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    text = (DEPLOY / "rayjob.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def cluster(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return documents["RayJob"]["spec"]["rayClusterSpec"]


def check_fields(given: dict[str, Any], known: set[str]) -> None:
    assert set(given) <= {name.rstrip("!") for name in known}
    assert {name[:-1] for name in known if name.endswith("!")} <= set(given)


def tool(name: str) -> str:
    """The path of a program that the lock file brings."""
    found = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    return found or pytest.skip(f"{name} is not installed")


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def recorded(folder: Path, command: list[str], status: int, **env: str) -> list[list[str]]:
    """The commands of ray-birds that a script gives, where a new sweep ends with `status`."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    program(folder, "ray-birds", RECORDER.format(python=sys.executable, log=log, status=status))
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, env=os.environ | {"PATH": path} | env, check=True, timeout=60)
    return [json.loads(line) for line in log.read_text().splitlines()]


def check_commands(given: list[list[str]], expected: list[str]) -> list[Any]:
    assert [words[0] for words in given] == expected
    options = (tyro.conf.FlagCreatePairsOff,)
    return [tyro.cli(COMMANDS[command].options(), args=words, config=options) for command, *words in given]


def test_a_ray_job_has_the_fields_of_kuberay(
    documents: dict[str, dict[str, Any]], cluster: dict[str, Any]
) -> None:
    job = documents["RayJob"]
    assert job["apiVersion"] == "ray.io/v1" and job["metadata"]["name"]
    check_fields(job["spec"], RAY_JOB)
    assert job["spec"]["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode")
    check_fields(cluster, RAY_CLUSTER)
    check_fields(cluster["headGroupSpec"], HEAD)
    for workers in cluster["workerGroupSpecs"]:
        check_fields(workers, WORKERS)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] and container["resources"]["limits"] == container["resources"]["requests"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_workers_with_gpus_come_and_go_and_nobody_joins_without_the_token(cluster: dict[str, Any]) -> None:
    (workers,) = cluster["workerGroupSpecs"]
    assert cluster["enableInTreeAutoscaling"] and (workers["minReplicas"], workers["maxReplicas"]) == (0, 8)
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert cluster["authOptions"] == {"mode": "token"}
    text = (DEPLOY / "rayjob.yaml").read_text(encoding="utf-8")
    assert "kind: Secret" not in text and not re.search(r"AKIA|aws_secret", text)


def test_ray_is_that_of_the_lock_file(cluster: dict[str, Any]) -> None:
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    assert f"\nray=={cluster['rayVersion']}\n" in lock


@pytest.mark.parametrize("status", [0, 2])  # a new sweep; one that is there
def test_the_commands_of_the_ray_job(
    status: int, documents: dict[str, dict[str, Any]], cluster: dict[str, Any], tmp_path: Path
) -> None:
    config = documents["ConfigMap"]
    (name,) = config["data"]
    (tmp_path / name).write_text(config["data"][name])
    head = cluster["headGroupSpec"]["template"]["spec"]
    (volume,) = (volume for volume in head["volumes"] if "configMap" in volume)
    (mount,) = (one for one in head["containers"][0]["volumeMounts"] if one["name"] == volume["name"])
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert documents["RayJob"]["spec"]["entrypoint"] == f"bash {mount['mountPath']}/{name}"
    given = recorded(tmp_path, ["bash", str(tmp_path / name)], status)
    *sweeps, scored = check_commands(given, ["tune", *["tune"] * bool(status), "predict"])
    assert [sweep.resume for sweep in sweeps] == [False, True][: len(sweeps)]
    assert {sweep.gpus_per_trial for sweep in sweeps} == {1} and scored.resume
    assert scored.gpus == cluster["workerGroupSpecs"][0]["maxReplicas"]
    assert scored.model == f"{sweeps[0].results}/{sweeps[0].name}/best" and scored.model.startswith("s3://")


@pytest.mark.parametrize("status", [0, 2])
def test_the_script_for_slurm(status: int, tmp_path: Path) -> None:
    """Run as Slurm would, where srun runs on the first node alone, and Ray is not started."""
    (tmp_path / "ray-birds-env/bin").mkdir(parents=True)
    (tmp_path / "ray-birds-env/bin/activate").touch()
    program(
        tmp_path, "scontrol", '#!/bin/sh\n[ "$*" = "show hostnames node[3-6]" ] && printf "node%s\\n" 3 4 5 6\n'
    )
    program(
        tmp_path,
        "srun",
        f'#!/bin/bash\necho "$@" > "{tmp_path}/srun"\nwhile [[ $1 == --* ]]; do shift; done\n"$@"\n',
    )
    program(
        tmp_path,
        "ray",
        '#!/bin/bash\nwhile [[ $1 != -- && $# -gt 1 ]]; do shift; done\n[[ $1 == -- ]] || exit 0\n"${@:2}"\n',
    )
    slurm = {
        "SLURM_JOB_NODELIST": "node[3-6]",
        "SLURM_JOB_NUM_NODES": "4",
        "SLURM_JOB_ID": "123456",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_GPUS_ON_NODE": "4",
        "HOME": str(tmp_path),
    }
    given = recorded(tmp_path, ["bash", str(DEPLOY / "slurm.sh")], status, **slurm)
    *sweeps, scored = check_commands(given, ["tune", *["tune"] * bool(status), "predict"])
    assert [sweep.resume for sweep in sweeps] == [False, True][: len(sweeps)] and scored.resume
    assert scored.model == f"{sweeps[0].results}/{sweeps[0].name}/best"
    assert (tmp_path / "srun").read_text().split() == [
        *("--nodes=4", "--ntasks=4", "--cpus-per-task=16", "ray", "symmetric-run", "--address", "node3:23456"),
        *("--min-nodes", "4", "--num-cpus=16", "--num-gpus=4", "--", "bash", "-c", "job"),
    ]


@pytest.mark.integration
def test_ray_knows_the_options_of_the_script_for_slurm() -> None:
    from ray.scripts.scripts import start
    from ray.scripts.symmetric_run import symmetric_run

    known = {name for command in (start, symmetric_run) for option in command.params for name in option.opts}
    text = (
        (DEPLOY / "slurm.sh").read_text(encoding="utf-8").rpartition("ray symmetric-run")[2].partition(" -- ")[0]
    )
    assert set(re.findall(r"--[\w-]+", text)) <= known


def test_the_scripts_are_linted(tmp_path: Path, documents: dict[str, dict[str, Any]]) -> None:
    (tmp_path / "job.sh").write_text(documents["ConfigMap"]["data"]["job.sh"])
    for script in (DEPLOY / "slurm.sh", tmp_path / "job.sh"):
        subprocess.run(["bash", "-n", script], check=True)
        subprocess.run([tool("shellcheck"), "--shell=bash", script], check=True)


def test_the_dockerfile_is_linted() -> None:
    subprocess.run([tool("hadolint"), REPOSITORY / "Dockerfile"], check=True)


def test_the_image_has_what_its_lines_copy_and_is_not_run_as_root() -> None:
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()}
    assert all((REPOSITORY / name).exists() for name in copied)
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == ["1000"]
    assert "--constraint requirements.lock" in text
