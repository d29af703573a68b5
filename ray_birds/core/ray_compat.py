"""The names that Ray keeps to itself and that we need all the same; a test for each tells when one has moved."""

import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

from ray import ActorID, PlacementGroupID
from ray._private import ray_constants, worker
from ray._private.authentication import authentication_token_setup
from ray._private.services import canonicalize_bootstrap_address
from ray._private.state import state
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]
from ray.experimental import internal_kv
from ray.runtime_context import get_runtime_context
from ray.tune.execution import class_cache
from ray.util.placement_group import PlacementGroup, remove_placement_group


def bootstrap_address() -> str | None:
    """The address of the running Ray that `ray.init` would join: RAY_ADDRESS, or that of the last `ray start`."""
    address: str | None = canonicalize_bootstrap_address(None)  # type: ignore[arg-type]
    return address


def session_dir() -> str:
    """The folder of the Ray that this process has joined, on each of its nodes."""
    node = worker._global_node
    assert node is not None, "Ray is not initialized"
    return str(node.get_session_dir_path())


def may_autoscale(patience: float = 10.0) -> bool:
    """Whether an autoscaler may add nodes to the cluster that was joined; true where that cannot be told.

    A head node has a monitor, which reports from its first seconds on. One that starts no nodes calls each node's
    type by the node's id.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        status = json.loads(internal_kv._internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS) or b"{}")
        if report := status.get("autoscaler_report"):
            types = [*(report["active_nodes"] or ()), *(report["idle_nodes"] or ())]
            return not types or not all(re.fullmatch(r"node_[0-9a-f]{56}", name) for name in types)
        time.sleep(0.5)
    return True


def keep_token_private() -> None:
    """Have nobody else read the token of the clusters that `ray.init` starts; Ray writes it for all to read.

    It is written where Ray would, and the one of an earlier job is closed; with another RAY_AUTH_MODE there
    is none. Raises OSError or RuntimeError where there is no home, or none that can be written.
    """
    token = authentication_token_setup._get_default_token_path()
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    if not AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True):
        token.parent.mkdir(exist_ok=True)
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="ascii")
        AuthenticationTokenLoader.instance().reset_cache()
    elif sys.platform != "win32" and token.exists() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)


def tell_errors(say: Callable[[str], None]) -> None:
    """Have what Ray prints on the driver of errors elsewhere, of killed tasks above all, told by `say` instead."""

    def tell(data: dict[str, Any], *args: Any, **options: Any) -> None:
        say("\n".join(data["lines"]))

    worker.print_to_stdstream = tell


def keep_from_trials(names: set[str]) -> None:
    """Have Tune leave these variables out of the environment that it sends to the trials."""
    class_cache.ENV_VARS_TO_PROPAGATE = class_cache.ENV_VARS_TO_PROPAGATE - names


def leave_interrupts_alone() -> None:
    """Have Tune pass on an interrupt; by itself it ends the sweep and returns as if all trials were done."""
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"


def free_abandoned_room() -> None:
    """Remove this job's placement groups that were made by an actor which is dead.

    Ray keeps them, and the CPUs and GPUs of theirs, until the job ends. Of Ray Train's a process of its own would
    remove them, but it asks the dashboard, which need not be there.
    """
    job, gone = bytes.fromhex(get_runtime_context().get_job_id()), PlacementGroupTableData.REMOVED
    for data in state._connect_and_get_accessor().get_placement_group_table():
        about = PlacementGroupTableData.FromString(data)
        by_actor = about.creator_actor_id not in (b"", ActorID.nil().binary()) and not about.is_detached
        if about.creator_job_id == job and by_actor and about.creator_actor_dead and about.state != gone:
            remove_placement_group(PlacementGroup(PlacementGroupID(about.placement_group_id)))
