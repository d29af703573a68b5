"""Recall by class, before and after."""

import math

import numpy as np
import pytest

from ray_birds.evaluation import recalls
from ray_birds.evaluation.metrics import wilson
from ray_birds.evaluation.recalls import Recall, Recalls

NAMES = ("OWL", "FINCH", "TERN")


@pytest.mark.parametrize(
    ("trained", "told"), [([10, 19, 12], False), ([10, 20, 12], True), ([5], False), ([0, 3], True), ((), False)]
)
def test_classes_are_uneven_from_twice_the_images_on(trained: list[int], told: bool) -> None:
    assert recalls.uneven(trained) == told


def test_classes_come_rarest_first_with_recall_before_and_after() -> None:
    labels = np.array([0] * 8 + [1] * 3)
    before, after = labels.copy(), labels.copy()
    before[:6], after[:2], after[-1] = 1, 2, 0
    found = recalls.by_class(NAMES, [40, 10, 5], labels, before, after)
    assert [(one.name, one.trained, one.images) for one in found] == [("FINCH", 10, 3), ("OWL", 40, 8)]  # no TERN
    finch, owl = found
    assert (owl.before, owl.after) == (wilson(2, 8), wilson(6, 8))
    assert finch.before.value == 1 and finch.after.value == pytest.approx(2 / 3) and math.isnan(finch.after.low)


def test_the_sentence_says_what_is_compared_on_what() -> None:
    one = [Recall(name, trained, 8, wilson(2, 8), wilson(6, 8)) for name, trained in (("A", 7), ("B", 1234))]
    said = Recalls("plain-unfreeze0", "aug-unfreeze10", tuple(one)).sentence
    assert said.startswith("Classes are uneven: from 7 to 1,234 training images.")
    assert "before: of plain-unfreeze0," in said and "after: of aug-unfreeze10, which was chosen on these" in said
