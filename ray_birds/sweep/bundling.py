"""A trial made a bundle, the winner by its sweep or any other one later: assembled, saved, scored, described."""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ray_birds.config import BundleConfig, Tta, TuneConfig
from ray_birds.core import environment, storage, terminal
from ray_birds.core.errors import DataError, ModelError, OutputError, SettingsError
from ray_birds.core.prefetch import prefetch
from ray_birds.core.text import nearest
from ray_birds.data import dataset, decode
from ray_birds.data.dataset import Dataset, Split
from ray_birds.data.inspection import Folds
from ray_birds.data.table import Labels
from ray_birds.evaluation import metrics, ood, selective, wording
from ray_birds.evaluation.leakage import HeldOut, copied, counted, held_out
from ray_birds.evaluation.selective import Known
from ray_birds.evaluation.temperature import apply, fit
from ray_birds.model import backbones, bundle, card, device, head, hub
from ray_birds.model.bundle import Measured
from ray_birds.model.classifier import Classifier, opened
from ray_birds.sweep import comparison, epochs, results
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.outcome import Predictions, Trial
from ray_birds.sweep.results import Results, Sweep

# In metrics.json: accuracy on all of valid, copies too, where that of the trial is not that of the model kept.
WHOLE = "accuracy_on_all_of_valid"
_STRANGERS = 5000  # of the images that folds held out, those that are looked at with the model
_PART = 256  # images given to the model at a time, as many decoded meanwhile


@dataclass(frozen=True)
class HeldOutOfFolds:
    """The `images` that folds held out, and what their models say of these: `scores` (n, classes) float32."""

    folds: Folds
    images: Split
    scores: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(all of train,) bool: the images that class means are made of; all but those of one fold."""
        return np.asarray(self.folds.held_out != 0)

    @property
    def strangers(self) -> np.ndarray:
        """(n,) bool: some of the images whose distance from these means is fair, as far as means go."""
        fold = self.folds.held_out[self.folds.held_out >= 0]
        rows = np.random.default_rng(0).permutation(np.flatnonzero(fold == 0))[:_STRANGERS]
        return np.isin(np.arange(len(fold)), rows)

    @property
    def group(self) -> np.ndarray:
        return self.folds.group[self.folds.held_out >= 0]


@dataclass(frozen=True)
class Source:
    """What a bundle is made from: a sweep, the splits of `data` that its model is scored on, and those it learned
    from. With folds its valid split are the images that these held out: of them the model is not asked."""

    directory: SweepDirectory
    config: TuneConfig
    data: Dataset
    train: Split
    threads: int
    held_out: HeldOutOfFolds | None = None


def make(source: Source, name: str, trials: tuple[Trial, ...], uri: str) -> dict[str, Any]:
    """Make the bundle of the trial called `name`, one of `trials`, at `uri`; returns its metrics.

    It is saved, loaded again and scored from the images, as anyone who uses it will. Needs TensorFlow.
    """
    from ray_birds.model import train_step
    from ray_birds.sweep import checkpoint

    lanes = device.use_lanes(source.threads)
    directory, config, classes = source.directory, source.config, source.data.classes
    trial = next(one for one in trials if one.name == name)
    last = checkpoint.last(directory, name)
    variant = dataclasses.replace(trial.variant, batch_size=last.history[-1].batch_size)
    model = train_step.assemble(variant, config.weights, len(classes), last.kept)
    valid, folds = source.data.splits["valid"], source.held_out
    if folds:
        temperature = fit(folds.scores, valid.labels, folds.folds.count)
    else:
        trained = Classifier(model, lanes=lanes)
        scores = [trained(pixels) for pixels in _pixels(source, valid, variant)]
        temperature = fit(np.concatenate(scores), valid.labels)
    head.divide_logits(model, temperature.value)

    data = directory.dataset()
    evaluations: dict[str, metrics.Evaluation] = {}

    known: dict[str, Known] = {}

    def score(path: str) -> Measured:
        classifier = Classifier(opened(path), lanes=lanes)
        learned = source.train.select(ood.sample(source.train.labels, variant.seed))
        features = _seen_by(classifier, _pixels(source, learned, variant)).features
        reference = ood.fit(features, learned.labels)
        held: dict[str, HeldOut] = {}
        honest: dict[str, Any] = {}
        for split, images in source.data.splits.items():
            by_folds = folds if split == "valid" else None
            if by_folds:
                scores, mean = apply(by_folds.scores, temperature.value).astype(np.float32), None
                some = by_folds.strangers
                features = _seen_by(classifier, _pixels(source, images.select(some), variant)).features
                distance = np.full(len(images), np.nan, np.float32)
                distance[some] = reference.distance(features)
            else:
                scores, features, mean = _seen_by(classifier, _pixels(source, images, variant), config.tta)
                distance = reference.distance(features)
            predictions = scores.argmax(axis=1)
            right = predictions == images.labels
            seen = copied(images.paths, data["copies"].get(split, ()))
            held[split] = held_out(split, right, seen)
            new = counted(seen)
            labels = images.labels[new]
            evaluations[split] = metrics.evaluate(labels, predictions[new], classes)
            if by_folds:
                accuracy = metrics.accuracy(right[new], by_folds.group[new])
                evaluations[split] = dataclasses.replace(evaluations[split], accuracy=accuracy)
            honest[split] = temperature.measured(scores[new], labels)
            if mean is not None:
                with_tta = metrics.evaluate(labels, mean.argmax(axis=1)[new], classes).to_json()
                honest[split] |= {"tta": {"method": config.tta} | with_tta}
            models = len(comparison.runs(trials)) if split == "valid" else 1  # test had no say in the choice
            known[split] = Known(scores.max(axis=1)[~seen], right[~seen], distance[~seen], models)
            if split == "test" and uri == directory.best:  # the sweep's own look at it
                directory.write_predictions(name, images, classes, scores)
        curves = {split: one.curve() for split, one in known.items()}
        measured: dict[str, Any] = {
            split: one.to_json() | held[split].to_json() | honest[split] for split, one in evaluations.items()
        } | {
            hub.DATASET: card.folder_name(data["root"]),
            "temperature": dataclasses.asdict(temperature),
            "selective": selective.summary(curves["valid"], curves.get("test")),
        }
        if folds:
            measured["folds"] = folds.folds.count
        before, whole = trial.valid.accuracy if trial.valid else None, held["valid"].of_all.value
        if before != whole:
            measured[WHOLE] = {"trial": before, "kept": whole}
        return Measured(measured, known["valid"], reference)

    kept = bundle.save(model, uri, classes, variant, score, directory.seen())
    complete = results.with_test(directory, trials, name)
    said = comparison.compare(complete, name, config.margin, data["copies"]).sentences
    text = card.markdown(
        variant,
        config.weights,
        data,
        evaluations,
        (*said, *wording.tta(kept), temperature.sentence),
        kept["selective"],
        epochs.kept(trial.history, variant).epoch,
        comparison.compare_recall(complete, name, data),
    )
    card.write(uri, text)
    return kept


class _Seen(NamedTuple):
    """What a model makes of n images, float32: probabilities (n, classes) and pooled features (n, d); `mean` (n,
    classes) with test-time augmentation, None without."""

    scores: np.ndarray
    features: np.ndarray
    mean: np.ndarray | None


def _seen_by(classifier: Classifier, parts: Iterable[np.ndarray], tta: Tta = "none") -> _Seen:
    scores, features, mean = [], [], []
    for pixels in parts:
        plain, pooled = classifier.embed(pixels)
        scores.append(plain)
        features.append(pooled)
        if tta == "flip":
            mean.append(classifier.with_mirror(pixels, plain))
    return _Seen(np.concatenate(scores), np.concatenate(features), np.concatenate(mean) if mean else None)


def _pixels(source: Source, split: Split, variant: Variant) -> Iterator[np.ndarray]:
    """The split's images, (n, size, size, 3) uint8 at a time."""
    size, how, data = variant.image_size, variant.resize, source.data
    images = prefetch(
        lambda path: decode.load_known(data.uri(path), size, how), split.paths, source.threads, _PART
    )
    while part := list(islice(images, _PART)):
        yield np.stack(part)


def note(found: dict[str, Any]) -> str:
    """Where the kept model has not its trial's accuracy on valid, that; else empty."""
    if WHOLE not in found:
        return ""
    kept, trial = found[WHOLE]["kept"], found[WHOLE]["trial"]
    return (
        f"the model that is kept, in float32 from the images, has accuracy {kept:.4f} on valid, not the "
        f"{trial:.4f} of its trial"
    )


@dataclass(frozen=True)
class Bundled:
    """A bundle made of a finished sweep's trial: where it lies, and what is said of it."""

    uri: str
    sentences: tuple[str, ...]
    note: str


def make_of(config: BundleConfig) -> Bundled:
    """The bundle of any finished trial of a finished sweep. It is scored on valid; on test only if its trial was.

    Raises OutputError where there is no sweep or the output exists, SettingsError for a trial that is none or did
    not finish, ModelError for weights that are no longer the sweep's, DataError where images have gone.
    """
    sweep = Sweep.at(config.sweep).results
    if sweep.config.folds:
        raise SettingsError(
            f"--sweep {config.sweep}: has folds, and only its winner was trained on all images, which is in "
            f"{sweep.directory.best}; for another one start a sweep of it alone: the features are kept"
        )
    trial = _trial(sweep, config.trial)
    uri = storage.resolve(config.output) if config.output else sweep.directory.path("bundles", trial.name)
    if storage.exists(uri):
        raise OutputError(f"{uri}: exists; choose another --output or remove it")
    weights = sweep.config.weights
    if backbones.weights_digest(weights) != sweep.dataset["weights"]:
        raise ModelError(f"--weights {weights} of the sweep: no longer those that it began with; bring them back")
    terminal.say(f"Making the bundle of {trial.name}; scoring {' and '.join(_scored(trial))}")
    splits = {name: _split(name, rows, sweep.dataset["classes"]) for name, rows in _scored(trial).items()}
    data = Dataset(sweep.dataset["root"], tuple(sweep.dataset["classes"]), splits)
    source = Source(sweep.directory, sweep.config, data, _train(sweep), environment.own_cpus())
    with terminal.quiet(config.verbose):
        kept = make(source, trial.name, sweep.trials, uri)
    copies = sweep.dataset["copies"]
    said = comparison.compare(sweep.trials, trial.name, sweep.config.margin, copies).sentences
    return Bundled(uri, said, note(kept))


def show(made: Bundled) -> None:
    terminal.say(" ".join(made.sentences))
    if made.note:
        terminal.say(f"note: {made.note}")
    terminal.say(f"written      {made.uri}")


def _trial(sweep: Results, name: str) -> Trial:
    trials = {trial.name: trial for trial in sweep.trials}
    if name not in trials:
        raise SettingsError(f"--trial {name}: no such trial; the nearest is {nearest(name, trials)}")
    trial = trials[name]
    if trial.status != "finished":
        why = trial.error or f"stopped after {trial.epochs} of {trial.variant.epochs} epochs"
        raise SettingsError(f"--trial {name}: did not finish ({why}); choose one that did")
    return trial


def _scored(trial: Trial) -> dict[str, Predictions]:
    """What a trial has predicted, by split."""
    return {name: rows for name, rows in (("valid", trial.valid), ("test", trial.test)) if rows is not None}


def _train(sweep: Results) -> Split:
    """The images that the sweep's trials learned from. Raises DataError where its folder has other classes now."""
    config = sweep.config
    data = dataset.scan(sweep.dataset["root"], config.exclude_class, config.max_bytes, Labels.of(config))
    if data.classes != tuple(sweep.dataset["classes"]):
        raise DataError(f"{data.root}: its classes are no longer those of the sweep; bring its images back")
    train, made = data.splits["train"], sweep.splits
    bad = {row["path"] for row in sweep.directory.bad_images()}
    return train.select(np.array([path not in bad and made.get(path, "train") == "train" for path in train.paths]))


def _split(name: str, rows: Predictions, classes: Iterable[str]) -> Split:
    index = {one: number for number, one in enumerate(classes)}
    labels = np.array([index[label] for label in rows.label], np.int32)
    return Split(name, tuple(rows.path), labels, np.arange(len(rows)))
