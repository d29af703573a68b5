"""The names that Ray keeps to itself and that we need all the same; a test for each tells when one has moved."""

import os

from ray._private.services import canonicalize_bootstrap_address
from ray.tune.execution import class_cache


def bootstrap_address() -> str | None:
    """The address of the running Ray that `ray.init` would join: RAY_ADDRESS, or that of the last `ray start`."""
    address: str | None = canonicalize_bootstrap_address(None)  # type: ignore[arg-type]
    return address


def keep_from_trials(names: set[str]) -> None:
    """Have Tune leave these variables out of the environment that it sends to the trials."""
    class_cache.ENV_VARS_TO_PROPAGATE = class_cache.ENV_VARS_TO_PROPAGATE - names


def leave_interrupts_alone() -> None:
    """Have Tune pass on an interrupt; by itself it ends the sweep and returns as if all trials were done."""
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
