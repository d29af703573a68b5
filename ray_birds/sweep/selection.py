"""The winner of a sweep: chosen on valid or out of folds alone, made a bundle, scored on test once."""

import dataclasses
from collections.abc import Iterable

import ray

from ray_birds.core import cluster, terminal
from ray_birds.evaluation import significance
from ray_birds.sweep import bundling, comparison, cross_validation, refit
from ray_birds.sweep.outcome import Trial
from ray_birds.sweep.plan import Plan


def choose(trials: Iterable[Trial]) -> str | None:
    """The trial to export, see `significance.choose`; None where none finished. The test split has no say."""
    finished = comparison.runs(trials)
    return significance.choose(finished).name if finished else None


def export_winner(plan: Plan, name: str, trials: tuple[Trial, ...]) -> None:
    """Make the winner's bundle and score it on valid and test; `trials` are all. With folds it is trained again
    before, and scored on test alone."""
    splits = dict(plan.data.splits)
    train = splits.pop("train")
    held_out = _train_again(plan, name, trials) if plan.folds else None
    if held_out:
        splits = {"valid": held_out.images} | splits
        train = train.select(held_out.known)
    else:
        terminal.say(f"Winner on valid: {name}; making its bundle and scoring {' and '.join(splits)}")
    data = dataclasses.replace(plan.data, splits=splits)
    source = bundling.Source(plan.directory, plan.config, data, train, plan.alone, held_out)
    make = ray.remote(num_cpus=plan.alone, num_gpus=plan.gpus)(bundling.make)
    with cluster.user_errors():
        found = ray.get(make.remote(source, name, trials, plan.directory.best))
    if note := bundling.note(found):
        terminal.say(f"note: {note}")


def _train_again(plan: Plan, name: str, trials: tuple[Trial, ...]) -> bundling.HeldOutOfFolds:
    """Train the winner on all images that its folds held out by turns; returns what they said of them."""
    assert plan.folds
    kept = next(trial.kept for trial in trials if trial.name == name)
    assert kept
    train = plan.data.splits["train"]
    how = f"{kept.epoch} epoch(s) on all {len(train):,} images"
    terminal.say(f"Winner over {plan.folds.count} folds: {name}; training it again, {how}, and making its bundle")
    again = ray.remote(num_cpus=plan.alone, num_gpus=plan.gpus)(refit.train)
    with cluster.user_errors():
        ray.get(again.remote(plan, name, kept.epoch))
    return bundling.HeldOutOfFolds(
        plan.folds,
        plan.folds.tested(train),
        cross_validation.out_of_fold(plan.directory, name, plan.folds, kept.epoch),
    )
