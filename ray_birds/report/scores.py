"""What the reports show of one model's labelled predictions: evaluation, confusion, scores by class."""

from dataclasses import dataclass

import numpy as np

from ray_birds.evaluation.calibration import Calibration, Certainty, calibrate
from ray_birds.evaluation.metrics import ClassScore, Evaluation
from ray_birds.report import score_charts
from ray_birds.report.charts import Chart

SHOWN = 25  # classes in the chart of the weakest


@dataclass(frozen=True)
class Scores:
    """`by_class` has the classes that have images, lowest F1 first; `split` names what was scored."""

    split: str
    evaluation: Evaluation
    by_class: list[ClassScore]
    calibration: Calibration
    confusion: Chart
    worst: Chart
    reliability: Chart

    @property
    def charts(self) -> list[Chart]:
        return [self.confusion, self.worst, self.reliability]


def score(evaluation: Evaluation, certainty: Certainty, split: str) -> Scores:
    """`certainty` is that of the images evaluated."""
    by_class = [one for one in evaluation.per_class if one.support]
    by_class.sort(key=lambda one: (one.f1.value, -one.support, one.name))
    # A job may have labels of a few of the model's classes: the others would only take room.
    seen = np.flatnonzero([one.support + one.predicted for one in evaluation.per_class])
    names = [evaluation.per_class[number].name for number in seen]
    return Scores(
        split=split,
        evaluation=evaluation,
        by_class=by_class,
        calibration=calibrate(certainty),
        confusion=score_charts.confusion(evaluation.matrix[np.ix_(seen, seen)], names, split),
        worst=score_charts.worst_classes(by_class[:SHOWN], split),
        reliability=score_charts.reliability(certainty),
    )
