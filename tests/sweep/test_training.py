"""Training on a small real backbone: stored = direct, resumed = undisturbed, half batches, bounded memory.

In this process, and on few images: what is compared are numbers, epoch by epoch.
"""

import dataclasses
import gc
import time
import weakref
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

import ray_birds
from ray_birds.config import ARTICLE_RECIPE, Tta, TuneConfig
from ray_birds.core import storage
from ray_birds.core.errors import NotFiniteError, OutOfMemoryError, OutputError
from ray_birds.data import augment, dataset, decode, seen
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import Inspection
from ray_birds.evaluation import wording
from ray_birds.features import compute, steps, store
from ray_birds.features.steps import Source
from ray_birds.features.store import Feature, FeatureSpec, Reader
from ray_birds.model import backbones, bundle
from ray_birds.model.backbones import Description
from ray_birds.model.cut import PIXELS, CutPoint
from ray_birds.sweep import bundling, epochs, results
from ray_birds.sweep.checkpoint import Checkpoint
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import Resize, Variant, View
from tests.conftest import DRAWN_WEIGHTS, needs_locked

if TYPE_CHECKING:
    from ray_birds.sweep.tasks import Inputs, Task

pytestmark = pytest.mark.keras

VARIANT = Variant(
    backbone="MobileNetV2-0.35",
    image_size=32,
    unfreeze=10,
    batch_size=5,
    head_epochs=2,
    fine_tune_epochs=2,
    learning_rate=0.01,
    **ARTICLE_RECIPE,
)
AUGMENTED = dataclasses.replace(VARIANT, augment="article", augment_views=2)
OURS = Variant(
    backbone="MobileNetV2-0.35",
    image_size=32,
    augment="on",
    unfreeze=10,
    batch_size=5,
    head_epochs=2,
    fine_tune_epochs=3,
    learning_rate=0.002,
)
SPLITS = ("train", "valid", "test")


class Workplace(NamedTuple):
    """Images, the store of their features, and what both are made with."""

    data: Dataset
    store: str
    about: Description
    spec: FeatureSpec


@pytest.fixture(scope="module")
def workplace(birds: Path, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The drawn birds and the features that both variants read, in float32, made by what a sweep's workers run."""
    uri = str(tmp_path_factory.mktemp("store"))
    data = dataset.scan(str(birds))
    about = backbones.describe(VARIANT.backbone, DRAWN_WEIGHTS, VARIANT.image_size, (0, 10))
    rows = {split: len(data.splits[split]) for split in SPLITS}
    prints = {split: split for split in SPLITS}
    spec = FeatureSpec(VARIANT.backbone, "w", VARIANT.image_size, "float32", VARIANT.augment_seed, prints, rows)
    features = {
        feature: [*range(feature.shards)]
        for variant in (VARIANT, AUGMENTED, OURS)
        for feature in spec.needed(variant, about.pooled, about.cut_points[10], ["valid", "test"])
    }
    source = Source(data.root, DRAWN_WEIGHTS, VARIANT.image_size, VARIANT.augment_seed, VARIANT.precision)
    decode_views, layers = steps.Decoder(source, 1), steps.FrozenLayers(source, 1)
    for unit in compute._units(features, data.splits):
        steps.compute(uri, unit, decode_views, layers)
    for feature in features:
        store.finish(uri, feature)
    return Workplace(data, uri, about, spec)


class Run(NamedTuple):
    """A finished trial: the state and the valid scores after each epoch, and the test scores."""

    states: list[Checkpoint]
    scores: list[np.ndarray]
    test: np.ndarray | None


def train(task: "Task", state: Checkpoint | None = None) -> Run:
    from ray_birds.sweep import training

    states, scores = [], []

    def on_epoch(state: Checkpoint, valid: np.ndarray) -> None:
        states.append(state)
        scores.append(valid)

    return Run(states, scores, training.train(task, state or Checkpoint(), on_epoch))


def stored(workplace: Workplace, variant: Variant) -> "Task":
    from ray_birds.sweep import tasks

    about = workplace.about
    head, tail = (
        tasks.stored_inputs(workplace.spec, workplace.store, point)
        for point in (about.pooled, about.cut_points[10])
    )
    return _task(workplace, variant, head, tail)


def direct(workplace: Workplace, variant: Variant) -> "Task":
    from ray_birds.sweep import tasks

    inputs = tasks.direct_inputs(variant, workplace.data)
    return _task(workplace, variant, inputs, inputs)


def _task(workplace: Workplace, variant: Variant, head: "Inputs", tail: "Inputs") -> "Task":
    from ray_birds.sweep import tasks

    labels = {split: workplace.data.splits[split].labels for split in SPLITS}
    return tasks.Task(variant, DRAWN_WEIGHTS, len(workplace.data.classes), labels, head, tail)


@pytest.fixture(scope="module")
def undisturbed(workplace: Workplace) -> Run:
    return train(stored(workplace, VARIANT))


def numbers(epoch: Epoch) -> dict[str, object]:
    """An epoch without its times."""
    return {
        name: value
        for name, value in vars(epoch).items()
        if name not in ("seconds", "images_per_second", "waited")
    }


def assert_same(one: Run, other: Run, rows: slice = slice(None)) -> None:
    """Equal to the last bit."""
    ours, theirs = one.states[-1], other.states[-1]
    assert [*map(numbers, ours.history)] == [*map(numbers, theirs.history)]
    assert ours.weights.keys() == theirs.weights.keys()
    assert all(np.array_equal(ours.weights[name], theirs.weights[name]) for name in theirs.weights)
    assert all(np.array_equal(a, b) for a, b in zip(ours.optimizer, theirs.optimizer, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(one.scores, other.scores[rows], strict=True))
    assert one.test is not None and other.test is not None and np.array_equal(one.test, other.test)


def test_both_phases_train(undisturbed: Run) -> None:
    history = undisturbed.states[-1].history
    assert [(epoch.epoch, epoch.phase) for epoch in history] == [
        (1, "head"),
        (2, "head"),
        (3, "fine-tune"),
        (4, "fine-tune"),
    ]
    assert [epoch.learning_rate for epoch in history] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert history[0].loss > history[1].loss > history[3].loss
    head, tail = undisturbed.states[1].weights, undisturbed.states[3].weights
    assert head.keys() == {"head/kernel", "head/bias"} < tail.keys()


# Loss, accuracy, valid loss and valid accuracy by epoch, as they were before there were other recipes, and before
# frozen layers took normalisation in, which rounds features otherwise.
RECORDED = {
    "off": [
        (1.124176025390625, 5 / 12, 0.569706308922139, 4 / 6),
        (0.7952200571695963, 8 / 12, 0.6784731828457313, 4 / 6),
        (0.39829174677530926, 8 / 12, 0.4264741697275016, 5 / 6),
        (0.44521133104960126, 8 / 12, 0.2012748196970847, 5 / 6),
    ],
    "article": [
        (1.6850881576538086, 4 / 12, 0.8065899987980213, 3 / 6),
        (1.4606568018595378, 5 / 12, 1.114279777933068, 4 / 6),
        (1.2550787130991619, 7 / 12, 0.6645391752176408, 6 / 6),
        (0.8226726849873861, 7 / 12, 0.6406393198866767, 4 / 6),
    ],
}


@pytest.mark.parametrize("augment", ["off", "article"])
def test_the_article_s_recipe_gives_the_recorded_numbers(from_store: dict[str, Run], augment: str) -> None:
    needs_locked("tensorflow", "keras", "opencv-python-headless")
    history = from_store[augment].states[-1].history
    found = [(epoch.loss, epoch.accuracy, epoch.valid_loss, epoch.valid_accuracy) for epoch in history]
    np.testing.assert_allclose(found, RECORDED[augment], rtol=1e-5)


@pytest.fixture(scope="module")
def ours(workplace: Workplace) -> Run:
    return train(stored(workplace, OURS))


def test_a_head_is_solved_and_fine_tuned_by_a_schedule(ours: Run) -> None:
    history = ours.states[-1].history
    assert [epoch.phase for epoch in history] == ["head", *3 * ["fine-tune"]]
    assert history[0].accuracy == 1.0  # twelve images and two views of each can be told apart
    # Three steps an epoch, the first two of nine for the warm-up; the rate is that of an epoch's last step.
    shares = [(1 + np.cos(np.pi * done / 7)) / 2 for done in (0, 3, 6)]
    assert [epoch.learning_rate for epoch in history[1:]] == pytest.approx([0.001 * share for share in shares])


def test_fine_tuning_starts_from_the_solved_head(workplace: Workplace) -> None:
    still = dataclasses.replace(OURS, learning_rate=1e-9, fine_tune_epochs=1)
    head, tuned = train(stored(workplace, still)).states[-1].history
    assert tuned.valid_loss == pytest.approx(head.valid_loss, rel=1e-3)


@pytest.mark.parametrize("done", [1, 2, 3, 4], ids=["head done", "in warm-up", "in mid-schedule", "at the end"])
def test_our_recipe_resumed_is_the_undisturbed_one(workplace: Workplace, ours: Run, done: int) -> None:
    last = Checkpoint.from_bytes(ours.states[done - 1].to_bytes())
    train(stored(workplace, dataclasses.replace(OURS, learning_rate=0.3, seed=5)))  # the process has done others
    resumed = train(stored(workplace, OURS), last)
    assert_same(resumed._replace(states=[last, *resumed.states]), ours, slice(done, None))


def test_a_fold_learns_from_the_others_and_is_scored_on_its_own(workplace: Workplace) -> None:
    from ray_birds.sweep import tasks

    head = stored(workplace, OURS).head
    learned, held_out = np.array([1, 2, 4, 7]), np.array([0, 3])
    ours = tasks.of_fold(head, learned, held_out)
    np.testing.assert_array_equal(ours.train(np.array([2, 0]), None), head.plain("train", np.array([4, 1])))
    view = OURS.views(0)[1]
    np.testing.assert_array_equal(ours.train(np.array([3]), view), head.train(np.array([7]), view))
    np.testing.assert_array_equal(ours.plain("valid", np.array([1])), head.plain("train", np.array([3])))


def test_without_valid_it_is_trained_for_as_long_and_with_the_penalty_that_it_is_told(
    workplace: Workplace, ours: Run, tmp_path: Path
) -> None:
    from ray_birds.sweep.heads import SharedHead, Solved

    directory = SweepDirectory(str(tmp_path))
    train(dataclasses.replace(stored(workplace, OURS), shared=SharedHead(directory, "a"), until=1))
    solved = Solved.from_bytes(directory.head("a") or b"")
    task = stored(workplace, dataclasses.replace(OURS, keep="last"))
    told = dataclasses.replace(task, labels={"train": task.labels["train"]}, until=3, penalty=solved.penalty)
    again = train(told)
    history, reference = again.states[-1].history, ours.states[2].history
    assert len(history) == 3 and again.test is None and again.states[-1].earlier == {}
    assert history[0].loss == pytest.approx(reference[0].loss, abs=1e-5)
    from_the_same_head = train(told, ours.states[0]).states[-1].history
    for column in ("loss", "learning_rate"):
        found, wanted = ([getattr(epoch, column) for epoch in each] for each in (from_the_same_head, reference))
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert all(np.isnan(epoch.valid_loss) and np.isnan(epoch.valid_accuracy) for epoch in history)
    resumed = train(told, Checkpoint.from_bytes(again.states[1].to_bytes())).states[-1]
    for path, value in again.states[-1].weights.items():
        np.testing.assert_allclose(resumed.weights[path], value, rtol=1e-6, atol=1e-7)
    assert train(told, again.states[-1]).states == []


STEADIED = dataclasses.replace(OURS, dropout=0.3, ema=0.7, clip_norm=0.5)


@pytest.fixture(scope="module")
def steadied(workplace: Workplace) -> Run:
    return train(stored(workplace, STEADIED))


@pytest.mark.parametrize("done", [1, 3], ids=["head done", "in mid-schedule"])
def test_dropout_averages_and_clipping_resume_as_undisturbed(
    workplace: Workplace, ours: Run, steadied: Run, done: int
) -> None:
    assert numbers(steadied.states[0].history[0]) == numbers(ours.states[0].history[0])  # a head is solved without
    assert np.abs(steadied.scores[1] - ours.scores[1]).max() > 1e-4
    last = Checkpoint.from_bytes(steadied.states[done - 1].to_bytes())
    train(
        stored(workplace, dataclasses.replace(STEADIED, learning_rate=0.3, seed=5))
    )  # the process has done others
    resumed = train(stored(workplace, STEADIED), last)
    assert_same(resumed._replace(states=[last, *resumed.states]), steadied, slice(done, None))


def test_the_averages_of_weights_are_what_is_scored_and_kept(workplace: Workplace, steadied: Run) -> None:
    from ray_birds.model import train_step

    state, valid = steadied.states[-1], workplace.data.splits["valid"]
    model = train_step.assemble(STEADIED, DRAWN_WEIGHTS, len(workplace.data.classes), state.weights)
    pixels = np.stack([decode.load_known(workplace.data.uri(path), STEADIED.image_size) for path in valid.paths])
    np.testing.assert_allclose(model(pixels.astype(np.float32)), steadied.scores[-1], rtol=1e-3, atol=1e-5)


def test_balanced_class_weights_are_1_on_average(workplace: Workplace) -> None:
    task = stored(workplace, dataclasses.replace(OURS, class_weights="balanced"))
    uneven = np.array([0] * 6 + [1] * 3 + [2] * 1, np.int32)
    weights = dataclasses.replace(task, labels={"train": uneven}, classes=4).class_weights
    np.testing.assert_allclose(weights[:3], [10 / 18, 10 / 9, 10 / 3], rtol=1e-6)
    assert weights[uneven].mean() == pytest.approx(1)
    assert (dataclasses.replace(task, variant=OURS).class_weights == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"class_weights": "balanced"}, {"loss": "focal"}], ids=str)
def test_what_an_image_weighs_changes_what_is_learnt(
    workplace: Workplace, ours: Run, change: dict[str, Any]
) -> None:
    """Classes of the drawn birds are even: one is cut down, or their weights would change nothing."""

    def uneven(variant: Variant) -> "Task":
        task = stored(workplace, variant)
        labels = task.labels["train"].copy()
        labels[np.flatnonzero(labels == 0)[1:]] = 1
        return dataclasses.replace(task, labels=task.labels | {"train": labels})

    plain, other = (train(uneven(dataclasses.replace(OURS, **each))) for each in ({}, change))
    assert np.abs(plain.scores[-1] - other.scores[-1]).max() > 1e-3


@pytest.mark.slow
def test_solved_on_images_the_head_is_that_of_stored_features(workplace: Workplace) -> None:
    frozen = dataclasses.replace(OURS, unfreeze=0)
    ours, reference = train(stored(workplace, frozen)), train(direct(workplace, frozen))
    assert len(ours.states) == 1
    assert ours.test is not None and reference.test is not None
    np.testing.assert_allclose(ours.scores[0], reference.scores[0], atol=1e-3)
    np.testing.assert_allclose(ours.test, reference.test, atol=1e-3)


@pytest.mark.slow
def test_features_too_large_for_memory_give_the_same_head(
    workplace: Workplace, ours: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray_birds.model import probe

    monkeypatch.setattr(probe, "HELD", 0)
    streamed = train(stored(workplace, dataclasses.replace(OURS, unfreeze=0)))
    np.testing.assert_allclose(streamed.scores[0], ours.scores[0], atol=2e-3)


def test_the_weights_that_are_kept_give_the_recorded_valid_score(workplace: Workplace) -> None:
    """At a rate that harms the kept epoch is not the last; its weights survive the checkpoint's file."""
    from ray_birds.model import train_step
    from ray_birds.sweep import training

    variant = dataclasses.replace(OURS, learning_rate=2.0)
    run = train(stored(workplace, variant))
    state = Checkpoint.from_bytes(run.states[-1].to_bytes())
    best = epochs.kept(state.history, variant)
    assert best.epoch < len(state.history) and best.valid_accuracy > state.history[-1].valid_accuracy
    valid = workplace.data.splits["valid"]
    model = train_step.assemble(variant, DRAWN_WEIGHTS, len(workplace.data.classes), state.kept)
    pixels = np.stack([decode.load_known(workplace.data.uri(path), variant.image_size) for path in valid.paths])
    loss, accuracy = training._evaluate(model(pixels.astype(np.float32)).numpy(), valid.labels)
    assert accuracy == best.valid_accuracy and loss == pytest.approx(best.valid_loss, rel=1e-4)
    again = dataclasses.replace(variant, keep="last")
    assert train(stored(workplace, again)).states[-1].earlier == {}


@pytest.mark.slow
def test_patience_ends_a_trial(workplace: Workplace) -> None:
    impatient = dataclasses.replace(OURS, learning_rate=2.0, patience=1)
    history = train(stored(workplace, impatient)).states[-1].history
    assert len(history) == 2 and epochs.ended(history, impatient)


def test_a_stage_used_again_trains_as_the_first_time(workplace: Workplace, undisturbed: Run) -> None:
    train(stored(workplace, dataclasses.replace(VARIANT, learning_rate=0.3, seed=5)))
    assert_same(train(stored(workplace, VARIANT)), undisturbed)


@pytest.mark.parametrize(
    "done", [1, 2, 3, 4], ids=["in the head phase", "between", "in fine-tuning", "at the end"]
)
def test_a_trial_resumed_from_its_checkpoint_is_the_undisturbed_one(
    workplace: Workplace, undisturbed: Run, done: int
) -> None:
    kept = Checkpoint.from_bytes(undisturbed.states[done - 1].to_bytes())
    train(
        stored(workplace, dataclasses.replace(VARIANT, learning_rate=0.3, seed=5))
    )  # the process has done others
    resumed = train(stored(workplace, VARIANT), kept)
    assert len(resumed.states) == 4 - done
    assert_same(resumed._replace(states=[kept, *resumed.states]), undisturbed, slice(done, None))


class Counted(np.ndarray):
    """An array whose life can be followed."""


class Alive:
    """Follows arrays that `made` gives out."""

    def __init__(self) -> None:
        self._left: dict[str, list[weakref.ref[Counted]]] = defaultdict(list)
        self.most: dict[str, int] = defaultdict(int)

    def made(self, kind: str, array: np.ndarray) -> np.ndarray:
        counted = array.view(Counted)
        left = [one for one in self._left[kind] if one() is not None]
        self._left[kind] = [*left, weakref.ref(counted)]
        self.most[kind] = max(self.most[kind], len(self._left[kind]))
        return counted


def followed(alive: Alive, inputs: "Inputs") -> "Inputs":
    return dataclasses.replace(
        inputs,
        readers=1,
        train=lambda rows, view: alive.made("train", inputs.train(rows, view)),
        plain=lambda split, rows: alive.made("plain", inputs.plain(split, rows)),
    )


def test_an_epoch_keeps_a_few_batches_and_not_all(workplace: Workplace) -> None:
    alive, variant = Alive(), dataclasses.replace(VARIANT, batch_size=1)  # 12 batches to train on, 6 to score
    task = stored(workplace, variant)
    gc.collect()
    train(dataclasses.replace(task, head=followed(alive, task.head), tail=followed(alive, task.tail)))
    # Two that are made ahead, the one at work, and up to two that TensorFlow has not let go of yet.
    assert alive.most["train"] <= 5 and alive.most["plain"] <= 5


def test_the_share_of_time_that_the_device_waits_is_told(workplace: Workplace) -> None:
    def late(numbers: np.ndarray, view: View | None) -> np.ndarray:
        time.sleep(0.2)
        return task.head.train(numbers, view)

    task = stored(workplace, dataclasses.replace(VARIANT, batch_size=4))  # 3 batches
    slow = dataclasses.replace(task.head, train=late, readers=1)
    quick, waits = train(task).states[-1].history, train(dataclasses.replace(task, head=slow)).states[-1].history
    assert all(0 <= (epoch.waited or 0) <= 1 for epoch in (*quick, *waits))
    assert waits[1].waited is not None and waits[1].waited > 0.5  # with all compiled, steps take no time beside it
    assert [epoch.loss for epoch in waits] == [epoch.loss for epoch in quick]


def test_views_are_drawn_one_ahead_and_not_all_at_once(workplace: Workplace, tmp_path: Path) -> None:
    alive = Alive()

    class Followed(steps.Decoder):
        def _draw(self, unit: steps.Unit, pixels: np.ndarray, view: View | None) -> np.ndarray:
            return alive.made("views", super()._draw(unit, pixels.copy(), view))

    data, point = workplace.data, CutPoint(PIXELS, (VARIANT.image_size, VARIANT.image_size, 3))
    wanted = [workplace.spec.feature("train", point, View("light", number)) for number in range(12)]
    source = Source(data.root, DRAWN_WEIGHTS, VARIANT.image_size, 0, "float32")
    (unit,) = compute._units({feature: [0] for feature in wanted}, data.splits)
    steps.compute(str(tmp_path), unit, Followed(source, 1), steps.FrozenLayers(source, 1))
    assert len(unit.views) == 12 and alive.most["views"] <= 3


def test_features_that_half_precision_cannot_hold_are_not_stored(workplace: Workplace, tmp_path: Path) -> None:
    class Huge(steps.FrozenLayers):
        def _function(self, name: str, features: list[Feature]) -> Any:
            import tensorflow as tf

            return lambda pixels: {one.cut_point: tf.fill((len(pixels), *one.shape), 1e5) for one in features}

    point = workplace.about.pooled
    source = Source(workplace.data.root, DRAWN_WEIGHTS, VARIANT.image_size, 0, "float32")
    for dtype in ("float32", "float16"):
        feature = dataclasses.replace(workplace.spec, dtype=dtype).feature("valid", point, None)
        (unit,) = compute._units({feature: [0]}, workplace.data.splits)
        parts = str(tmp_path), unit, steps.Decoder(source, 1), Huge(source, 1)
        if dtype == "float32":
            steps.compute(*parts)
            continue
        with pytest.raises(NotFiniteError, match=r"not finite in float16; give --feature-dtype float32"):
            steps.compute(*parts)
        assert store.missing(str(tmp_path), feature) == [0]


@pytest.fixture(scope="module")
def from_store(workplace: Workplace, undisturbed: Run) -> dict[str, Run]:
    """Both variants from stored features, by their augmentation."""
    return {"off": undisturbed, "article": train(stored(workplace, AUGMENTED))}


@pytest.fixture(scope="module")
def from_images(workplace: Workplace, from_store: dict[str, Run]) -> dict[str, Run]:
    """The second phase of both from the images themselves: the whole network is in the step that is compiled."""
    return {
        variant.augment: train(direct(workplace, variant), from_store[variant.augment].states[1])
        for variant in (VARIANT, AUGMENTED)
    }


@pytest.mark.parametrize("augment", ["off", "article"])
def test_stored_features_train_as_the_images_do(
    from_store: dict[str, Run], from_images: dict[str, Run], augment: str
) -> None:
    reference, ours = from_images[augment], from_store[augment]
    for epoch, wanted in zip(ours.states[-1].history, reference.states[-1].history, strict=True):
        assert (epoch.accuracy, epoch.valid_accuracy) == (wanted.accuracy, wanted.valid_accuracy)
        assert (epoch.loss, epoch.valid_loss) == pytest.approx((wanted.loss, wanted.valid_loss), rel=1e-3)
    assert ours.test is not None and reference.test is not None
    np.testing.assert_allclose(ours.test, reference.test, atol=1e-3)


def test_augmentation_changes_what_is_trained_on(from_images: dict[str, Run]) -> None:
    plain, augmented = (from_images[augment].states[-1].history for augment in ("off", "article"))
    assert all(abs(one.loss - other.loss) > 1e-3 for one, other in zip(plain, augmented, strict=True))


def test_frozen_layers_and_statistics_stay_as_they_were(workplace: Workplace, from_images: dict[str, Run]) -> None:
    """The pretrained model with only the trained weights put in scores as the one that was trained."""
    from ray_birds.model import train_step

    run, valid = from_images["off"], workplace.data.splits["valid"]
    model = train_step.assemble(VARIANT, DRAWN_WEIGHTS, len(workplace.data.classes), run.states[-1].weights)
    pixels = np.stack([decode.load_known(workplace.data.uri(path), VARIANT.image_size) for path in valid.paths])
    np.testing.assert_allclose(model(pixels.astype(np.float32)), run.scores[-1], rtol=1e-4, atol=1e-6)


def test_stored_pixels_are_views_of_the_images(workplace: Workplace, tmp_path: Path) -> None:
    """Of each row its own view, drawn from its own number, however resized; as those that are not stored."""
    from ray_birds.sweep import tasks

    data, size = workplace.data, VARIANT.image_size
    point = CutPoint(PIXELS, (size, size, 3))
    views = (None, View("light", 0), View("article", 1))
    ways: tuple[Resize, ...] = ("stretch", "crop")
    specs = {way: dataclasses.replace(workplace.spec, resize=way) for way in ways}
    wanted = {(way, view): specs[way].feature("train", point, view) for way in ways for view in views}
    source = Source(data.root, DRAWN_WEIGHTS, size, 0, "float32")
    decode_views, layers = steps.Decoder(source, 2), steps.FrozenLayers(source, 2)
    for unit in compute._units({feature: [0] for feature in wanted.values()}, data.splits):
        steps.compute(str(tmp_path), unit, decode_views, layers)
    train = data.splits["train"]
    for (way, view), feature in wanted.items():
        images = [decode.load_known(data.uri(path), size, way) for path in train.paths]
        store.finish(str(tmp_path), feature)
        rows = Reader(str(tmp_path), feature).rows(range(len(images)))
        for row, image, number in zip(rows, images, train.numbers, strict=True):
            drawn = view and augment.view(image, 0, int(number), view.number, augment.POLICIES[view.policy])
            assert np.array_equal(row, image if drawn is None else drawn)
        direct = tasks.direct_inputs(dataclasses.replace(VARIANT, resize=way), data)
        assert np.array_equal(rows, direct.train(np.arange(len(images)), view))


@cache
def out_of_memory() -> Exception:
    """What TensorFlow raises after ten seconds of trying again: made once."""
    import tensorflow as tf

    with pytest.raises(tf.errors.ResourceExhaustedError) as raised:
        tf.zeros((1 << 50,))  # more than any device has
    return raised.value


def short_of_memory(task: "Task", most: int) -> "Task":
    """The task on a device whose memory takes `most` images at a time."""

    def train(rows: np.ndarray, view: View | None) -> np.ndarray:
        if len(rows) > most:
            raise out_of_memory()
        return task.head.train(rows, view)

    return dataclasses.replace(task, head=dataclasses.replace(task.head, train=train))


def test_too_little_memory_halves_the_batch_once(workplace: Workplace) -> None:
    task = stored(workplace, dataclasses.replace(VARIANT, unfreeze=0, batch_size=8))
    halved = train(short_of_memory(task, 6))
    assert [epoch.batch_size for epoch in halved.states[-1].history] == [4, 4]
    assert_same(halved, train(task.with_batches(4)))  # as if it had been asked for, at the same learning rate
    assert_same(train(task, halved.states[0]), halved, slice(1, None))  # resumed with the half
    with pytest.raises(OutOfMemoryError, match=r"batches of 4 do not fit.*--batch-size"):
        train(short_of_memory(task, 3))


def test_a_trial_that_diverges_ends_before_its_state_is_kept(workplace: Workplace, undisturbed: Run) -> None:
    """After two good epochs of the head the rate is such that float32 has no number for the weights."""
    kept: list[int] = []
    task = stored(workplace, dataclasses.replace(VARIANT, learning_rate=1e38))
    from ray_birds.sweep import training

    with pytest.raises(NotFiniteError, match=r"not finite after epoch 3; give a lower --learning-rate$"):
        training.train(task, undisturbed.states[1], lambda state, scores: kept.append(len(state.history)))
    assert not kept


def test_the_model_that_is_kept_is_measured_and_differs_from_its_trial_only_aloud(
    workplace: Workplace, undisturbed: Run, tmp_path: Path
) -> None:
    import keras

    data, name = workplace.data, "plain-unfreeze10-lr0.01"
    directory, state = SweepDirectory(str(tmp_path)), undisturbed.states[-1]
    config = TuneConfig(data=data.root, weights=DRAWN_WEIGHTS, image_size=VARIANT.image_size)
    splits = {split: data.splits[split] for split in ("valid", "test")}
    scored, train = dataclasses.replace(data, splits=splits), data.splits["train"]
    source = bundling.Source(directory, config, scored, train, threads=1)

    def make(tta: Tta) -> dict[str, Any]:
        asked = dataclasses.replace(source, config=config.replace(tta=tta))
        return bundling.make(asked, name, results.trials(directory, {name: VARIANT}, {}, 0.0), directory.best)

    directory.begin(config, Inspection(data, (), {}, (), (), {"valid": (), "test": ()}), "of the weights")
    directory.write_checkpoint(name, len(state.history), state.to_bytes())
    directory.write_history(name, [dataclasses.asdict(epoch) for epoch in state.history])

    directory.write_predictions(name, data.splits["valid"], data.classes, undisturbed.scores[-1])
    same = make("none")
    assert same["valid"]["accuracy"]["value"] == state.history[-1].valid_accuracy
    made = bundle.verify(directory.best)
    assert made.known.right.mean() == state.history[-1].valid_accuracy
    assert made.reference.centres.shape == (len(data.classes), 1280) and (made.known.distance < 1).all()
    assert same.keys() == {"valid", "test", "dataset", "temperature", "selective"}

    wrong = 1 - np.eye(len(data.classes))[data.splits["valid"].labels]
    directory.write_predictions(name, data.splits["valid"], data.classes, wrong)
    other = make("flip")
    assert other == storage.read_json(f"{directory.best}/metrics.json")
    mirrored = {split: other[split].pop("tta") for split in splits}
    both = {"trial": 0.0, "kept": same["valid"]["accuracy"]["value"]}
    assert other == same | {"accuracy_on_all_of_valid": both}  # test-time augmentation has a place of its own

    model = keras.saving.load_model(Path(directory.best, "model.keras"), compile=False)
    (sentence,) = wording.tta(directory.metrics() or {})
    assert sentence in Path(directory.best, "README.md").read_text(encoding="utf-8")
    for which, split in splits.items():
        pixels = np.stack([decode.load_known(data.uri(path), VARIANT.image_size) for path in split.paths])
        mean = (model.predict(pixels, verbose=0) + model.predict(pixels[:, :, ::-1], verbose=0)) / 2
        right = np.mean(mean.argmax(axis=1) == split.labels)
        assert mirrored[which]["method"] == "flip" and mirrored[which]["accuracy"]["value"] == right
        assert f" {100 * right:.1f} % (" in sentence and f" on {which}, " in sentence

    copy = data.splits["valid"].paths[0]
    directory.write_dataset(Inspection(data, (), {}, (), (), {"valid": (copy,), "test": ()}), "of the weights")
    apart, right = make("none"), made.known.right
    assert apart["test"] == same["test"] and apart["accuracy_on_all_of_valid"] == both
    assert apart["valid"]["images"] == len(right) - 1 and apart["valid"]["seen"]["images"] == 1
    assert apart["valid"]["accuracy"]["value"] == right[1:].mean()


@pytest.mark.slow
def test_any_trial_of_a_finished_sweep_becomes_a_bundle(
    workplace: Workplace, undisturbed: Run, tmp_path: Path
) -> None:
    """The other of two, whose model is undisturbed's; what the winner has is of no interest."""
    data, classes = workplace.data, workplace.data.classes
    winner, other = "plain-unfreeze10-lr0.02", "plain-unfreeze10-lr0.01"
    variants = {winner: dataclasses.replace(VARIANT, learning_rate=0.02), other: VARIANT}
    directory, state = SweepDirectory(str(tmp_path / "sweep")), undisturbed.states[-1]
    config = TuneConfig(data=data.root, weights=DRAWN_WEIGHTS, image_size=VARIANT.image_size)
    known = seen.listed(["0" * 32])
    inspection = Inspection(data, (), {}, (), (), {"valid": (), "test": ()}, known)
    directory.begin(config, inspection, backbones.weights_digest(DRAWN_WEIGHTS))
    directory.write_checkpoint(other, len(state.history), state.to_bytes())
    for name in variants:
        directory.write_history(name, [dataclasses.asdict(epoch) for epoch in state.history])
    directory.write_predictions(other, data.splits["valid"], classes, undisturbed.scores[-1])
    right = np.eye(len(classes))[data.splits["valid"].labels]
    directory.write_predictions(winner, data.splits["valid"], classes, right)
    found = results.trials(directory, variants, {}, 0.0)
    facts = {"winner": winner, "cpus_per_trial": 1, "gpus_per_trial": 0.0, "trials": results.trial_facts(found)}
    directory.write_run(facts)

    uri = ray_birds.bundle(sweep=directory.uri, trial=other)
    assert uri == str(tmp_path / "sweep/bundles" / other)
    made = bundle.verify(uri)
    assert made.classes == classes and made.seen.tolist() == [0] and not Path(directory.best).exists()
    scores = storage.read_json(f"{uri}/metrics.json")
    assert (
        scores.keys() == {"valid", "dataset", "temperature", "selective"}
        and directory.predictions(other, "test") is None
    )
    assert scores["valid"]["accuracy"]["value"] == state.history[-1].valid_accuracy
    card = Path(uri, "README.md").read_text(encoding="utf-8")
    assert f"This is {other}, which did not win its sweep: {winner} did." in card
    assert "not scored on the test split, which was looked at for the winner alone" in card
    with pytest.raises(OutputError, match="exists; choose another --output"):
        ray_birds.bundle(sweep=directory.uri, trial=other)

    directory.write_predictions(other, data.splits["test"], classes, np.eye(len(classes))[[0] * 6])  # --score-all
    again = ray_birds.bundle(sweep=directory.uri, trial=other, output=tmp_path / "again")
    scores = storage.read_json(f"{again}/metrics.json")
    assert scores.keys() == {"valid", "test", "dataset", "temperature", "selective"}
    assert "Every variant was scored on test (--score-all)" in Path(again, "README.md").read_text(encoding="utf-8")
