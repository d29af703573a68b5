"""Which epoch of a trial counts, and when a trial has ended."""

import math

import pytest

from ray_birds.sweep import epochs
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import Variant


def history(*valid: tuple[float, float]) -> list[Epoch]:
    """Epochs with these valid accuracies and losses."""
    return [
        Epoch(number, "head", 1e-3, 1.0, 0.5, loss, accuracy, 1.0, 20.0, 32, 1 - accuracy)
        for number, (accuracy, loss) in enumerate(valid, 1)
    ]


@pytest.mark.parametrize(
    ("valid", "best"),
    [
        ([(0.5, 1.0), (0.7, 2.0), (0.6, 0.5)], 2),  # accuracy comes first
        ([(0.7, 1.0), (0.7, 0.5), (0.7, 0.8)], 2),  # then loss
        ([(0.7, 0.5), (0.7, 0.5)], 1),  # of equal ones the first
        ([(0.7, math.nan), (0.7, 3.0)], 2),  # no loss is no reason
    ],
)
def test_the_epoch_that_is_kept(valid: list[tuple[float, float]], best: int) -> None:
    found = history(*valid)
    assert epochs.kept(found, Variant()).epoch == best
    assert epochs.kept(found, Variant(keep="last")).epoch == len(valid)


RISING, FALLING = [(0.1 * number, 1.0) for number in range(1, 7)], [(0.9, 1.0), *5 * [(0.5, 1.0)]]


@pytest.mark.parametrize(
    ("variant", "valid", "expected"),
    [
        (Variant(unfreeze=10, fine_tune_epochs=5), FALLING, 6),  # without patience: all of 1 + 5 epochs
        (Variant(unfreeze=10, patience=2), FALLING, 3),  # two of fine-tuning that are no better than the head
        (Variant(unfreeze=10, patience=2, fine_tune_epochs=5), RISING, 6),
        (Variant(unfreeze=10, patience=2), [(0.1, 1.0), (0.9, 1.0), *4 * [(0.5, 1.0)]], 4),
        (Variant(head="adam", head_epochs=3, fine_tune_epochs=3, unfreeze=10, patience=1), FALLING, 4),
        (Variant(head="adam", head_epochs=6, patience=1), FALLING, 2),
        (Variant(), FALLING, 1),
    ],
)
def test_when_a_trial_has_ended(variant: Variant, valid: list[tuple[float, float]], expected: int) -> None:
    found = history(*valid)
    assert next(count for count in range(7) if epochs.ended(found[:count], variant)) == expected


def test_what_is_best_is_the_user_s_to_say() -> None:
    """Macro F1 is least here where accuracy is best."""
    found = history((0.5, 1.0), (0.7, 2.0), (0.6, 0.5))
    kept = {by: epochs.kept(found, Variant(select_by=by)).epoch for by in ("accuracy", "macro_f1", "loss")}
    assert kept == {"accuracy": 2, "macro_f1": 1, "loss": 3}
