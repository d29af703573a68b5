"""The winner of a sweep: chosen on valid alone, made a bundle, scored on test once."""

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from ray_birds.core import cluster, terminal
from ray_birds.core.prefetch import prefetch
from ray_birds.data import decode
from ray_birds.data.dataset import Split
from ray_birds.evaluation import metrics, significance
from ray_birds.evaluation.leakage import HeldOut, copied, held_out
from ray_birds.model import bundle, card, device
from ray_birds.model.classifier import Classifier
from ray_birds.sweep import results
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Trial

_PART = 256  # images given to the winner at a time, as many decoded meanwhile


def choose(trials: Iterable[Trial]) -> str | None:
    """The trial to export, see `significance.choose`; None where none finished. The test split has no say."""
    finished = results.runs(trials)
    return significance.choose(finished).name if finished else None


def export_winner(plan: Plan, name: str) -> None:
    """Make the winner's bundle and score it on test, from the images, as anyone who uses it will."""
    terminal.say(f"Winner on valid: {name}; making its bundle" + (" and scoring test" if _test(plan) else ""))
    make = ray.remote(num_cpus=plan.threads, num_gpus=plan.gpus)(_make)
    with cluster.user_errors():
        ray.get(make.remote(plan, name))


def _test(plan: Plan) -> Split | None:
    return plan.data.splits.get("test")


def _make(plan: Plan, name: str) -> None:
    """Assemble, save, load again and score: in a worker, since it needs TensorFlow."""
    from ray_birds.model import train_step
    from ray_birds.sweep import checkpoint

    device.use_threads(plan.threads)
    last, classes = checkpoint.last(plan.directory, name), plan.data.classes
    variant = dataclasses.replace(plan.variants[name], batch_size=last.history[-1].batch_size)
    model = train_step.assemble(variant, plan.config.weights, len(classes), last.kept)

    epoch = results.kept(last.history, variant).epoch
    evaluations: dict[str, metrics.Evaluation] = {}

    def score(path: str) -> dict[str, Any]:
        classifier, test = Classifier(path), _test(plan)
        if test is not None:
            parts = [classifier(pixels) for pixels in _pixels(plan, test)]
            plan.directory.write_predictions(name, test, classes, np.concatenate(parts))
        tables = {split: plan.directory.predictions(name, split) for split in ("valid", "test")}
        evaluations.update(
            {split: _evaluate(table, classes) for split, table in tables.items() if table is not None}
        )
        held = {split: _held_out(plan, split, table) for split, table in tables.items() if table is not None}
        return {split: one.to_json() | held[split].to_json() for split, one in evaluations.items()}

    bundle.save(model, plan.directory.best, classes, variant, score)
    data = plan.directory.dataset()
    trials = results.trials(plan.directory, plan.variants, {}, plan.gpus)
    said = results.compare(trials, name, plan.config.margin, data["copies_in_train"]).sentences
    card.write(plan.directory.best, variant, plan.config.weights, data, evaluations, said, epoch)


def _held_out(plan: Plan, split: str, predictions: pa.Table) -> HeldOut:
    copies = plan.directory.dataset()["copies_in_train"][split]
    return held_out(split, predictions["correct"].to_numpy(), copied(predictions["path"].to_pylist(), copies))


def _evaluate(predictions: pa.Table, classes: tuple[str, ...]) -> metrics.Evaluation:
    index = {label: number for number, label in enumerate(classes)}
    labels, chosen = (
        np.array([index[name] for name in predictions[column].to_pylist()]) for column in ("label", "prediction")
    )
    return metrics.evaluate(labels, chosen, classes)


def _pixels(plan: Plan, split: Split) -> Iterator[np.ndarray]:
    """The split's images, (n, size, size, 3) uint8 at a time."""
    size = plan.config.image_size
    images = prefetch(lambda path: decode.load_known(plan.data.uri(path), size), split.paths, plan.threads, _PART)
    while part := list(islice(images, _PART)):
        yield np.stack(part)
