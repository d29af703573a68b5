"""The Ray cluster: connecting to it quietly, what it has, what its workers are told."""

import logging
import math
import os
import re
import secrets
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

import ray
import ray.data
from ray.exceptions import NodeDiedError, TaskUnschedulableError, WorkerCrashedError
from ray.util.annotations import RayDeprecationWarning
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_birds.core import environment, memory, ray_compat, storage, terminal
from ray_birds.core.errors import OutOfMemoryError, OutputError, RayBirdsError, SettingsError, first_line

# What every worker needs before TensorFlow is imported; an existing cluster does not see the driver's own
# environment. No secrets here: the dashboard shows it.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "NONE"}

# Have glibc re-use what a worker frees, where it would give large blocks back to the kernel: TensorFlow asks for
# new memory for every layer's output, and each page handed out anew is cleared and faulted in first. That was two
# fifths of the time of EfficientNetB0 on 2 cores (benchmarks/README.md). See mallopt(3).
MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}
# Of a model's process on a GPU, and of those that decode for it or write what it gives: these count for little, so
# that they run beside it, and are held back by what they may put into the object store.
FED_CPUS, SIDE_CPUS = 0.5, 0.1
_OFTEN = 1.0  # seconds between looks at what is reserved
_PATIENCE = 10.0  # seconds for a running Ray to answer
_GONE = (NodeDiedError, TaskUnschedulableError, WorkerCrashedError)  # what is said of a node that has just died


@dataclass(frozen=True)
class Resources:
    nodes: int
    cpus: int
    gpus: int
    node_cpus: int  # of the smallest node that has any
    node_memory: int  # bytes that Ray gives to processes there
    own: bool  # started by this job, on this machine
    sizes: tuple[tuple[int, int], ...] = ()  # CPUs and GPUs of each node
    logs: str = ""  # Ray's own, a folder of each node

    @property
    def gpus_there(self) -> int:
        """`gpus` may count those that an autoscaler is yet to bring."""
        return min(self.gpus, sum(gpus for _, gpus in self.sizes))

    def feeding(self, made: int, taken: int, feeders: int | None = None, calls: int = 1) -> "Pools":
        """Processes that hold a GPU each, and those that decode for them: one for every CPU there is to a GPU.

        Both begin with what is there, and grow as an autoscaler's nodes join, as far as there are units to be
        `made` and `taken`. `feeders` is how many shall decode, where that was given;
        `calls` of a process that holds a GPU may run at a time.
        """
        now, most = max(1, self.gpus_there), max(1, self.gpus)
        cpus = max(1, self.cpus // now)
        return Pools(pool(feeders or now * cpus, feeders or most * cpus, made), pool(now, most, taken, calls))

    def have(self, cpus: float, gpus: float) -> bool:
        """Whether a node has as much."""
        return any(cpus <= most_cpus and gpus <= most_gpus for most_cpus, most_gpus in self.sizes)

    def count(self, cpus: float, gpus: float) -> int:
        """How many times the nodes have as much."""
        return sum(
            int(min(most_cpus // cpus, most_gpus // gpus if gpus else math.inf))
            for most_cpus, most_gpus in self.sizes
        )

    def describe(self) -> str:
        """The different nodes, such as "2 CPUs and 1 GPU"."""
        kinds = sorted(set(self.sizes), reverse=True)
        return " or ".join(f"{cpus} CPUs and {gpus} GPUs" for cpus, gpus in kinds)


class Pools(NamedTuple):
    """Who decodes and who holds the GPUs."""

    feeders: ray.data.ActorPoolStrategy
    fed: ray.data.ActorPoolStrategy


def pool(now: int, most: int, units: int, calls: int = 1) -> ray.data.ActorPoolStrategy:
    """`now` processes, and up to `most` as nodes join; no more than there are `units` to work on.

    Each has as many `calls` of its function in threads of its own.
    """
    return ray.data.ActorPoolStrategy(
        min_size=min(now, units),
        max_size=min(max(now, most), units),
        max_concurrent_calls_per_actor=calls,
        enable_true_multi_threading=calls > 1,
    )


@contextmanager
def session(verbose: bool) -> Iterator[Resources]:
    """Join the running cluster, or start one on this machine, and say what it has; what it started, it ends."""
    joined = ray.is_initialized()
    own = False if joined else _connect(verbose)
    try:
        yield _resources(own)
    finally:
        if not joined:
            ray.shutdown()


@contextmanager
def abandoned_room_freed() -> Iterator[None]:
    """Meanwhile others get the CPUs and GPUs that an actor of this job had reserved for others when it died."""
    over = threading.Event()

    def free() -> None:
        while not over.wait(_OFTEN):
            with suppress(Exception):  # a Ray that does not answer is for others to tell of
                ray_compat.free_abandoned_room()

    thread = threading.Thread(target=free, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def is_running() -> bool:
    """Whether a Ray would be joined, none started."""
    return (
        ray.is_initialized() or "://" in os.environ.get("RAY_ADDRESS", "") or bool(ray_compat.bootstrap_address())
    )


def check_address() -> bool:
    """Say which running Ray will be joined; false where there is none.

    Raises RayBirdsError where it is mute, and for the address of a Ray Client.

    `ray.init` would wait for minutes, without a word, for a Ray that was killed: its address stays in a file.
    """
    if "://" in (given := os.environ.get("RAY_ADDRESS", "")):
        raise RayBirdsError(
            f"RAY_ADDRESS={given}: a Ray Client cannot run these jobs; use `ray job submit`, or run on a node of "
            "the cluster with its own address, such as RAY_ADDRESS=127.0.0.1:6379"
        )
    address = ray_compat.bootstrap_address()
    if address is None:
        return False
    terminal.say(f"Joining the Ray at {address}")
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except OSError as error:
        raise RayBirdsError(
            f"the Ray at {address} does not answer ({error}); start it again, or set RAY_ADDRESS=local to run "
            "on this machine alone"
        ) from error
    return True


def _connect(verbose: bool) -> bool:
    """Join or start; returns whether it was started."""
    environment.check_temporary()
    joined = check_address()
    if not joined:
        _keep_token_private()
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # Tune's newer output prints a table even when silenced
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # sweep/callbacks.py writes what is worth keeping
    # Seconds that a trial's process may go on when the sweep is over, as in a long epoch; Tune's own are 600.
    os.environ.setdefault("TUNE_FORCE_TRIAL_CLEANUP_S", "30")
    os.environ.setdefault("RAY_task_oom_retries", "3")  # of a task that was killed for memory; endless by itself
    if not verbose:
        os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
        ray_compat.tell_errors(_tell_error)
    with terminal.quiet(verbose), _own_signals(), _refusals():
        ray.init(
            runtime_env={"env_vars": MEMORY if verbose else MEMORY | QUIET},
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            include_dashboard=False,
        )
    # An error of ours comes back as itself, not as text inside one of Ray Data's.
    ray.data.DataContext.get_current().raise_original_map_exception = True
    # An actor that is killed, or short of memory, while TensorFlow loads.
    ray.data.DataContext.get_current().max_consecutive_actor_init_deaths = 3
    if not verbose:
        _quieten()
    return not joined


def _keep_token_private() -> None:
    try:
        ray_compat.keep_token_private()
    except (OSError, RuntimeError) as error:
        raise SettingsError(
            f"HOME={os.environ.get('HOME', '')}: Ray keeps its token there and cannot ({first_line(error)}); set "
            "HOME to a folder that can be written, or RAY_AUTH_MODE=disabled on a machine of your own"
        ) from error


def _tell_error(text: str) -> None:
    """A line on what went wrong in the cluster."""
    lines = text.strip().splitlines()
    terminal.say(
        f"note: a task is retried: {short}" if (short := memory.shortage(text)) else f"note: {lines[0][:200]}"
    )


@contextmanager
def _refusals() -> Iterator[None]:
    """One line for a running Ray that answers but does not let this process join."""
    try:
        yield
    except ConnectionError as error:
        raise RayBirdsError(
            f"{first_line(error)}, which answers but does not let this process in; if it asks for a token, set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the head node's ~/.ray/auth_token"
        ) from error
    except OSError as error:
        name = next((name for name in environment.TEMPORARY if name in os.environ), "")
        folder = f"{name}={os.environ[name]}" if name else "/tmp"
        reason = "too long for the names of its sockets" if "AF_UNIX" in str(error) else first_line(error)
        raise RayBirdsError(
            f"Ray cannot work in {folder}: {reason}; set RAY_TMPDIR to a short folder that can be written, such "
            "as /tmp"
        ) from error
    except RuntimeError as error:
        if "Timed out" in str(error):
            raise _no_start(error) from error
        versions = re.findall(r"^ +(Ray|Python): (\S+)$", str(error), re.MULTILINE)
        if len(versions) != 4:
            raise
        theirs, ours = (
            " on ".join(f"{name} {value}" for name, value in part) for part in (versions[:2], versions[2:])
        )
        raise RayBirdsError(
            f"the running Ray is {theirs}, this process {ours}; install the cluster's versions here, or set "
            "RAY_ADDRESS=local to run on this machine alone"
        ) from error
    except Exception as error:
        if type(error) is not Exception:  # Ray's own for a start that takes too long is no more than that
            raise
        raise _no_start(error) from error


def _no_start(error: Exception) -> RayBirdsError:
    return RayBirdsError(
        f"Ray does not start on this machine ({first_line(error)}); free memory, CPUs and room in TMPDIR, then "
        "run it again"
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray would replace by one that prints its stack."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if main:
        signal.signal(signal.SIGTERM, handler)


def _resources(own: bool) -> Resources:
    """Raises RayBirdsError for a cluster that has no CPU and, so far as is known, never gets one."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sizes = tuple((int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes)
    with_cpus = [node for node in nodes if node.get("CPU", 0) >= 1]
    smallest: dict[str, float] = min(with_cpus, key=lambda node: node["CPU"], default={})
    found = Resources(
        len(nodes),
        sum(cpus for cpus, _ in sizes),
        sum(gpus for _, gpus in sizes),
        int(smallest.get("CPU", 1)),
        int(smallest.get("memory", 0)),
        own,
        sizes,
        f"{ray_compat.session_dir()}/logs",
    )
    terminal.say(f"Ray: {found.nodes} node(s), {found.cpus} CPUs, {found.gpus} GPUs")
    if not found.cpus and not may_grow(found):
        raise RayBirdsError(
            "this Ray has no CPUs and no autoscaler; start a node that has some (ray start --num-cpus)"
        )
    if not found.cpus:
        terminal.say("No node has a CPU yet: all work waits for nodes that do, as an autoscaler starts them")
    return found


def may_grow(resources: Resources) -> bool:
    """Whether nodes may join by themselves, for all that is known."""
    return not resources.own and ray_compat.may_autoscale()


def _quieten() -> None:
    """Keep Ray Data's and Tune's reports off the terminal; their log files stay as they are."""
    # Ray 2.60 has no other way yet to name and restart a pool of actors. All else that is deprecated is heard.
    warnings.filterwarnings("ignore", "`ray_remote_args(_fn)?` is deprecated", RayDeprecationWarning)
    warnings.filterwarnings("ignore", module=r"ray\.data")
    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray.data", "ray.tune", "ray.train"):
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setLevel(logging.CRITICAL)
        if not logger.handlers:
            logger.setLevel(logging.CRITICAL)


def check_reachable(written: dict[str, str], read: dict[str, str]) -> None:
    """See that every node reaches these URIs, given by option; on a single node there is nothing to see.

    `written` are folders, in which a file is made for this and removed again; `read` are files. Raises
    SettingsError where a node does not find what the driver finds.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1:
        return
    tokens = {option: storage.join(uri, f".seen-{secrets.token_hex(8)}") for option, uri in written.items()}
    try:
        for token in tokens.values():
            storage.write(token, b"")
        wanted = [(option, uri) for option, uri in (tokens | read).items() if storage.exists(uri)]
        look = ray.remote(num_cpus=0)(_look)
        on = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        looks = [look.options(scheduling_strategy=strategy).remote(wanted) for strategy in on]
        for node, found in zip(nodes, looks, strict=True):
            try:
                option, reason = ray.get(found)
            except _GONE:  # Ray takes some seconds to notice, and the work will be done elsewhere
                continue
            if option:
                uri = (written | read)[option]
                raise SettingsError(
                    f"{option} {uri}: not found by node {node['NodeManagerAddress']}{reason}; with several "
                    "nodes it must be in a folder that all of them share, or at an s3://, gs:// or abfs:// address"
                )
    finally:
        for token in tokens.values():
            storage.remove_file(token)


def _look(uris: list[tuple[str, str]]) -> tuple[str, str]:
    """The option whose URI this node does not find, and why; two empty texts where it finds all."""
    for option, uri in uris:
        try:
            if not storage.exists(uri):
                return option, ""
        except (OSError, RayBirdsError) as error:
            return option, f" ({first_line(error)})"
    return "", ""


def unseen(uri: str) -> OutputError:
    """What to raise on a node that joined after the URIs were looked at, and lacks one."""
    return OutputError(f"{uri}: not seen by node {ray.util.get_node_ip_address()}; all nodes must share it")


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise a RayBirdsError from a worker as itself, out of what Ray wraps around it, or for want of memory."""
    try:
        yield
    except Exception as error:
        short = memory.shortage(str(error))
        ours = OutOfMemoryError(f"{short}; {memory.ADVICE}") if short else _ours(error)
        if ours is None:
            raise
        raise ours from None


def _ours(error: BaseException | None) -> RayBirdsError | None:
    """The RayBirdsError at the bottom of an error, without the hints that Ray Data adds to its one line."""
    while error is not None:
        inner = getattr(error, "cause", None)
        if isinstance(error, RayBirdsError) and inner is None:
            return type(error)(first_line(error, 2000))
        error = inner or error.__cause__
    return None
