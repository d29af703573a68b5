"""The steps of a prediction in this process, where threads decode ahead of the model; no Ray."""

from collections.abc import Iterator, Sequence

from ray_birds.core import environment, terminal
from ray_birds.core.prefetch import prefetch
from ray_birds.prediction.steps import Decoder, Job, Scorer, Writer


def score(job: Job, units: Sequence[int]) -> Iterator[dict[str, int]]:
    """Write the part of each unit, by number; yields {"rows", "failed"} of one after another, in order."""
    cpus = environment.own_cpus()
    threads = min(job.config.decoders or cpus, len(units))
    with terminal.quiet(job.config.verbose):
        scorer = Scorer(job, cpus)
    write = Writer(job)
    rows = ({"unit": unit} for unit in units)
    for unit in prefetch(Decoder(job), rows, threads, window=threads + 1):
        yield write(scorer(unit))
