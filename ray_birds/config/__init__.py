"""The options of each command: typed, checked when made. Nothing heavy is imported here."""

from ray_birds.config.bundle import BundleConfig
from ray_birds.config.check import CheckConfig
from ray_birds.config.demo import DemoConfig
from ray_birds.config.download import DownloadConfig
from ray_birds.config.export import HUB_NAME, MODEL_FORMATS, ROW_FORMATS, ExportConfig, Precision
from ray_birds.config.images import LABEL_COLUMNS
from ray_birds.config.predict import PredictConfig, Tta
from ray_birds.config.tune import ARTICLE, ARTICLE_EPOCHS, ARTICLE_RECIPE, TuneConfig, with_factors

__all__ = [
    "ARTICLE",
    "ARTICLE_EPOCHS",
    "ARTICLE_RECIPE",
    "HUB_NAME",
    "LABEL_COLUMNS",
    "MODEL_FORMATS",
    "ROW_FORMATS",
    "BundleConfig",
    "CheckConfig",
    "DemoConfig",
    "DownloadConfig",
    "ExportConfig",
    "Precision",
    "PredictConfig",
    "Tta",
    "TuneConfig",
    "with_factors",
]
