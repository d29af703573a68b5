"""The private names of Ray that are used are there and do what they are used for."""

import os
from pathlib import Path

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
