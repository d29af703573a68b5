"""Charts of long names: they keep their width, and nothing is said of it."""

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from ray_birds.evaluation import metrics
from ray_birds.report import charts, outdoor_charts, score_charts
from ray_birds.report.charts import Chart

LONG = tuple(
    f"{letter}{'a long name of a class ' * 3}{number:>7}".replace(" ", "_") for number, letter in enumerate("ABC")
)
WIDE = tuple(letter * 80 for letter in "WM鶯")


def evaluation(names: tuple[str, ...]) -> metrics.Evaluation:
    labels = np.arange(30) % 3
    predictions = np.where(np.arange(30) % 7, labels, (labels + 1) % 3)
    return metrics.evaluate(labels, predictions, names)


DRAWN: dict[str, Callable[[tuple[str, ...]], Chart]] = {
    "f1": lambda names: score_charts.worst_classes(evaluation(names).per_class, "test"),
    "confusion": lambda names: score_charts.confusion(np.eye(3, dtype=int), names, "test"),
    "hours": lambda names: outdoor_charts.by_hour(names, np.eye(3, 24, dtype=int)),
    "most found": lambda names: score_charts.most_found(names, [1, 2, 3]),
}


@cache
def short(kind: str) -> Chart:
    """The same chart of names that fit."""
    return DRAWN[kind](("A", "B", "C"))


@pytest.mark.parametrize("names", [LONG, WIDE], ids=["long", "wide"])
@pytest.mark.parametrize("kind", DRAWN)
def test_names_of_80_characters(kind: str, names: tuple[str, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        chart = DRAWN[kind](names)
        assert chart.png()
        plain = short(kind)
    axes, usual = (one.figure.axes[0].get_position().width * one.width for one in (chart, plain))
    assert axes > (0.9 if kind != "confusion" else 0.4) * usual


def test_what_is_left_of_a_name() -> None:
    assert charts.fitted("x" * 52, 52) == "x" * 52
    shown = [charts.fitted(name, 52) for name in LONG]
    assert len(set(shown)) == 3 and {len(name) for name in shown} == {52}
    assert all(
        short[:30] == name[:30] and short[-10:] == name[-10:] for short, name in zip(shown, LONG, strict=True)
    )
    assert len(charts.fitted("鶯" * 80, 52)) == 26
