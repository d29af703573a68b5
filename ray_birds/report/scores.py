"""What both pages show of one model's labelled predictions: evaluation, confusion, scores by class."""

from dataclasses import dataclass

import numpy as np

from ray_birds import metrics
from ray_birds.metrics import ClassScore, Evaluation
from ray_birds.report import score_charts
from ray_birds.report.charts import Chart
from ray_birds.report.results import Predictions

SHOWN = 25  # classes in the chart of the weakest


@dataclass(frozen=True)
class Scores:
    """`by_class` has the classes that have images, lowest F1 first; `split` names what was scored."""

    split: str
    evaluation: Evaluation
    by_class: list[ClassScore]
    calibration_error: float
    confusion: Chart
    worst: Chart
    certainty: Chart
    reliability: Chart

    @property
    def charts(self) -> list[Chart]:
        return [self.confusion, self.worst, self.certainty, self.reliability]


def score(rows: Predictions, names: list[str], split: str, ranked: np.ndarray | None = None) -> Scores:
    """Scores of `rows`, whose labels and predictions are among `names`; `ranked` (n, k) are class numbers."""
    place = {name: number for number, name in enumerate(names)}
    labels = np.array([place[label] for label in rows.label])
    predictions = np.array([place[prediction] for prediction in rows.prediction])
    evaluation = metrics.evaluate(labels, predictions, names, ranked)
    by_class = [one for one in evaluation.per_class if one.support]
    by_class.sort(key=lambda one: (one.f1.value, -one.support, one.name))
    matrix = metrics.confusion(labels, predictions, len(names))
    return Scores(
        split=split,
        evaluation=evaluation,
        by_class=by_class,
        calibration_error=metrics.calibration_error(rows.probability, rows.correct),
        confusion=score_charts.confusion(matrix, names, split),
        worst=score_charts.worst_classes(by_class[:SHOWN], split),
        certainty=score_charts.certainty(rows.probability, rows.correct),
        reliability=score_charts.reliability(rows.probability, rows.correct),
    )
