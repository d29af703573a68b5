"""The steps of a prediction in this process, where threads decode ahead of the model; no Ray."""

import os
import sys
from collections.abc import Iterator

from ray_birds.core import terminal
from ray_birds.core.prefetch import prefetch
from ray_birds.prediction.steps import Decoder, Job, Scorer, Unit, Writer


def score(job: Job, units: list[Unit]) -> Iterator[dict[str, int]]:
    """Write the part of each unit; yields {"rows", "failed"} of one after another, in order."""
    # All of the machine where the system does not say which are this process's own: macOS, Windows.
    cpus = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    threads = min(job.config.decoders or cpus, len(units))
    with terminal.quiet(job.config.verbose):
        scorer = Scorer(job, cpus)
    write = Writer(job)
    rows = (unit.row() for unit in units)
    for unit in prefetch(Decoder(job), rows, threads, window=threads + 1):
        yield write(scorer(unit))
