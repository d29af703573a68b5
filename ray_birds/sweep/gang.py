"""A gang: the workers that train one trial on several nodes, by Ray Train; their reports go on to Ray Tune.

The trial's own process starts them, waits, and says what went wrong. It has no part in the training and does
without TensorFlow. A worker that dies ends its gang, and Tune retries the trial as any other: with new processes,
for TensorFlow cannot join a process to others a second time.
"""

import json
import os
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import ray
import ray.train
from ray.exceptions import RayError
from ray.train.backend import Backend, BackendConfig
from ray.train.collective import broadcast_from_rank_zero
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from ray.tune.integration.ray_train import TuneReportCallback

from ray_birds.core import errors, memory
from ray_birds.core.errors import OutOfMemoryError, RayBirdsError
from ray_birds.sweep.checkpoint import Checkpoint
from ray_birds.sweep.member import Member
from ray_birds.sweep.plan import Plan

_PATIENCE = 600.0  # seconds without a step after which a worker is taken to hang


class Work(Protocol):
    """What one process does of a trial, from its last checkpoint on."""

    def __call__(
        self, last: Checkpoint, report: Callable[[dict[str, Any]], None], member: Member, batch_size: int
    ) -> None: ...


class LostPeerError(Exception):
    """What TensorFlow says where another worker no longer answers."""


class StalledError(Exception):
    """A worker has not done a step for long."""


def train(plan: Plan, name: str, last: Checkpoint, work: Work) -> None:
    """Train a trial by `plan.workers` processes, from its last checkpoint on.

    As in a trial of one process, batches that do not fit into a device's memory are halved once. Raises RayError
    where a worker dies or hangs, and what a worker raised.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # Train takes one report at each
    size = last.history[-1].batch_size if last.history else plan.variants[name].batch_size
    try:
        _fit(plan, partial(work, last, batch_size=size))
    except OutOfMemoryError:
        if size < plan.variants[name].batch_size or size < 2 * plan.workers:
            raise
        _fit(plan, partial(work, Checkpoint(), batch_size=size // 2))


def _fit(plan: Plan, work: Callable[..., None]) -> None:
    threads = plan.threads

    def member() -> None:
        _member(work, threads)

    with tempfile.TemporaryDirectory() as folder:  # Train asks for one, and keeps nothing of ours in it
        run: Any = RunConfig(  # by its annotations the trainer would have the one of Train's first version
            name="gang",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
            callbacks=[TuneReportCallback()],
        )
        trainer = DataParallelTrainer(
            member,
            backend_config=_TensorFlow(),
            scaling_config=ScalingConfig(
                num_workers=plan.workers,
                use_gpu=plan.gpus > 0,
                resources_per_worker={"CPU": plan.threads, "GPU": plan.gpus},
            ),
            run_config=run,
        )
        try:
            trainer.fit()
        except WorkerGroupError as error:
            raise reason(error.worker_failures) from None
        except TrainingFailedError as error:  # a node that is taken away, or Train's own process
            raise RayError(errors.first_line(error)) from None


def reason(failures: Mapping[int, Exception]) -> Exception:
    """What to raise for what workers raised, by rank, or Ray says of them: the cause, not what it did to others.

    RayError, as of a trial's own process, where one died or hangs: that is retried --max-failures times.
    """
    ordered = [(f"worker {rank}", failures[rank]) for rank in sorted(failures)]
    for _, error in ordered:
        if isinstance(error, RayBirdsError):
            return error
    for who, error in ordered:
        if type(error).__module__.startswith("ray."):
            short = memory.shortage(str(error))
            return RayError(f"{who}: {short}; {memory.ADVICE}" if short else f"{who} died, or its node")
    for who, error in ordered:
        if not isinstance(error, LostPeerError | StalledError):
            return RuntimeError(f"{who}: {type(error).__name__}: {errors.first_line(error)}")
    return RayError("; ".join(f"{who}: {error}" for who, error in ordered))


class _TensorFlow(BackendConfig):
    """Tells the workers of each other by TF_CONFIG. Ray's own would also have them use another Keras."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _Addresses


class _Addresses(Backend):
    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        addresses = worker_group.execute(_free_address)
        for rank in range(len(addresses)):
            about = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
            worker_group.execute_single(rank, _set, "TF_CONFIG", json.dumps(about))


def _free_address() -> str:
    """This node's address with a port that is free."""
    with socket.socket() as made:
        made.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{made.getsockname()[1]}"


def _set(name: str, value: str) -> None:
    os.environ[name] = value


def _member(work: Callable[..., None], threads: int) -> None:
    """The whole of what a worker does."""
    import tensorflow as tf

    from ray_birds.model import device, train_step

    # A thread keeps to a chain of operations, as the backward pass is one: sums need another to begin meanwhile.
    device.use_threads(threads, operations=2)
    context, watch = ray.train.get_context(), Watch(_PATIENCE)

    def once(make: Callable[[], Any]) -> Any:
        with watch.paused():
            found = ray.put(make()) if member.rank == 0 else None
            return ray.get(broadcast_from_rank_zero([found])[0])

    def report(result: dict[str, Any]) -> None:
        with watch.paused():
            ray.train.report(result)

    def begin() -> None:
        try:
            train_step.across_workers()
            work(report, member)
        except tf.errors.OpError as error:
            raise LostPeerError(f"lost the others ({errors.first_line(error)})") from None

    member = Member(context.get_world_rank(), context.get_world_size(), once, watch.beat)
    watch.run(begin)


class Watch:
    """Ends the wait for a worker that does no step in so many seconds; while `paused`, it may take any time."""

    def __init__(self, patience: float) -> None:
        self._patience, self._pauses, self._last = patience, 0, time.monotonic()

    def beat(self) -> None:
        """A step was done."""
        self._last = time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            self.beat()

    def run(self, function: Callable[[], None]) -> None:
        """Call it, in a thread of its own. Raises what it raises, and StalledError, which says where it is."""
        done: Future[None] = Future()

        def call() -> None:
            try:
                function()
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

        thread = threading.Thread(target=call, daemon=True)
        self.beat()
        thread.start()
        while not futures.wait([done], 1.0).done:
            if not self._pauses and time.monotonic() - self._last > self._patience:
                raise StalledError(f"no step for {self._patience:.0f} s, {_where(thread)}")
        done.result()


def _where(thread: threading.Thread) -> str:
    """The line of ours that a thread is in."""
    frames = traceback.extract_stack(sys._current_frames()[thread.ident or 0])
    ours = [frame for frame in frames if f"{os.sep}ray_birds{os.sep}" in frame.filename] or frames
    return f"in {ours[-1].name} ({Path(ours[-1].filename).name}, line {ours[-1].lineno})"
