"""Trials compared on valid: copies of training images have no say in what is said, and all that was picked is."""

import numpy as np
import pytest

from ray_birds.evaluation.cost import Cost
from ray_birds.sweep.comparison import compare
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.outcome import Predictions, Trial

PATHS = np.array([f"valid/OWL/{number}.jpg" for number in range(40)], object)


def trial(name: str, right: np.ndarray, variant: Variant) -> Trial:
    names = np.full(len(PATHS), "OWL", object)
    valid = Predictions(PATHS, names, np.where(right, names, "TERN"), np.ones(len(PATHS)), right)
    history = tuple(
        Epoch(number, "head", 0.0, 0.1, 1.0, 0.5, valid.accuracy, 1.0, 10.0, 32, valid.accuracy)
        for number in range(1, variant.epochs + 1)
    )
    return Trial(name, variant, name, "", 0.0, 0, Cost(10), history, valid, None)


def test_copies_are_left_out_of_what_is_said_and_not_of_the_choice() -> None:
    """`a` wins by the ten copies that it remembers; of new images it has fewer right than `b`."""
    number = np.arange(40)
    variant = Variant(unfreeze=0, head="adam", head_epochs=2)
    found = [trial("a", (number < 10) | (number >= 17), variant), trial("b", number >= 8, variant)]
    copies = {"valid": tuple(PATHS[:10]), "test": ()}
    said = compare(found, "a", 1.0, copies)
    assert (said.winner, said.images, said.copies, said.whole) == ("a", 30, 10, 33 / 40)
    assert said.accuracy.value == 23 / 30 and said.comparisons[0].difference.value == pytest.approx(-7 / 30)
    assert "10 of 40 have one and do not count; with them it would be 82.5 %." in said.text
    assert "By accuracy without copies, these are better: b (ahead by 23.3 points" in said.text
    assert said.tuned == ("epoch",)
    assert compare(found, "a", 1.0, {"test": ()}).images == 40


def test_where_all_of_valid_are_copies_it_is_said() -> None:
    found = [trial("a", np.arange(40) < 30, Variant(unfreeze=0))]
    said = compare(found, "a", 1.0, {"valid": tuple(PATHS)})
    assert (said.images, said.nothing_new, said.tuned) == (40, True, ("head's penalty",))
    assert "nothing said of them holds for new images" in said.text and "where they do not say" not in said.text
