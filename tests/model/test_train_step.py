"""A step of each recipe: resumed exactly after a kill, and regularised where it should be."""

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from ray_birds.model import backbones, train_step
from ray_birds.model.recipe import Recipe, make_optimizer
from ray_birds.model.schedule import Schedule
from ray_birds.model.train_step import Shape, Stage

OURS = Recipe("adamw", weight_decay=0.1, clip=1.0, ema=0.9, label_smoothing=0.1, dropout=0.3)
STEPS = 6


@pytest.fixture(scope="module")
def shape() -> Iterator[Shape]:
    """The last three layers of a small network: convolution, BatchNorm, activation."""
    about = backbones.describe("MobileNetV2-0.35", "none", 32, (0, 3))
    yield Shape("MobileNetV2-0.35", "none", 32, 3, 4, "float32", about.pooled, about.cut_points[3], recipe=OURS)
    keras.utils.clear_session()


def run(stage: Stage, steps: range, seed: int = 7) -> list[float]:
    """Losses of these steps of one fixed trial."""
    schedule = Schedule(0.01, STEPS, warmup=2, kind="cosine")
    found = []
    for step in steps:
        random = np.random.default_rng(step)
        features = random.standard_normal((8, *stage._model.input.shape[1:])).astype(np.float32)
        labels = random.integers(0, 4, 8).astype(np.int32)
        stage.set_rate(schedule.rate(step))
        found.append(
            float(stage.step(features, labels, (seed, step), np.linspace(0.5, 1.5, 8, dtype=np.float32))[0])
        )
    return found


def test_killed_in_mid_schedule_it_ends_with_the_same_numbers(shape: Shape) -> None:
    undisturbed = Stage(shape, in_head=False)
    undisturbed.reset(0.0, seed=1)
    losses = run(undisturbed, range(STEPS))
    killed, resumed = Stage(shape, in_head=False), Stage(shape, in_head=False)
    killed.reset(0.0, seed=1)
    run(killed, range(4))
    resumed.reset(0.0, seed=1)
    resumed.load(*killed.state())
    assert run(resumed, range(4, STEPS)) == losses[4:]
    for ours, theirs in zip(resumed.state()[1], undisturbed.state()[1], strict=True):
        assert np.array_equal(ours, theirs)  # moments, iterations and the moving average
    for path, value in undisturbed.state()[0].items():
        assert np.array_equal(resumed.state()[0][path], value)


def test_the_seed_draws_the_dropout_and_predictions_have_none(shape: Shape) -> None:
    stage = Stage(shape, in_head=False)
    outcomes = []
    for seed in (1, 1, 2):
        stage.reset(0.0, seed=1)
        outcomes.append(run(stage, range(1), seed))
    assert outcomes[0] == outcomes[1] != outcomes[2]
    features = np.ones((2, *shape.tail.shape), np.float32)
    assert np.array_equal(stage.predict(features), stage.predict(features))


def test_the_moving_average_is_that_of_the_weights_after_each_step(shape: Shape) -> None:
    stage = Stage(shape, in_head=False)
    stage.reset(0.0, seed=1)
    expected = None
    for step in range(4):
        run(stage, range(step, step + 1))
        kernel = stage.state()[0]["head/kernel"].astype(np.float64)
        expected = kernel if expected is None else 0.9 * expected + 0.1 * kernel
    with stage.averaged():
        np.testing.assert_allclose(stage.state()[0]["head/kernel"], expected, atol=1e-6)
    assert np.array_equal(stage.state()[0]["head/kernel"], kernel.astype(np.float32))


def test_weight_decay_spares_biases_and_batch_normalisation() -> None:
    """Without gradients only the decay moves anything: by rate x decay of each kernel, and nothing else."""
    kernel, bias = keras.Variable(np.ones((3, 2))), keras.Variable(np.ones(2))
    optimizer = make_optimizer(Recipe("adamw", weight_decay=0.5), [kernel, bias])
    optimizer.build([kernel, bias])
    optimizer.learning_rate.assign(0.1)
    optimizer.apply([np.zeros((3, 2), np.float32), np.zeros(2, np.float32)], [kernel, bias])
    np.testing.assert_allclose(kernel.numpy(), 0.95)
    np.testing.assert_array_equal(bias.numpy(), 1)


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    values = [keras.Variable(np.zeros(2)), keras.Variable(np.zeros(1))]
    optimizer = make_optimizer(Recipe("adamw", clip=1.0), values)
    optimizer.build(values)
    optimizer.apply([np.array([30.0, 0.0], np.float32), np.array([40.0], np.float32)], values)
    first_moments = [each.numpy() for each in optimizer._momentums]
    np.testing.assert_allclose(np.concatenate(first_moments), [0.06, 0, 0.08], rtol=1e-5)  # a tenth of 0.6, 0.8


def test_a_weight_of_nothing_leaves_the_model_as_it_is(shape: Shape) -> None:
    plain = dataclasses.replace(shape, recipe=Recipe())
    stage = Stage(plain, in_head=False)
    stage.reset(0.1, seed=1)
    before = stage.state()[0]
    stage.step(np.ones((2, *shape.tail.shape), np.float32), np.zeros(2, np.int32), weights=np.zeros(2, np.float32))
    for path, value in stage.state()[0].items():
        np.testing.assert_allclose(value, before[path], atol=1e-7)


def test_stages_of_other_recipes_are_not_shared(shape: Shape) -> None:
    stages = train_step.Stages()
    first = stages.get(shape, in_head=True)
    assert stages.get(shape, in_head=True) is first
    assert stages.get(dataclasses.replace(shape, recipe=Recipe()), in_head=True) is not first
