"""What the recipe of fine-tuning changes in a step."""

import dataclasses

import keras
import numpy as np
import pytest

from ray_birds.model import train_step
from ray_birds.model.cut import POOLED, CutPoint
from ray_birds.model.train_step import Recipe, Shape

pytestmark = pytest.mark.keras

SHAPE = Shape("unused", "none", 32, 0, 4, "float32", *2 * (CutPoint(POOLED, (6,)),))


def test_weight_decay_spares_biases_and_batch_normalisation() -> None:
    """Without gradients only the decay moves anything: by rate x decay of each kernel, and nothing else."""
    kernel, bias = keras.Variable(np.ones((3, 2))), keras.Variable(np.ones(2))
    optimizer = Recipe("adamw", weight_decay=0.5).make_optimizer([kernel, bias])
    optimizer.build([kernel, bias])
    optimizer.learning_rate.assign(0.1)
    optimizer.apply([np.zeros((3, 2), np.float32), np.zeros(2, np.float32)], [kernel, bias])
    np.testing.assert_allclose(kernel.numpy(), 0.95)
    np.testing.assert_array_equal(bias.numpy(), 1)


def test_smoothing_gives_a_share_of_each_label_to_all_classes() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], np.float32)
    wanted = 0.7 * np.eye(3)[[0, 2]] + 0.3 / 3
    ours = Recipe(label_smoothing=0.3).losses(np.array([0, 2], np.int32), scores)
    np.testing.assert_allclose(ours, -(wanted * np.log(scores)).sum(axis=1), rtol=1e-5)


def test_focal_loss_is_that_of_its_paper() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], np.float32)
    own = np.array([0.7, 0.4])
    np.testing.assert_allclose(
        Recipe(loss="focal").losses(np.array([0, 2], np.int32), scores), -((1 - own) ** 2) * np.log(own), rtol=1e-5
    )


def test_an_image_that_weighs_twice_as_much_counts_as_two() -> None:
    """Plain gradient descent's step, seen through Adam's first moment."""
    features = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    labels = np.array([0, 1, 3], np.int32)
    moments = []
    for rows, weights in (([0, 1, 2], np.array([0.75, 1.5, 0.75], np.float32)), ([0, 1, 1, 2], 1.0)):
        stage = train_step.Stages().get(SHAPE, in_head=True)
        stage.reset(seed=1)
        stage.step(features[rows], labels[rows], 0.1, weights)
        moments.append([variable.numpy() for variable in stage.optimizer.variables if "momentum" in variable.path])
    assert moments[0]
    for one, other in zip(*moments, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-8)


def test_xla_is_given_batches_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stage that takes this machine for one with a GPU; the rows that fill up a last batch change nothing."""
    rng, told = np.random.default_rng(0), []
    batches = [(rng.normal(size=(n, 6)).astype(np.float32), np.arange(n, dtype=np.int32) % 4) for n in (5, 5, 3)]
    for devices in ([], ["a GPU"]):
        monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind, found=devices: found)
        stage = train_step.Stages().get(dataclasses.replace(SHAPE, fine_tuning=Recipe("adamw", 0.02, 0.1)), False)
        stage.reset(seed=1)
        steps = [[float(value) for value in stage.step(*batch, 0.1)] for batch in batches]
        told.append((steps, stage.predict(batches[0][0]).numpy()))
        assert stage._lack(2) == (3 if devices else 0)
        stage.reset(seed=2)
        assert stage._lack(2) == 0  # of a trial with smaller batches none is filled up to those of another
    np.testing.assert_allclose(told[0][0], told[1][0], rtol=1e-5)
    np.testing.assert_allclose(told[0][1], told[1][1], rtol=1e-5)


def test_recipes_are_of_fine_tuning_alone_and_stages_of_others_are_not_shared() -> None:
    ours = dataclasses.replace(SHAPE, fine_tuning=Recipe("adamw", 0.02, 0.1))
    stages = train_step.Stages()
    head, tail = (stages.get(ours, in_head) for in_head in (True, False))
    assert type(head.optimizer) is keras.optimizers.Adam and type(tail.optimizer) is keras.optimizers.AdamW
    assert stages.get(ours, in_head=True) is head
    assert stages.get(SHAPE, in_head=True) is not head


def test_the_loss_that_is_reported_is_without_smoothing() -> None:
    stage = train_step.Stages().get(dataclasses.replace(SHAPE, fine_tuning=Recipe("adamw", 0.02, 0.5)), False)
    stage.reset(seed=1)
    features, labels = (
        np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32),
        np.array([0, 1, 3], np.int32),
    )
    scores = stage.predict(features).numpy()
    loss, hits = stage.step(features, labels, 0.1)
    assert float(loss) == pytest.approx(-np.log(scores[np.arange(3), labels]).sum(), rel=1e-5)
    assert float(hits) == (scores.argmax(axis=1) == labels).sum()


FEATURES = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
LABELS = np.arange(8, dtype=np.int32) % 4


def stage(**recipe: float) -> train_step.Stage:
    """One of fine-tuning, ready for a trial with seed 1."""
    made = train_step.Stages().get(dataclasses.replace(SHAPE, fine_tuning=Recipe(**recipe)), in_head=False)  # type: ignore[arg-type]
    made.reset(seed=1)
    made.load({})
    return made


def test_dropout_is_another_one_in_each_step_and_the_same_when_it_is_done_again() -> None:
    one = stage(dropout=0.5)
    plain = float(stage().step(FEATURES, LABELS, 0.0)[0])
    losses = [float(one.step(FEATURES, LABELS, 0.0)[0]) for _ in range(3)]
    assert len({plain, *losses}) == 4
    assert (one.predict(FEATURES).numpy() == one.predict(FEATURES).numpy()).all()
    one.reset(seed=1)
    one.step(FEATURES, LABELS, 0.0)
    weights, optimizer = one.state()
    one.reset(seed=1)
    one.load(weights, optimizer)
    assert [float(one.step(FEATURES, LABELS, 0.0)[0]) for _ in range(2)] == losses[1:]
    one.reset(seed=2)
    assert float(one.step(FEATURES, LABELS, 0.0)[0]) != losses[0]


def test_the_average_of_weights_is_the_exponential_one() -> None:
    """From the weights after the first step on, as Keras has it."""
    one = stage(ema=0.8)
    one.step(FEATURES, LABELS, 0.1)
    average = weights = one.state()[0]["head/kernel"]
    for _ in range(3):
        one.step(FEATURES, LABELS, 0.1)
        weights = one.state()[0]["head/kernel"]
        average = 0.8 * average + 0.2 * weights
    one.swap()
    np.testing.assert_allclose(one.state()[0]["head/kernel"], average, rtol=1e-5, atol=1e-7)
    one.swap()
    np.testing.assert_array_equal(one.state()[0]["head/kernel"], weights)


def test_a_gradient_is_scaled_down_to_the_norm_that_it_may_have() -> None:
    """Seen through Adam's first moment, a tenth of the first gradient."""
    norms = {}
    for most in (0.0, 0.01, 100.0):
        one = stage(clip_norm=most)
        one.step(FEATURES, LABELS, 0.1)
        moments = [variable.numpy() for variable in one.optimizer.variables if "momentum" in variable.path]
        norms[most] = 10 * np.sqrt(sum((moment**2).sum() for moment in moments))
    assert norms[0.01] == pytest.approx(0.01, rel=1e-4)
    assert norms[0.0] == pytest.approx(norms[100.0]) and norms[0.0] > 0.1
