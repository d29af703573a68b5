"""The winner of a sweep: chosen on valid alone, made a bundle, scored on test once."""

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
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

_TRIAL = "trial_valid_accuracy"  # in metrics.json, where it is not that of the model that is kept
_PART = 256  # images given to the winner at a time, as many decoded meanwhile


def choose(trials: Iterable[Trial]) -> str | None:
    """The trial to export, see `significance.choose`; None where none finished. The test split has no say."""
    finished = results.runs(trials)
    return significance.choose(finished).name if finished else None


def export_winner(plan: Plan, name: str, trials: tuple[Trial, ...]) -> None:
    """Make the winner's bundle and score it, from the images, as anyone who uses it will; `trials` are all."""
    terminal.say(f"Winner on valid: {name}; making its bundle and scoring {' and '.join(_scored(plan))}")
    make = ray.remote(num_cpus=plan.threads, num_gpus=plan.gpus)(_make)
    with cluster.user_errors():
        found = ray.get(make.remote(plan, name, trials))
    if _TRIAL in found:
        kept, trial = found["valid"]["accuracy"]["value"], found[_TRIAL]
        terminal.say(
            f"note: the model that is kept, in float32 from the images, has accuracy {kept:.4f} on valid, not the "
            f"{trial:.4f} of its trial"
        )


def _scored(plan: Plan) -> list[str]:
    """The splits that the kept model is scored on."""
    return [name for name in ("valid", "test") if name in plan.data.splits]


def _make(plan: Plan, name: str, trials: tuple[Trial, ...]) -> dict[str, Any]:
    """Assemble, save, load again and score: in a worker, since it needs TensorFlow. Returns the metrics."""
    from ray_birds.model import train_step
    from ray_birds.sweep import checkpoint

    device.use_threads(plan.threads)
    last, classes = checkpoint.last(plan.directory, name), plan.data.classes
    variant = dataclasses.replace(plan.variants[name], batch_size=last.history[-1].batch_size)
    model = train_step.assemble(variant, plan.config.weights, len(classes), last.weights)

    data = plan.directory.dataset()
    evaluations: dict[str, metrics.Evaluation] = {}

    def score(path: str) -> dict[str, Any]:
        classifier = Classifier(path)
        held: dict[str, HeldOut] = {}
        for split in _scored(plan):
            images = plan.data.splits[split]
            scores = np.concatenate([classifier(pixels) for pixels in _pixels(plan, images)])
            predictions = scores.argmax(axis=1)
            evaluations[split] = metrics.evaluate(images.labels, predictions, classes)
            seen = copied(images.paths, data["copies_in_train"][split])
            held[split] = held_out(split, predictions == images.labels, seen)
            if split == "test":
                plan.directory.write_predictions(name, images, classes, scores)
        measured: dict[str, Any] = {
            split: one.to_json() | held[split].to_json() for split, one in evaluations.items()
        }
        trial = _trial_accuracy(trials, name)
        return measured if trial == evaluations["valid"].accuracy.value else measured | {_TRIAL: trial}

    kept = bundle.save(model, plan.directory.best, classes, variant, score, plan.directory.seen())
    complete = results.with_test(plan.directory, trials, name)
    said = results.compare(complete, name, plan.config.margin, data["copies_in_train"]).sentences
    card.write(plan.directory.best, variant, plan.config.weights, data, evaluations, said)
    return kept


def _trial_accuracy(trials: Iterable[Trial], name: str) -> float:
    """Accuracy on valid of the trial that won, by which it did."""
    valid = next(trial.valid for trial in trials if trial.name == name)
    assert valid is not None, "every trial that finished has predicted valid"
    return valid.accuracy


def _pixels(plan: Plan, split: Split) -> Iterator[np.ndarray]:
    """The split's images, (n, size, size, 3) uint8 at a time."""
    size = plan.config.image_size
    images = prefetch(lambda path: decode.load_known(plan.data.uri(path), size), split.paths, plan.threads, _PART)
    while part := list(islice(images, _PART)):
        yield np.stack(part)
