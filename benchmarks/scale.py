"""How well many nodes are used: python benchmarks/scale.py --nodes 1 2 4 8.

The sweep's and the prediction job's own scheduling, Ray Tune and Ray Data on a cluster of virtual nodes with a CPU
each on this machine, with a stand-in for the model that sleeps as long as it was measured to take: a trial's
`--seconds`, a prediction's `--rate`. Efficiency is the ideal time over the time taken, from the call to its end,
starts of processes included; imports of TensorFlow are not. Decoding is a stand-in too, for it would measure this
machine's cores: rows and parts are real, pixels are not.
"""

import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Callable
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
from ray_birds.prediction import pipeline
from ray_birds.prediction.listing import File
from ray_birds.prediction.output import Output
from ray_birds.prediction.steps import Job
from ray_birds.sweep import trials
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.plan import Plan, variants
from ray_birds.sweep.results import Epoch
from ray_birds.sweep.trackers.tracking import Tracking

_UNIT = 512  # files, as in a large prediction


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


def main(options: Options) -> None:
    rows = []
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as name:
        os.environ["RAY_TMPDIR"] = name
        for nodes in options.nodes:
            for job in options.jobs:
                ideal, took = measure(job, nodes, options, Path(name))
                rows.append((job, nodes, f"{ideal:.1f}", f"{took:.1f}", f"{ideal / took:.3f}"))
    terminal.show(terminal.table("Scale", ("job", "nodes", "ideal (s)", "took (s)", "efficiency"), rows))


def measure(job: str, nodes: int, options: Options, folder: Path) -> tuple[float, float]:
    """Ideal and actual seconds of a job on so many nodes; a head without CPUs comes on top, for the driver."""
    head = {"num_cpus": 0, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            started.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = started.address
        with cluster.session(verbose=False) as resources:
            begin = time.monotonic()
            ideal = _sweep(options, nodes, folder) if job == "sweep" else _predict(options, resources, folder)
            return ideal, time.monotonic() - begin
    finally:
        started.shutdown()


def _sweep(options: Options, nodes: int, folder: Path) -> float:
    rates = tuple(1e-4 * (number + 1) for number in range(options.trials))
    config = TuneConfig(augment=("off",), unfreeze=(10,), learning_rate=rates)
    uri = str(folder / f"sweep{nodes}")
    plan = Plan(
        config=config,
        directory=SweepDirectory(uri),
        store="",
        data=Dataset("", (), {}),
        backbones={},
        feature_specs={},
        variants=variants(config),
        stored=frozenset(),
        threads=1,
        gpus=0.0,
    )
    with mock.patch.object(trials, "_trainable", _trial(options.seconds)):
        errors = trials._train(plan, Tracking(config), uri).errors
    assert not errors and len(plan.variants) == options.trials, errors
    return math.ceil(options.trials / nodes) * options.seconds


def _trial(seconds: float) -> Callable[[dict[str, Any], Plan], None]:
    def trainable(config: dict[str, Any], plan: Plan) -> None:
        epochs = plan.variants[plan.name(config)].epochs
        for number in range(1, epochs + 1):
            time.sleep(seconds / epochs)
            tune.report(
                dataclasses.asdict(Epoch(number, "head", 1e-3, 1.0, 0.5, 1.0, 0.5, seconds / epochs, 1.0, 32, 0.5))
                | {"gpu": False, "resumed": False, "failed": "", "ended": number == epochs}
                | {"kept_epoch": number, "kept_accuracy": 0.5}
            )

    return trainable


def _predict(options: Options, resources: cluster.Resources, folder: Path) -> float:
    model = Bundle("", ("ONE", "TWO"), Variant(), "none", seen.NONE)
    output = Output(str(folder / f"predictions{resources.nodes}"))
    files = output.start({}, (File("birds", f"{number:08}.jpg") for number in range(options.files)), _UNIT)
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
