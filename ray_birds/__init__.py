"""ray-birds: fine-tune image classifiers as a Ray Tune sweep, then score any number of images to Parquet.

    import ray_birds

    sweep = ray_birds.tune(data="birds", unfreeze=[0, 10, 100])
    rows = ray_birds.predict(model=sweep.best, input=["birds/test"], output="predictions").to_pandas()

Each function takes its command's options by name (`ray-birds tune --help`, docs/), refuses an unknown one with the
nearest name, raises the exceptions of `ray_birds.core.errors`, prints nothing but progress, and returns an object.
A Ray that runs already is joined and left running. Importing this module imports nothing else.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from ray_birds.config import Tta
    from ray_birds.data.check import Check
    from ray_birds.prediction.result import Predictions
    from ray_birds.prediction.single import Model
    from ray_birds.sweep.results import Sweep

__version__ = "0.1.0"
__all__ = ["bundle", "check", "download", "export", "load", "predict", "read_sweep", "tune"]


def tune(**options: Any) -> "Sweep":
    """Fine-tune a classifier in many variants on a folder of labelled images, and keep the best.

    Args:
        **options: Those of `ray-birds tune`, such as `data`, `backbone`, `unfreeze`, `learning_rate`, `name`.

    Returns:
        The finished sweep: `trials` (a DataFrame), `winner`, `significance`, `best` (the bundle), `report`.

    Raises:
        SettingsError: An option that is none, or a value that cannot be used.
        RayBirdsError: Images, weights or a directory that are not what they should be; one line.

    Example:
        >>> sweep = ray_birds.tune(data="birds", backbone="EfficientNetB0", unfreeze=[0, 10, 100])
        >>> sweep.trials[["trial", "valid_accuracy"]]
    """
    from ray_birds.config import TuneConfig
    from ray_birds.sweep import run
    from ray_birds.sweep.results import Sweep

    return Sweep(run.sweep(TuneConfig.from_options(options), given=options.keys()))


def read_sweep(results: "str | os.PathLike[str]") -> "Sweep":
    """A finished sweep read again from its directory, such as `results/first`.

    Raises:
        OutputError: There is no finished sweep.
    """
    from ray_birds.sweep.results import Sweep

    return Sweep.at(results)


def predict(**options: Any) -> "Predictions":
    """Score images with a bundle and write one Parquet row per input file.

    Args:
        **options: Those of `ray-birds predict`: `model`, `input`, `output` and others.

    Returns:
        The rows: `to_pandas()`, `evaluation`, `failures`, `answer`, `manifest`, `report`.

    Raises:
        RayBirdsError: A model, an input or an output that cannot be used; one line.

    Example:
        >>> rows = ray_birds.predict(model="results/first/best", input=["birds/test"], output="predictions")
        >>> rows.to_pandas().groupby("label").correct.mean()
    """
    from ray_birds.config import PredictConfig
    from ray_birds.prediction import run

    return run.predict(PredictConfig.from_options(options))


def load(model: "str | os.PathLike[str]", tta: "Tta" = "none") -> "Model":
    """A bundle's model in this process, without Ray: `load("results/first/best").predict(["photo.jpg"])`.

    With `tta` "flip", probabilities are the means over an image and its mirror image.

    Raises:
        ModelError: There is no bundle, or a damaged one.
    """
    from ray_birds.prediction.single import Model

    return Model(model, tta)


def check(data: "str | os.PathLike[str]", **options: Any) -> "Check":
    """Say what is in a folder of labelled images; returns its `findings` (a DataFrame) and a `report`.

    Raises:
        DataError: There is nothing to look at.
    """
    from ray_birds.config import CheckConfig
    from ray_birds.data import check

    return check.check(CheckConfig.from_options({"data": data, **options}))


def bundle(**options: Any) -> str:
    """Make a bundle of any finished trial of a finished sweep, such as the cheaper one that is as good.

    Args:
        **options: Those of `ray-birds bundle`: `sweep`, `trial`, `output`.

    Returns:
        The bundle's path.

    Raises:
        RayBirdsError: A sweep, a trial or an output that cannot be used; one line.

    Example:
        >>> model = ray_birds.bundle(sweep="results/first", trial="plain-unfreeze0-lr0.001")
    """
    from ray_birds.config import BundleConfig
    from ray_birds.sweep import bundling

    return bundling.make_of(BundleConfig.from_options(options)).uri


def export(**options: Any) -> str:
    """Write a bundle, or finished predictions, in another form; returns its path.

    Args:
        **options: Those of `ray-birds export`: `model` or `predictions`, `format`, `output` and others.

    Raises:
        RayBirdsError: A bundle, predictions, a format or an output that cannot be used; one line.

    Example:
        >>> ray_birds.export(predictions="predictions", format="csv", output="predictions.csv")
    """
    from ray_birds.config import ExportConfig

    config = ExportConfig.from_options(options)
    if config.predictions:
        from ray_birds.prediction import export as rows

        return rows.export(config)
    from ray_birds.model import export as models

    return models.export(config)


def download(**options: Any) -> str:
    """Fetch a labelled data set and lay it out for a sweep; returns its folder.

    Raises:
        RayBirdsError: A source or an output that cannot be used; one line.
    """
    from ray_birds.config import DownloadConfig
    from ray_birds.data.sources import download

    return download.download(DownloadConfig.from_options(options))
