"""The winner of a sweep: chosen on valid alone, made a bundle, scored on test once."""

import dataclasses
from collections.abc import Iterable

import ray

from ray_birds.core import cluster, terminal
from ray_birds.evaluation import significance
from ray_birds.sweep import bundling, comparison
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Trial


def choose(trials: Iterable[Trial]) -> str | None:
    """The trial to export, see `significance.choose`; None where none finished. The test split has no say."""
    finished = comparison.runs(trials)
    return significance.choose(finished).name if finished else None


def export_winner(plan: Plan, name: str, trials: tuple[Trial, ...]) -> None:
    """Make the winner's bundle and score it on valid and test; `trials` are all."""
    splits = dict(plan.data.splits)
    train = splits.pop("train")
    terminal.say(f"Winner on valid: {name}; making its bundle and scoring {' and '.join(splits)}")
    source = bundling.Source(
        plan.directory, plan.config, dataclasses.replace(plan.data, splits=splits), train, plan.threads
    )
    make = ray.remote(num_cpus=plan.threads, num_gpus=plan.gpus)(bundling.make)
    with cluster.user_errors():
        found = ray.get(make.remote(source, name, trials, plan.directory.best))
    if note := bundling.note(found):
        terminal.say(f"note: {note}")
