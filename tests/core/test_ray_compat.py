"""The private names of Ray that are used are there and do what they are used for."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ray_birds.core import ray_compat


def test_the_bootstrap_address_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6399")
    assert (ray_compat.bootstrap_address() or "").endswith(":6399")


@pytest.mark.ray
def test_the_session_is_the_one_that_runs(local_ray: None) -> None:
    """A cluster with no autoscaler, whose folder holds its logs, whatever RAY_TMPDIR is."""
    import ray

    session = Path(ray_compat.session_dir())
    assert session.name == ray.get_runtime_context().get_session_name() and (session / "logs").is_dir()
    assert not ray_compat.may_autoscale()


def test_secrets_are_kept_from_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", {"AWS_SECRET_ACCESS_KEY", "OTHER"})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("OTHER", "told")
    ray_compat.keep_from_trials({"AWS_SECRET_ACCESS_KEY"})
    assert {"OTHER"} == class_cache.ENV_VARS_TO_PROPAGATE


def test_tune_knows_the_switch_that_leaves_interrupts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune import constants, tune

    monkeypatch.delenv("TUNE_DISABLE_SIGINT_HANDLER", raising=False)
    ray_compat.leave_interrupts_alone()
    assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
    source = open(tune.__file__, encoding="utf-8").read()  # noqa: PTH123, SIM115
    assert "TUNE_DISABLE_SIGINT_HANDLER" in source and constants


@pytest.mark.ray
def test_what_an_actor_had_reserved_is_freed_when_it_is_dead(local_ray: None) -> None:
    """And not what one that lives has reserved, or this process, or one that belongs to nobody."""
    import ray
    from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

    bundles = [{"memory": 1000.0}]

    class Maker:
        def make(self, lifetime: str | None = None) -> list[Any]:
            made = placement_group(bundles, lifetime=lifetime)
            made.wait(60)
            return [made]

    actor: Any = ray.remote(num_cpus=0)(Maker)
    dead, alive = actor.remote(), actor.remote()
    made = [ray.get(one.make.remote())[0] for one in (dead, alive)]
    made += [ray.get(dead.make.remote("detached"))[0], placement_group(bundles)]
    ray.kill(dead)
    deadline = time.monotonic() + 60
    while placement_group_table(made[0])["state"] != "REMOVED" and time.monotonic() < deadline:
        ray_compat.free_abandoned_room()
        time.sleep(0.1)
    states = [placement_group_table(one)["state"] for one in made]
    for one in made:
        remove_placement_group(one)
    assert states == ["REMOVED", "CREATED", "CREATED", "CREATED"]
