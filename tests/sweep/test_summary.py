"""The table that a sweep ends with on the terminal."""

from ray_birds.sweep.summary import headings


def test_test_accuracies_that_could_be_compared_are_not_for_choosing() -> None:
    columns = ("trial", "test_accuracy")
    winner, other = {"trial": "a", "test_accuracy": 0.9}, {"trial": "b", "test_accuracy": None}
    assert headings(columns, [winner, other]) == ["trial", "test_accuracy"]
    scored = {**other, "test_accuracy": 0.8}
    assert headings(columns, [winner, scored]) == ["trial", "test_accuracy, not for choosing"]
