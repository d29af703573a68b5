"""The sweep: every variant as a trial, then the winner, its bundle and its test score."""

import sys
from collections.abc import Collection
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from ray_birds.config import TuneConfig
from ray_birds.core import cluster, lock, terminal
from ray_birds.core.cluster import Resources
from ray_birds.core.errors import resumable
from ray_birds.core.settings import check
from ray_birds.data import dataset, folds
from ray_birds.data.dataset import Dataset
from ray_birds.data.table import Labels
from ray_birds.model import bundle
from ray_birds.sweep import costs, cross_validation, prepare, results, resume, selection, summary, trials
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Results
from ray_birds.sweep.trackers.tracking import Tracking


def sweep(config: TuneConfig, given: Collection[str] = ()) -> Results:
    """Run a sweep from its settings to its results, the report included.

    `given` are the options that the user gave, by field: with --resume these must be those of the sweep. Raises
    a RayBirdsError, one line, where the sweep cannot be done; a trial that failed is in the results.
    """
    started = datetime.now(UTC)
    config, directory = resume.begin(config, given)
    weights = prepare.check_locally(config, directory)
    how = f"--name {config.name} --resume continues"
    with lock.held(directory.uri), resumable(how, begun=directory.exists), Tracking(config) as tracking:
        done = _sweep(config, directory, started, weights, tracking)
        summary.report(done)
        tracking.finish(done)
    return done


def _sweep(
    config: TuneConfig, directory: SweepDirectory, started: datetime, weights: str, tracking: Tracking
) -> Results:
    """Nothing is written before all that the sweep was asked for is known to be possible."""
    data = dataset.scan(config.data, config.exclude_class, config.max_bytes, Labels.of(config))
    _show_dataset(data)
    data = folds.pooled(data) if config.folds else data
    # Only the gangs of trials of several workers are reserved by actors.
    freed = cluster.abandoned_room_freed() if config.workers_per_trial > 1 else nullcontext()
    with cluster.session(config.verbose) as resources, freed:
        prepare.check_reachable(config, data)
        plan = prepare.prepare(config, directory, data, resources, weights)
        tracking.begin(plan)
        plan, errors = trials.run(plan, tracking, _seconds_left(config, started))
        with directory.writing():
            if plan.folds:
                plan, errors = cross_validation.joined(plan, errors)
            found = results.trials(directory, plan.variants, errors, plan.gpus, costs.costs(plan), plan.workers)
            best = selection.choose(found)
            if best:
                selection.export_winner(plan, best, found)
                found = results.with_test(directory, found, best)
            rows = {trial.name: trial.row() for trial in found}
            directory.write_trials([rows[name] for name in plan.variants])  # in the order of the plan, as ever
            facts = _facts(plan, best, started, resources) | {"trials": results.trial_facts(found)}
            directory.write_run(facts)
    return results.assemble(directory, config, facts, found)


def _seconds_left(config: TuneConfig, started: datetime) -> float:
    """Of --time-limit. Raises SettingsError where that is over before a trial began."""
    left = config.seconds_allowed - (datetime.now(UTC) - started).total_seconds()
    check(
        left > 0,
        f"--time-limit {config.time_limit}: over before the first trial; give more, the features are kept",
    )
    return left


def _facts(plan: Plan, best: str | None, started: datetime, resources: Resources) -> dict[str, Any]:
    """What is needed to run it again, beside the settings: command, versions, machine, what was trained."""
    finished = datetime.now(UTC)
    return {
        "command": ["python", *sys.argv],
        "started": started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": round((finished - started).total_seconds(), 1),
        "versions": bundle.versions(),
        "machine": {"nodes": resources.nodes, "cpus": resources.cpus, "gpus": resources.gpus},
        "ray_logs": resources.logs,
        "cpus_per_trial": plan.threads,
        "gpus_per_trial": plan.gpus,
        "workers_per_trial": plan.workers,
        "from_features": sorted(plan.stored),
        "winner": best,
        "backbones": {
            name: {
                "layers": about.layers,
                "parameters": about.parameters,
                "multiply_adds": about.multiply_adds,
                "trainable": {str(depth): names for depth, names in about.trainable.items()},
                "cut_points": {str(depth): [cut.name, *cut.shape] for depth, cut in about.cut_points.items()},
            }
            for name, about in plan.backbones.items()
        },
    }


def _show_dataset(data: Dataset) -> None:
    counts = ", ".join(f"{len(split):,} {name}" for name, split in data.splits.items())
    terminal.say(f"{data.root}: {len(data.classes)} classes; images: {counts}")
    for note in data.notes:
        terminal.say(f"note: {note}")
