"""The model card: what it says is what was measured, and nothing of where."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ray_birds.config import ARTICLE_RECIPE
from ray_birds.core.text import markdown as escaped
from ray_birds.evaluation import metrics
from ray_birds.evaluation.metrics import Evaluation
from ray_birds.evaluation.recalls import Recall, Recalls
from ray_birds.model import card
from ray_birds.model.bundle import least_keras
from ray_birds.sweep.factors import Variant

NAMES = ("CORAL OWL", "MOSS TERN", "RED|BLUE_FINCH", "UNSEEN GULL")
VARIANT = Variant(augment="on", unfreeze=100, image_size=96, head_epochs=1, learning_rate=0.002)
DATA: dict[str, Any] = {
    "root": "/home/somebody/private/birds",
    "fingerprint": "0123456789abcdef",
    "classes": list(NAMES),
    "splits": {"train": 1234, "valid": 12, "test": 12},
    "notes": [],
    "bad_images": 0,
    "made": [],
}


SAID = ("The winner is a_b.", "Of the 12 valid images ...")
_ON_VALID = {"images": 12, "accepted": 9, "accuracy": {"value": 1.0, "low": 0.7, "high": 1.0}, "at_least": 0.9051}
_ON_TEST = {
    "images": 12,
    "accepted": 8,
    "accuracy": {"value": 0.875, "low": 0.529, "high": 0.978},
    "at_least": 0.5,
}
SELECTIVE: dict[str, Any] = {
    "0.9": {"threshold": 0.62, "valid": _ON_VALID, "test": _ON_TEST},
    "0.99": None,
}


def evaluation(*wrong: int, times: int = 1) -> Evaluation:
    """Twelve images of the first three classes in turn; those numbered in `wrong` are taken for the next.

    All that `times`.
    """
    labels = np.arange(12) % 3
    predictions = labels.copy()
    predictions[list(wrong)] = (labels[list(wrong)] + 1) % 3
    return metrics.evaluate(np.tile(labels, times), np.tile(predictions, times), NAMES)


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Cells of a section's table below its two heading lines; a bar behind a backslash is no edge."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def percent(estimate: metrics.Estimate) -> list[str]:
    value, low, high = (100 * number for number in estimate)
    return [f"{value:.1f} %", "too few images" if np.isnan(low) else f"{low:.1f} to {high:.1f} %"]


@pytest.fixture
def scores() -> dict[str, Evaluation]:
    """One mistake on valid; on test two with the first class, three with the third."""
    return {"valid": evaluation(1), "test": evaluation(0, 3, 2, 5, 8)}


@pytest.fixture
def text(scores: dict[str, Evaluation]) -> str:
    return card.markdown(VARIANT, "imagenet", DATA, scores, SAID, SELECTIVE, 4)


def test_it_names_the_earliest_keras_that_opens_the_model(text: str) -> None:
    assert f"It takes Keras {least_keras()} or later" in section(text, "How to load it")


def test_results_are_those_measured(text: str, scores: dict[str, Evaluation]) -> None:
    expected = [
        [split, "12", *percent(score.accuracy), *percent(score.macro_f1)] for split, score in scores.items()
    ]
    assert rows(section(text, "Results")) == expected
    assert expected[1][2] == "58.3 %" and expected[1][5] == "too few images"
    assert "- The winner is a\\_b.\n- Of the 12 valid images ..." in section(text, "Results")
    assert "(no interval: 4 images a class; with so few it comes out too low on average)" in text


def test_thresholds_are_those_measured_or_none(text: str) -> None:
    trust = section(text, "Which predictions to accept")
    assert rows(trust) == [
        ["90 %", "0.62", "9 of 12", "90.5 %", "8 of 12", "87.5 %", "52.9 to 97.8 %"],
        ["99 %", "none", *["–"] * 5],
    ]
    assert "Test had no say" in trust
    alone = {"0.9": {"threshold": 0.62, "valid": _ON_VALID}, "0.99": None}
    text = card.markdown(VARIANT, "imagenet", DATA, {"valid": evaluation(1)}, SAID, alone, 4)
    assert rows(section(text, "Which predictions to accept"))[0] == ["90 %", "0.62", "9 of 12", "90.5 %"]


def test_weak_classes_are_those_of_test_worst_first(scores: dict[str, Evaluation]) -> None:
    scores = scores | {"test": evaluation(0, 3, 2, 5, 8, times=2)}
    third, first = scores["test"].per_class[2], scores["test"].per_class[0]
    weak = section(card.markdown(VARIANT, "imagenet", DATA, scores, SAID, SELECTIVE, 4), "Weak classes")
    assert rows(weak) == [
        ["RED\\|BLUE\\_FINCH", "8", *percent(third.recall)],
        ["CORAL OWL", "8", *percent(first.recall)],
    ]
    assert "2 of 3 classes had mistakes on test" in weak
    assert "RED\\|BLUE\\_FINCH for CORAL OWL (6 of 8); CORAL OWL for MOSS TERN (4 of 8)." in weak


def test_of_few_images_none_is_called_weak(text: str) -> None:
    weak = section(text, "Weak classes")
    assert "2 of 3 classes had mistakes on test. None of these has 5 images there: too few" in weak
    assert not rows(weak) and "taken" not in weak


def test_many_images_make_a_class_weak_more_surely_than_few() -> None:
    labels = np.array([0] * 40 + [1] * 1 + [2] * 9)
    predictions = np.array([0] * 20 + [2] * 20 + [2] + [2] * 9)
    text = card.markdown(
        VARIANT,
        "imagenet",
        DATA,
        {"valid": metrics.evaluate(labels, predictions, NAMES)},
        SAID,
        SELECTIVE,
        4,
    )
    assert [row[:3] for row in rows(section(text, "Weak classes"))] == [
        ["CORAL OWL", "40", "50.0 %"],
        ["MOSS TERN", "1", "0.0 %"],
    ]


def test_without_test_it_takes_valid() -> None:
    text = card.markdown(VARIANT, "imagenet", DATA, {"valid": evaluation(1, times=2)}, SAID, SELECTIVE, 4)
    assert "| test |" not in section(text, "Results")
    assert [row[0] for row in rows(section(text, "Weak classes"))] == ["MOSS TERN"]


def test_of_uneven_classes_the_rarest_are_told_before_and_after(scores: dict[str, Evaluation]) -> None:
    before, after = metrics.wilson(2, 8), metrics.wilson(6, 8)
    found = Recalls(
        "plain", "aug", tuple(Recall(name, 5 * n, 8, before, after) for n, name in enumerate(NAMES, 1))
    )
    text = card.markdown(VARIANT, "imagenet", DATA, scores, SAID, SELECTIVE, 4, found)
    assert rows(section(text, "Classes of few training images")) == [
        [escaped(name), str(5 * n), "8", *percent(before), *percent(after)] for n, name in enumerate(NAMES, 1)
    ]
    assert "few training images" not in card.markdown(VARIANT, "imagenet", DATA, scores, SAID, SELECTIVE, 4)


def test_without_mistakes_no_class_is_called_weak() -> None:
    text = card.markdown(
        VARIANT, "imagenet", DATA, {"valid": evaluation(), "test": evaluation()}, SAID, SELECTIVE, 4
    )
    assert section(text, "Weak classes").strip() == "None is known: every image of test was recognised."
    assert "nan" not in text


def test_the_recipe(scores: dict[str, Evaluation]) -> None:
    def recipe(**changes: Any) -> str:
        return section(
            card.markdown(replace(VARIANT, **changes), "imagenet", DATA, scores, SAID, SELECTIVE, 4), "Recipe"
        )

    assert "EfficientNetB0 with ImageNet weights, 96 x 96 pixels" in recipe()
    assert "1 epoch with Adam at 0.002" in recipe(head="adam")
    assert "solved to convergence on frozen layers" in recipe()
    assert (
        "Fine-tuning: the last 100 layers of the backbone, 8 epochs, AdamW (decay 0.02) at 0.001 after a warm-up "
        "of 0.5 epochs, falling to 0 as a cosine, label smoothing 0.1\n"
    ) in recipe()
    assert "the last 100 layers of the backbone, 8 epochs, Adam at 0.0002\n" in recipe(**ARTICLE_RECIPE)
    assert "Weights: those of epoch 4, the best on valid\n" in recipe()
    assert "epoch 4, the last\n" in recipe(keep="last")
    assert "Augmentation: random flip, rotation, zoom, height and width, " in recipe(augment="article")
    assert "Fine-tuning: all layers of the backbone" in recipe(unfreeze="all")
    assert "Fine-tuning: none\n" in recipe(unfreeze=0)
    assert "a new view in every epoch" in recipe(head="adam") and "4 views of each" in recipe(augment_views=4)
    assert "contrast, 1 view of each" in recipe() and "5 views of each" in recipe(head_epochs=5)
    assert "Augmentation: none\n" in recipe(augment="off")
    assert "Dropout" not in recipe() and "- Dropout: 0.2\n" in recipe(dropout=0.2)


def test_the_data_and_no_path_of_the_machine(scores: dict[str, Evaluation]) -> None:
    data = {**DATA, "bad_images": 7, "made": ["valid", "test"]}
    text = card.markdown(VARIANT, "/home/somebody/weights/birds.weights.h5", data, scores, SAID, SELECTIVE, 4)
    assert "`birds`, 4 classes, 7 unreadable images left out." in section(text, "Data")
    assert rows(section(text, "Data")) == [["train", "1,234"], ["valid", "12"], ["test", "12"]]
    assert DATA["fingerprint"] in text and "`birds.weights.h5`" in text
    assert "valid and test had no folder and were taken from train." in text
    assert "somebody" not in text


def test_a_place_in_an_object_store_is_named_by_its_last_part(scores: dict[str, Evaluation]) -> None:
    data = {**DATA, "root": "s3://bucket/photos/birds?region=eu-west-1"}
    text = card.markdown(VARIANT, "none", data, scores, SAID, SELECTIVE, 4)
    assert "# 4 classes of birds\n" in text and "random weights" in text and "bucket" not in text


def test_names_that_are_markdown_are_shown_as_they_are(scores: dict[str, Evaluation]) -> None:
    text = card.markdown(
        VARIANT, "/w/`rm`\n# x", DATA | {"root": "/data/b_rds_ `x`\n## heading"}, scores, SAID, SELECTIVE, 4
    )
    assert text.splitlines()[0] == "# 4 classes of b\\_rds\\_ \\`x\\`\\\\n\\#\\# heading"
    assert "`b_rds_ 'x'\\n## heading`" in text and "the weights `'rm'\\n# x`" in text
    assert sum(line.startswith("#") for line in text.splitlines()) == text.count("\n## ") + 1
