"""The options of `tune`; those of a sweep's factors are made from their declarations in sweep/factors.py."""

import dataclasses
import math
import re
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from ray_birds.config.images import LabelledImages, check_size
from ray_birds.config.predict import Tta
from ray_birds.core.settings import Settings, check, option
from ray_birds.sweep import factors
from ray_birds.sweep.factors import Factor, Variant

# How the article trains: what the preset fixes beside the four models that the article compares.
ARTICLE_RECIPE: dict[str, Any] = {
    "resize": "stretch",
    "head": "adam",
    "optimizer": "adam",
    "weight_decay": 0.0,
    "schedule": "constant",
    "label_smoothing": 0.0,
    "fine_tune_factor": 0.1,
    "warmup_epochs": 0.0,
    "keep": "last",
    "patience": 0,
}
ARTICLE_EPOCHS = 5  # of fine-tuning
_CREDENTIALS = re.compile(r"://.*@|(key|secret|token|passw\w*)=", re.IGNORECASE)
ARTICLE: tuple[dict[str, Any], ...] = (
    {"augment": "off", "unfreeze": 0, **ARTICLE_RECIPE},
    {"augment": "article", "unfreeze": 0, **ARTICLE_RECIPE},
    {"augment": "article", "unfreeze": 10, **ARTICLE_RECIPE},
    {"augment": "off", "unfreeze": 100, **ARTICLE_RECIPE},
)


@dataclass(frozen=True)
class _Sweep(LabelledImages):
    data: str = ""
    """Folder with train/, valid/ and test/, each with one folder per class, or with shards (.tar, .parquet); train
    alone will do. With --labels any folder of images."""
    valid_share: float = 0.1
    """Share of train's images that validation takes, class by class, where there is no valid/."""
    test_share: float = 0.1
    """The same for test/; 0 does without a test split."""
    split_seed: int = 0
    """Another seed takes other images."""
    folds: int = 0
    """Cross-validation: every variant is trained as often as this, each time on all images of train and valid but
    those of one fold; the winner is trained again on all of them. 0: one split for validation."""
    results: str = "results"
    """Folder that holds the results of all sweeps."""
    name: str = ""
    """This sweep's folder in --results; by default date and time."""
    preset: Literal["grid", "article"] = "grid"
    """grid: all combinations of the options below; article: the four models that the article compares, trained as
    it says: Adam at constant rates, the last epoch kept."""


def _with_factors(base: type[Settings], variant: type[Variant]) -> type[Settings]:
    """`base` with an option for each factor: a tuple of the values to try."""
    types: dict[str, Any] = factors.types(variant)

    def values(name: str, about: Factor) -> Any:
        return Annotated[tuple[types[name], ...], tyro.conf.arg(help=about.help)]  # type: ignore[valid-type]

    options = [
        (name, values(name, about), dataclasses.field(default=about.tried))
        for name, about in factors.factors(variant).items()
    ]
    return dataclasses.make_dataclass("Factors", options, bases=(base,), frozen=True)


if TYPE_CHECKING:

    class _Factors(_Sweep):
        """What a type checker sees of the next line: the options of the factors are known when it runs."""

        def __init__(self, **options: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

else:
    _Factors = _with_factors(_Sweep, Variant)


@dataclass(frozen=True)
class TuneConfig(_Factors):
    """Fine-tune a pretrained classifier in many variants on a folder of labelled images; keep the best."""

    variant: ClassVar[type[Variant]] = Variant

    weights: str = "imagenet"
    """imagenet (downloaded by Keras once), the path of a Keras weight file, or none (random weights)."""
    image_size: int = 224
    """Side in pixels of the square that every image becomes; --resize says how."""
    batch_size: int = 32
    """Images per training step."""
    head_epochs: int = 5
    """Epochs of the first phase with --head adam; with probe, the augmented views that the head is solved on."""
    fine_tune_epochs: int | None = None
    """Epochs of the second phase, which trains the unfrozen layers too; none of it where nothing is unfrozen. By
    default 8, with --preset article 5."""
    fine_tune_factor: float = 0.5
    """Learning rate of the second phase, as a share of --learning-rate."""
    warmup_epochs: float = 0.5
    """Epochs at the start of the second phase over which its learning rate rises to that."""
    keep: Literal["best", "last"] = "best"
    """The epoch of each trial that is ranked and kept: the best on valid or the last."""
    select_by: Literal["accuracy", "macro_f1", "loss"] = "accuracy"
    """What makes an epoch, and the winner, the best on valid; macro_f1 counts each class alike."""
    patience: int = 0
    """End a trial after this many epochs of its last phase without a better one; 0: never."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """grid: every combination of the values; random: --samples drawn from them, learning rates from their range;
    optuna: --samples of the combinations, chosen by what others have scored (needs ray-birds[optuna])."""
    samples: int = 0
    """How many variants --search random and optuna try; of a grid all are tried."""
    scheduler: Literal["none", "asha"] = "none"
    """asha stops the worse half of the recipes, each with all its seeds, after a quarter of fine-tuning and after
    half of it."""
    time_limit: str = ""
    """Compare what has ended by then, such as 90s, 30m or 1h30m after the start; variants begin with the cheapest,
    those whose backbone stays frozen. Empty: no limit."""
    features: Literal["auto", "none"] = "auto"
    """auto: compute frozen layers once and store them; none: from the images in every epoch (the reference)."""
    feature_dtype: Literal["float16", "float32"] = "float16"
    """Precision of stored features."""
    features_dir: str = ""
    """Where stored features lie, to be used again by later sweeps; by default <results>/features."""
    verify_features: bool = False
    """Compare all stored features with their digests, also those that were found whole before."""
    verify_images: bool = False
    """Read and check all images, also those that by size and time have not changed since a sweep did."""
    augment_views: int = 0
    """Augmented views per image, used in turn by the epochs; 0: a fresh one for each epoch with --head adam, those
    that the head is solved on with probe."""
    gpus_per_trial: float | None = None
    """GPUs of a trial (of each of its workers), fractions allowed; by default 1 where the cluster has GPUs, else
    0."""
    cpus_per_trial: int | None = None
    """CPUs of a trial (of each of its workers), which is also TensorFlow's number of threads; by default as
    few, of 4 at most, as let the longest trials run side by side, where memory has room; it is printed."""
    workers_per_trial: int = 1
    """Processes that train a trial together, on one or several nodes: each takes its share of every batch."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """What frozen layers and trials compute in; the mixed ones are faster on a GPU. The best model is float32."""
    max_failures: int = 10
    """How often a trial whose process or node dies is retried from its last epoch."""
    max_bad_images: float = 0.01
    """Share of images that may be unreadable (they are left out and listed) before the sweep refuses to start."""
    margin: float = 1.0
    """Percentage points of valid accuracy that make no difference to you: within it a variant is as good."""
    tta: Tta = "none"
    """flip: score the best model also with test-time augmentation, as predict --tta flip does; the choice and all
    other scores are without it."""
    score_all: bool = False
    """Score the test split for every variant (for the article's table), not only for the winner."""
    track: tuple[str, ...] = ()
    """Log to experiment trackers too: mlflow (by MLFLOW_TRACKING_URI), mlflow:http://HOST:5000, wandb."""
    resume: bool = False
    """Resume the interrupted sweep of this --name."""
    verbose: bool = False
    """Show what TensorFlow and Ray print."""

    if TYPE_CHECKING:

        def __init__(self, **options: Any) -> None: ...

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, about in factors.factors(self.variant).items():
            _check_values(name, self.grid[name], about)
        check_size(self.image_size)
        for name in ("batch_size", "head_epochs", "workers_per_trial"):
            value = getattr(self, name)
            check(value >= 1, f"{option(name)} {value}: expected at least 1")
        check(0 < self.valid_share < 1, f"--valid-share {self.valid_share}: expected a share above 0, such as 0.1")
        check(0 <= self.test_share < 1, f"--test-share {self.test_share}: expected a share from 0, such as 0.1")
        check(self.valid_share + self.test_share < 1, "--valid-share and --test-share leave nothing to train on")
        self._check_folds()
        for name in ("samples", "augment_views", "patience", "max_failures", "split_seed"):
            value = getattr(self, name)
            check(value >= 0, f"{option(name)} {value}: expected 0 or more")
        check(
            self.fine_tune_epochs is None or self.fine_tune_epochs >= 1, "--fine-tune-epochs: expected at least 1"
        )
        check(0 < self.margin < 100, f"--margin {self.margin}: expected percentage points above 0, such as 1")
        check(0 < self.fine_tune_factor <= 1, f"--fine-tune-factor {self.fine_tune_factor}: expected 0 to 1")
        check(
            0 <= self.warmup_epochs <= self.tuning_epochs,
            f"--warmup-epochs {self.warmup_epochs}: expected 0 to --fine-tune-epochs",
        )
        check(0 <= self.max_bad_images <= 1, f"--max-bad-images {self.max_bad_images}: a share from 0 to 1")
        check(self.gpus_per_trial is None or self.gpus_per_trial >= 0, "--gpus-per-trial: expected 0 or more")
        share = self.gpus_per_trial or 0.0
        check(share <= 1 or share.is_integer(), f"--gpus-per-trial {share:g}: above 1 expected a whole number")
        several = self.workers_per_trial > 1
        check(
            not several or share.is_integer(),
            f"--gpus-per-trial {share:g}: with --workers-per-trial expected a whole number",
        )
        check(
            self.workers_per_trial <= self.batch_size,
            f"--workers-per-trial {self.workers_per_trial}: expected no more than --batch-size {self.batch_size}",
        )
        check(self.cpus_per_trial is None or self.cpus_per_trial >= 1, "--cpus-per-trial: expected 1 or more")
        check(
            not self.time_limit or _seconds(self.time_limit) >= 1,
            f"--time-limit {self.time_limit}: expected at least a second, such as 90s, 30m or 1h30m",
        )
        _check_track(self.track)
        check("/" not in self.name, f"--name {self.name}: a folder's name, without /")
        check(bool(self.name) or not self.resume, "--resume needs the --name of the sweep to resume")
        check(
            bool(self.samples) == (self.search != "grid"),
            f"--search {self.search} --samples {self.samples}: random and optuna need samples, the grid has none",
        )
        check(
            self.search != "optuna" or len(self.grid["seed"]) == 1,
            "--search optuna takes one --seed: it tries no variant again, and seeds of some alone compare badly",
        )
        check(
            self.preset == "grid" or (self._is_as_tried(ARTICLE[0]) and self.search == "grid"),
            f"--preset article fixes {', '.join(map(option, ARTICLE[0]))} and has no --search: leave these out",
        )

    def _check_folds(self) -> None:
        """That nothing else is asked for that needs one split for validation."""
        check(self.folds == 0 or self.folds >= 2, f"--folds {self.folds}: expected at least 2, or 0 for none")
        reasons = {
            "patience": "all folds of a variant are compared at the same epoch",
            "scheduler": "it would compare trials that are scored on different images",
            "score_all": "only the winner is trained on all images that test is not",
            "valid_share": "folds take the place of a valid split",
        }
        for name, why in reasons.items():
            check(not self.folds or self._is_as_tried([name]), f"--folds leaves no room for {option(name)}: {why}")
        check(
            not self.folds or self.search != "optuna",
            "--folds leaves no room for --search optuna: it would choose by single folds; take grid or random",
        )

    @property
    def grid(self) -> dict[str, tuple[Any, ...]]:
        """The values of each factor that the sweep may try, by name."""
        return {name: getattr(self, name) for name in factors.factors(self.variant)}

    @property
    def tuning_epochs(self) -> int:
        """Those of the second phase: --fine-tune-epochs or its default."""
        return self.fine_tune_epochs or (ARTICLE_EPOCHS if self.preset == "article" else Variant.fine_tune_epochs)

    @property
    def seconds_allowed(self) -> float:
        """What --time-limit says; infinite where it says nothing."""
        return _seconds(self.time_limit) if self.time_limit else math.inf

    def _is_as_tried(self, names: Iterable[str]) -> bool:
        """Whether these options are left at their defaults."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return all(getattr(self, name) == defaults[name] for name in names)


def _seconds(duration: str) -> float:
    """NaN where it is none."""
    import pandas as pd

    try:
        return float(pd.Timedelta(duration).total_seconds())
    except ValueError:
        return math.nan


def _check_values(name: str, values: tuple[Any, ...], about: Factor) -> None:
    check(len(values) > 0, f"{option(name)} needs at least one value")
    check(len(set(values)) == len(values), f"{option(name)} names a value twice: {values}")
    for value in values:
        check(about.accepts(value), f"{option(name)} {value}: expected {about.expected}")


def _check_track(given: tuple[str, ...]) -> None:
    names = [one.partition(":")[0] for one in given]
    check(len(set(names)) == len(names), f"--track names a tracker twice: {', '.join(names)}")
    for one, name in zip(given, names, strict=True):
        known = one == "wandb" or (name == "mlflow" and not one.endswith(":"))
        # It is not repeated: what was typed may hold a password in any place.
        check(known, f"--track {name}...: expected mlflow, mlflow:URI or wandb")
        check(
            not _CREDENTIALS.search(one),
            f"--track {name}:...: leave credentials out of the address; give them by the environment, such as "
            "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN",
        )


def with_factors(variant: type[Variant]) -> type[TuneConfig]:
    """TuneConfig for a class of variants that declares more factors."""
    made = _with_factors(TuneConfig, variant)
    made.variant = variant  # type: ignore[attr-defined]
    return typing.cast(type[TuneConfig], made)
