"""The pictures and the self-contained pages at the end of a sweep, of a prediction job and of a check."""

from ray_birds.report.check import write_check_report
from ray_birds.report.photo import write_photo
from ray_birds.report.prediction import write_prediction_report
from ray_birds.report.sweep import write_sweep_report

__all__ = ["write_check_report", "write_photo", "write_prediction_report", "write_sweep_report"]
