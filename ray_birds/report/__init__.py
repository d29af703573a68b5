"""The pictures and the self-contained pages at the end of a sweep and of a prediction job."""

from ray_birds.report.photo import write_photo
from ray_birds.report.prediction import write_prediction_report
from ray_birds.report.sweep import write_sweep_report

__all__ = ["write_photo", "write_prediction_report", "write_sweep_report"]
