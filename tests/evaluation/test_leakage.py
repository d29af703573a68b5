"""Accuracy apart for images that the model has seen: only the others make a headline."""

import math

import numpy as np

from ray_birds.evaluation.leakage import counted, held_out
from ray_birds.evaluation.metrics import wilson

CORRECT = np.array([1, 1, 1, 0, 1, 0, 0, 1], bool)
SEEN = np.array([1, 1, 0, 0, 0, 0, 1, 0], bool)


def test_counts_by_hand() -> None:
    found = held_out("test", CORRECT, SEEN)
    assert (found.images, found.right, found.seen, found.seen_right, found.unseen) == (8, 5, 3, 2, 5)
    assert (found.accuracy, found.of_seen, found.of_all) == (wilson(3, 5), wilson(2, 3), wilson(5, 8))
    assert found.to_json() == {"seen": {"images": 3, "accuracy": wilson(2, 3).to_json()}}


def test_without_copies_nothing_is_said_of_them() -> None:
    found = held_out("test", CORRECT)
    assert found.accuracy == found.of_all == wilson(5, 8)
    assert found.sentence == "Of the 8 test images 62.5 % (95 % interval 30.6 to 86.3 %) are named right."


def test_scores_are_of_what_is_no_copy_or_of_all_where_nothing_else_is_there() -> None:
    assert counted(SEEN).tolist() == (~SEEN).tolist()
    assert counted(np.ones(8, bool)).all() and counted(np.zeros(8, bool)).all()


def test_where_all_are_copies_there_is_no_accuracy() -> None:
    found = held_out("test", CORRECT, np.ones(8, bool))
    assert math.isnan(found.accuracy.value) and "says nothing of new images" in found.sentence


def test_one_image_is_spoken_of_as_one() -> None:
    one = np.ones(1, bool)
    assert held_out("test", one).sentence == (
        "Of the 1 test image 100.0 % (95 % interval 20.7 to 100.0 %) is named right."
    )
    assert held_out("test", one, one).sentence == (
        "The only test image has a copy or look-alike in train or valid: that it is named right says nothing of "
        "new images."
    )
    assert held_out("valid", CORRECT[:2], SEEN[1:3]).sentence == (
        "Of the 1 valid image that has no copy or look-alike in train 100.0 % (95 % interval 20.7 to 100.0 %) is "
        "named right. "
        "1 of 2 has one and does not count; with it it would be 100.0 %."
    )
