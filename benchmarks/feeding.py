"""How long GPUs wait for images while features are computed: python benchmarks/feeding.py --nodes 8.

The pass over frozen layers on a cluster of virtual nodes with a GPU each, in both its forms: each GPU's process
decodes for itself, as it does on CPUs (and did on GPUs before), and decoders of their own feed it. What takes time
is a stand-in that sleeps: the layers as long as a GPU of today takes for an image, decoding and drawing as long as
they were measured to take. Ray's own scheduling, the rows that pass through it and the shards that are written are
real; they are small, for the bytes of a cluster's network are not this machine's.

A GPU waits when its layers do not sleep, between its first view and its last one; the starts of processes are not
in it. With --late, as many nodes join after --after seconds, as an autoscaler's do.
"""

import dataclasses
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tyro
from ray.cluster_utils import Cluster

from ray_birds.core import cluster, terminal
from ray_birds.data.dataset import Split
from ray_birds.features import compute, steps
from ray_birds.features.steps import Source, Unit
from ray_birds.features.store import Feature
from ray_birds.sweep.factors import View

_THREADS = 4  # of a process that decodes for itself


@dataclass(frozen=True)
class Options:
    nodes: int = 8
    cpus: int = 6
    """Of each node, beside its GPU."""
    images: int = 58_388
    views: int = 10
    """Augmented ones, beside the images as they are."""
    rate: float = 3000.0
    """Images a second that a GPU takes."""
    decode: float = 1.2
    """Milliseconds to read and decode an image: of those in clothing, on one core."""
    draw: float = 0.7
    """Milliseconds to draw a view at 224 pixels."""
    forms: tuple[str, ...] = ("alone", "fed")
    late: int = 0
    """Of the nodes, how many join later."""
    after: float = 30.0
    """Seconds before they do."""


def main(options: Options) -> None:
    rows = []
    for form in options.forms:
        with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as name:
            os.environ["RAY_TMPDIR"] = name
            took, waited, gpus = measure(form, options, Path(name))
            total = options.images * (1 + options.views)
            rows.append((form, options.nodes, gpus, f"{total / took:,.0f}", f"{took:.1f}", f"{waited:.1%}"))
    columns = ("decoding", "nodes", "GPUs that worked", "images/s", "seconds", "a GPU waits")
    terminal.show(terminal.table("Feeding", columns, rows))


def measure(form: str, options: Options, folder: Path) -> tuple[float, float, int]:
    """Seconds from the first view to the last, the mean share of time that a GPU waited, and how many worked."""
    head = {"num_cpus": 0, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(options.nodes - options.late):
            started.add_node(num_cpus=options.cpus, num_gpus=1)
        os.environ["RAY_ADDRESS"] = started.address
        with cluster.session(verbose=False) as resources, _joining(started, options):
            _compute(form, options, dataclasses.replace(resources, gpus=options.nodes), folder)
        return _times(folder)
    finally:
        started.shutdown()


@contextmanager
def _joining(started: Cluster, options: Options) -> Iterator[None]:
    """The nodes that are late join from a thread of their own."""

    def add() -> None:
        for _ in range(options.late):
            started.add_node(num_cpus=options.cpus, num_gpus=1)
            terminal.say("a node joins")

    timer = threading.Timer(options.after, add)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _compute(form: str, options: Options, resources: cluster.Resources, folder: Path) -> None:
    paths = tuple(f"{number:08}.jpg" for number in range(options.images))
    numbers = np.arange(options.images)
    images = {"train": Split("train", paths, np.zeros(len(paths), np.int32), numbers)}
    views = [None, *(View("light", number) for number in range(options.views))]
    features = [
        Feature("none", "train", "pooled", view, "stretch", (2,), "float16", len(paths), str(number))
        for number, view in enumerate(views)
    ]
    (folder / "store").mkdir()
    if form == "alone":  # as on CPUs, where a process for every four of these has all steps
        resources = dataclasses.replace(resources, gpus=0, cpus=_THREADS * options.nodes, node_cpus=_THREADS)
    log = folder / "log"
    log.mkdir()
    with mock.patch.multiple(
        compute,
        FeatureWorker=_alone(options, log),
        ViewDecoder=_decoder(options),
        FedFeatureWorker=_fed(options, log),
    ):
        missing = {feature: list(range(feature.shards)) for feature in features}
        source = Source("/images", "none", 1, 0, "float32")
        compute.materialise(str(folder / "store"), missing, images, source, resources)


def _alone(options: Options, log: Path) -> type:
    class FeatureWorker(compute.FeatureWorker):
        def __init__(self, work: compute.Work, threads: int) -> None:
            self._work = work
            self._decode = _Decoder(work.source, threads, options)
            self._layers: Any = _Layers(options.rate, log)

    return FeatureWorker


def _decoder(options: Options) -> type:
    class ViewDecoder(compute.ViewDecoder):
        def __init__(self, work: compute.Work) -> None:
            self._work = work
            self._decode = _Decoder(work.source, 1, options)

    return ViewDecoder


def _fed(options: Options, log: Path) -> type:
    class FedFeatureWorker(compute.FedFeatureWorker):
        def __init__(self, work: compute.Work, threads: int) -> None:
            super().__init__(work, threads)
            self._layers: Any = _Layers(options.rate, log)

    return FedFeatureWorker


class _Decoder(steps.Decoder):
    def __init__(self, source: Source, threads: int, options: Options) -> None:
        super().__init__(source, threads)
        self._options = options

    def _decode(self, unit: Unit) -> np.ndarray:
        count = len(unit.images)
        time.sleep(count * self._options.decode / 1e3 / self._threads)
        return np.zeros((count, 1, 1, 3), np.uint8)

    def _draw(self, unit: Unit, pixels: np.ndarray, view: View | None) -> np.ndarray:
        if view is not None:
            time.sleep(len(pixels) * self._options.draw / 1e3)
        return pixels


class _Layers:
    """Sleeps; notes in a file of its process from when to when."""

    compiled = 0

    def __init__(self, rate: float, log: Path) -> None:
        self._rate, self._log = rate, log / f"{os.getpid()}"

    def __call__(self, backbone: str, features: list[Feature], pixels: np.ndarray) -> dict[Feature, np.ndarray]:
        begin = time.time()
        time.sleep(len(pixels) / self._rate)
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{begin} {time.time()}\n")
        return {feature: np.zeros((len(pixels), *feature.shape), feature.dtype) for feature in features}


def _times(folder: Path) -> tuple[float, float, int]:
    """See `measure`; what is busy is taken from the notes of each process."""
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for file in (folder / "log").iterdir():
        for line in file.read_text(encoding="utf-8").splitlines():
            begin, end = map(float, line.split())
            spans[file.name].append((begin, end))
    shares = []
    for some in spans.values():
        busy, whole = sum(end - begin for begin, end in some), max(end for _, end in some) - min(some)[0]
        shares.append(1 - busy / whole)
    everything = [span for some in spans.values() for span in some]
    took = max(end for _, end in everything) - min(everything)[0]
    return took, float(np.mean(shares)), len(spans)


if __name__ == "__main__":
    main(tyro.cli(Options))
