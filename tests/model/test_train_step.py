"""What the recipe of fine-tuning changes in a step."""

import dataclasses

import keras
import numpy as np
import pytest

from ray_birds.model import train_step
from ray_birds.model.cut import POOLED, CutPoint
from ray_birds.model.train_step import Recipe, Shape

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
    ours = Recipe(label_smoothing=0.3).smoothed(np.array([0, 2], np.int32), scores)
    np.testing.assert_allclose(ours, -(wanted * np.log(scores)).sum(axis=1), rtol=1e-5)


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
