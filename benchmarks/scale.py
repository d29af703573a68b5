"""How well many nodes are used: python benchmarks/scale.py --nodes 1 2 4 8; by one trial: --workers 1 2 4.

The sweep's and the prediction job's own scheduling, Ray Tune and Ray Data on a cluster of virtual nodes with a CPU
each on this machine, with a stand-in for the model that sleeps as long as it was measured to take: a trial's
`--seconds`, a prediction's `--rate`. Efficiency is the ideal time over the time taken, from the call to its end,
starts of processes included; imports of TensorFlow are not. Decoding is a stand-in too, for it would measure this
machine's cores: rows and parts are real, pixels are not.

The workers of one trial each have a node. A step of theirs sleeps for `--step`: a third of it forward, the rest
backward through ten layers, each of which then has its tenth of `--megabytes` of gradients. These are added up as
our compiled step does it: those of the layers above travel while the layers below are still asleep. What is
compared are images a second, of as many images a step for each worker, once they are at work. Sleeping costs no
CPU: what a worker's process used of it is the cost of adding up. Nodes have CPUs of their own for that; here
all share this machine's.
"""

import dataclasses
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import ray
import tyro
from ray import tune
from ray.cluster_utils import Cluster

from ray_birds.config import PredictConfig, TuneConfig
from ray_birds.core import cluster, terminal
from ray_birds.data import seen
from ray_birds.data.dataset import Dataset
from ray_birds.model.bundle import Bundle
from ray_birds.prediction import listing, pipeline
from ray_birds.prediction.listing import File
from ray_birds.prediction.output import Output
from ray_birds.prediction.steps import Job
from ray_birds.sweep import gang, trials
from ray_birds.sweep.checkpoint import Checkpoint
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.member import ALONE, Member
from ray_birds.sweep.plan import Plan, variants
from ray_birds.sweep.trackers.tracking import Tracking

_UNIT = 512  # files, as in a large prediction
_SHARE, _STEPS, _EPOCHS = 32, 30, 4  # images of a worker's share, steps of an epoch, of which the first warms up
_LAYERS = 10  # of the stand-in for a network
_FORWARD = 1 / 3  # of a step; the backward pass takes about twice as long


@dataclass(frozen=True)
class Options:
    nodes: tuple[int, ...] = (1, 2, 4, 8)
    jobs: tuple[str, ...] = ("sweep", "prediction")
    trials: int = 48
    seconds: float = 60.0
    """Of a trial, in ten epochs."""
    files: int = 100_000
    rate: float = 31.0
    """Images a second that a node predicts: EfficientNetB0 on 2 cores (Prediction in benchmarks/README.md)."""
    workers: tuple[int, ...] = ()
    """Of a trial; where these are given, they alone are measured."""
    step: float = 0.2
    """Seconds that a worker's share of a batch takes."""
    megabytes: int = 50
    """Of gradients, which the workers of a trial add up in each step."""


def main(options: Options) -> None:
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as name:
        os.environ["RAY_TMPDIR"] = name
        for workers in options.workers:
            (rate, cpu), ideal = _rate(workers, options, Path(name)), workers * _SHARE / options.step
            rows.append((workers, f"{ideal:.0f}", f"{rate:.0f}", f"{rate / ideal:.3f}", f"{cpu:.3f}"))
        if options.workers:
            columns = ("workers", "ideal (images/s)", "images/s", "efficiency", "CPU (s) of a worker's step")
            terminal.show(terminal.table("Workers of a trial", columns, rows))
            return
        for nodes in options.nodes:
            for job in options.jobs:
                ideal, took = measure(job, nodes, options, Path(name))
                rows.append((job, nodes, f"{ideal:.1f}", f"{took:.1f}", f"{ideal / took:.3f}"))
    terminal.show(terminal.table("Scale", ("job", "nodes", "ideal (s)", "took (s)", "efficiency"), rows))


def measure(job: str, nodes: int, options: Options, folder: Path) -> tuple[float, float]:
    """Ideal and actual seconds of a job on so many nodes."""
    with _nodes(nodes) as resources:
        begin = time.monotonic()
        ideal = _sweep(options, nodes, folder) if job == "sweep" else _predict(options, resources, folder)
        return ideal, time.monotonic() - begin


@contextmanager
def _nodes(count: int) -> Iterator[cluster.Resources]:
    """Join so many virtual nodes; a head without CPUs comes on top, for the driver."""
    head = {"num_cpus": 0, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(count):
            started.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = started.address
        with cluster.session(verbose=False) as resources:
            yield resources
    finally:
        started.shutdown()


def _rate(workers: int, options: Options, folder: Path) -> tuple[float, float]:
    """Of a trial that so many workers train: images a second, the median of its epochs; CPU seconds of a step."""
    plan = _plan(1, str(folder / f"trial{workers}"), workers)
    with _nodes(workers), mock.patch.object(trials, "_trainable", _together(options.step, options.megabytes)):
        progress = trials._train(plan, Tracking(plan.config), plan.directory.uri)
    assert not progress.errors, progress.errors
    (history,), (last,) = progress._histories.values(), progress._last.values()
    return statistics.median(epoch.images_per_second for epoch in history[1:]), float(last["cpu"])


def _together(step: float, megabytes: int) -> Callable[[dict[str, Any], Plan], None]:
    def work(last: Checkpoint, report: Callable[[dict[str, Any]], None], member: Member, batch_size: int) -> None:
        do = _staged(step, megabytes) if member.workers > 1 else lambda: time.sleep(step)
        for number in range(1, _EPOCHS + 1):
            begin, used = time.monotonic(), time.process_time()
            for _ in range(_STEPS):
                do()
                member.beat()
            rate = _STEPS * _SHARE * member.workers / (time.monotonic() - begin)
            cpu = (time.process_time() - used) / _STEPS
            report(_result(number, rate, ended=number == _EPOCHS) | {"cpu": cpu})

    def trainable(config: dict[str, Any], plan: Plan) -> None:
        if plan.workers > 1:
            gang.train(plan, plan.name(config), Checkpoint(), work)
        else:
            work(Checkpoint(), tune.report, ALONE, _SHARE)

    return trainable


def _staged(step: float, megabytes: int) -> Callable[[], None]:
    """A step whose layers sleep one after the other, and whose gradients are added up over the workers."""
    import tensorflow as tf

    from ray_birds.model import train_step

    strategy = train_step.across_workers()
    gradient = tf.ones((megabytes * 250_000 // _LAYERS,))

    def asleep(before: tf.Tensor, seconds: float) -> tf.Tensor:
        def sleep(value: np.ndarray) -> np.ndarray:
            time.sleep(seconds)
            return value

        return tf.numpy_function(sleep, [before], tf.float32)

    def own() -> Any:
        done = asleep(tf.zeros(()), step * _FORWARD)
        gradients: list[tf.Tensor] = []
        for _ in range(_LAYERS):
            done = asleep(done, step * (1 - _FORWARD) / _LAYERS)
            with tf.control_dependencies([done]):
                # In the order of the layers, as a model's variables are.
                gradients.insert(0, tf.identity(gradient))
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)

    @tf.function  # type: ignore[untyped-decorator]
    def across() -> Any:
        return strategy.run(own)

    def do() -> None:
        across()[0].numpy()

    return do


def _plan(count: int, uri: str, workers: int = 1) -> Plan:
    """Trials of ten epochs, which read nothing."""
    rates = tuple(1e-4 * (number + 1) for number in range(count))
    config = TuneConfig(augment=("off",), unfreeze=(10,), learning_rate=rates)
    return Plan(
        config=config,
        directory=SweepDirectory(uri),
        store="",
        data=Dataset("", (), {}),
        backbones={},
        feature_specs={},
        variants=variants(config),
        stored=frozenset(),
        threads=1,
        alone=1,
        gpus=0.0,
        workers=workers,
        gangs=1 if workers > 1 else None,
    )


def _sweep(options: Options, nodes: int, folder: Path) -> float:
    uri = str(folder / f"sweep{nodes}")
    plan = _plan(options.trials, uri)
    with mock.patch.object(trials, "_trainable", _trial(options.seconds)):
        errors = trials._train(plan, Tracking(plan.config), uri).errors
    assert not errors and len(plan.variants) == options.trials, errors
    return math.ceil(options.trials / nodes) * options.seconds


def _trial(seconds: float) -> Callable[[dict[str, Any], Plan], None]:
    def trainable(config: dict[str, Any], plan: Plan) -> None:
        epochs = plan.variants[plan.name(config)].epochs
        for number in range(1, epochs + 1):
            time.sleep(seconds / epochs)
            tune.report(_result(number, 1.0, ended=number == epochs))

    return trainable


def _result(number: int, rate: float, *, ended: bool) -> dict[str, Any]:
    """What a trial reports of an epoch."""
    epoch = Epoch(number, "head", 1e-3, 1.0, 0.5, 1.0, 0.5, 1.0, rate, 32, 0.5)
    about = {"gpu": False, "resumed": False, "failed": "", "ended": ended, "fine_tuned": 0}
    return dataclasses.asdict(epoch) | about | {"kept_epoch": number, "kept_accuracy": 0.5}


def _predict(options: Options, resources: cluster.Resources, folder: Path) -> float:
    model = Bundle("", ("ONE", "TWO"), Variant(), "none", seen.NONE)
    output = Output(str(folder / f"predictions{resources.nodes}"))
    listed = listing.table(File("birds", f"{number:08}.jpg") for number in range(options.files))
    files = output.start({}, [listed], _UNIT)
    config = PredictConfig(model="m", input=("birds",), output="o")
    job = Job(config, model, output, files, {"birds": "/birds"})
    begin, rows = time.monotonic(), 0
    with mock.patch.multiple(pipeline, Decoder=_Decoder, Scorer=_scorer(options.rate)):
        for unit in pipeline.score(job, range(files.parts), resources):
            if not rows:
                first = time.monotonic() - begin
                terminal.say(f"first part after {first:.1f} s, of which {_UNIT / options.rate:.1f} s ideal")
            rows += unit["rows"]
    assert rows == options.files
    return options.files / options.rate / resources.cpus


class _Decoder:
    def __init__(self, shared: list[Any]) -> None:
        self._files = ray.get(shared[0]).files

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        row |= self._files.read(row["unit"]).drop(["kept"]).to_pydict()
        count = len(row["path"])
        facts = {"width": [224] * count, "height": [224] * count, "error": [""] * count, "seen": [None] * count}
        return row | {"pixels": np.zeros((count, 1, 1, 3), np.uint8)} | facts


def _scorer(rate: float) -> type:
    class Scorer:
        def __init__(self, shared: list[Any], threads: int) -> None:
            pass

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            count = len(row.pop("pixels"))
            time.sleep(count / rate)
            return row | {"scores": np.tile(np.array([0.75, 0.25], np.float32), (count, 1))}

    return Scorer


if __name__ == "__main__":
    main(tyro.cli(Options))
