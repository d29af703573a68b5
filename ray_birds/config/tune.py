"""The options of each command: typed, checked when made. Nothing heavy is imported here.

Those of a sweep's factors are made from their declarations in sweep/factors.py.
"""

import dataclasses
import math
import re
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from ray_birds.core.settings import Settings, check, option
from ray_birds.sweep import factors
from ray_birds.sweep.factors import MAX_IMAGE_SIZE, BackboneName, Factor, Variant

LABEL_COLUMNS = ("path", "label", "split")  # of --labels
Tta = Literal["none", "flip"]  # test-time augmentation
Precision = Literal["float32", "float16", "int8"]  # of a LiteRT file
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # of a repository

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
class _Sweep(Settings):
    data: str = ""
    """Folder with train/, valid/ and test/, each with one folder per class; train/ alone will do. With --labels
    any folder of images."""
    labels: str = ""
    """Table of labels, .csv or .parquet, with the columns path (below --data, absolute or a URI), label and, where
    splits are given, split."""
    columns: tuple[str, ...] = ()
    """Columns of --labels that have other names, such as path=filepath label=species."""
    group_by: str = ""
    """Images that belong together (of one burst, place or animal) and stay on one side of a split: a column of
    --labels, by default group where there is one; or folder:1, the first folder below the class's or, with
    --labels, below --data; or burst:30, photographs of one folder and camera, each at most 30 s after the one
    before."""
    exclude_class: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Leave this class out of all splits; may be given several times."""
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
    """CPUs of a trial (of each of its workers), which is also TensorFlow's number of threads; the default is
    printed."""
    workers_per_trial: int = 1
    """Processes that train a trial together, on one or several nodes: each takes its share of every batch."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """What frozen layers and trials compute in; the mixed ones are faster on a GPU. The best model is float32."""
    max_failures: int = 10
    """How often a trial whose process or node dies is retried from its last epoch."""
    max_bytes: int = 100_000_000
    """Files larger than this are not read: they count as unreadable images."""
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
        for name, about in factors.factors(self.variant).items():
            _check_values(name, self.grid[name], about)
        _check_size(self.image_size)
        for name in ("batch_size", "head_epochs", "workers_per_trial"):
            value = getattr(self, name)
            check(value >= 1, f"{option(name)} {value}: expected at least 1")
        check(0 < self.valid_share < 1, f"--valid-share {self.valid_share}: expected a share above 0, such as 0.1")
        check(0 <= self.test_share < 1, f"--test-share {self.test_share}: expected a share from 0, such as 0.1")
        check(self.valid_share + self.test_share < 1, "--valid-share and --test-share leave nothing to train on")
        _check_labels(self.labels, self.columns, self.group_by)
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
        check(self.max_bytes >= 1, f"--max-bytes {self.max_bytes}: expected at least 1")
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


def _check_size(size: int) -> None:
    check(size >= 32, f"--image-size {size}: expected at least 32")
    check(size <= MAX_IMAGE_SIZE, f"--image-size {size}: expected at most {MAX_IMAGE_SIZE}")


def _check_labels(
    labels: str, columns: tuple[str, ...], group_by: str, known: tuple[str, ...] = LABEL_COLUMNS
) -> None:
    kind, mark, number = group_by.partition(":")
    is_rule = bool(mark) and kind in ("folder", "burst")
    check(
        not is_rule or (number.isdecimal() and int(number) >= 1),
        f"--group-by {group_by}: expected {'folder:1' if kind == 'folder' else 'burst:30'} or so",
    )
    check(
        is_rule or not group_by or bool(labels),
        f"--group-by {group_by}: a column needs --labels; or folder:1, or burst:30",
    )
    check(not columns or bool(labels), "--columns is for --labels")
    roles = [given.partition("=")[0] for given in columns]
    for role, given in zip(roles, columns, strict=True):
        named = role in known and len(given) > len(role) + 1
        check(named, f"--columns {given}: expected one of {', '.join(known)}, = and a column's name")
    check(len(set(roles)) == len(roles), f"--columns names a column twice: {' '.join(columns)}")


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


@dataclass(frozen=True)
class PredictConfig(Settings):
    """Score images with a trained model and write one Parquet row per input file."""

    model: str
    """A bundle made by a sweep, <results>/<name>/best; or one on the Hugging Face Hub, hf://OWNER/NAME or
    hf://OWNER/NAME@REVISION (needs ray-birds[hub])."""
    input: tuple[str, ...]
    """Folders (searched recursively), image files, or patterns such as "birds/*/1.jpg"; also s3:// and gs://."""
    output: str = ""
    """Folder to write the predictions to; it appears when they are complete. A single photo needs none."""
    labels: str = ""
    """Table of the images to score, .csv or .parquet, with the columns path (below the one folder of --input,
    absolute or a URI) and label, for the evaluation; a row without a label is scored too."""
    columns: tuple[str, ...] = ()
    """Columns of --labels that have other names, such as path=filepath label=species."""
    show: bool = False
    """Save a single photo with its prediction as title: <photo>-prediction.png in the current folder."""
    batch_size: int = 32
    """Images per step of the model."""
    tta: Tta = "none"
    """flip: test-time augmentation; probabilities are the mean over an image and its mirror image, which takes
    twice the computation. Features of --embeddings are the image's own."""
    top_k: int = 5
    """How many of the most probable classes each row lists."""
    probabilities: bool = False
    """Add a column with the probabilities of all classes."""
    embeddings: bool = False
    """Add a column with the pooled features that the classes are told from."""
    metadata: bool = False
    """Add columns with when, where and with what each photograph was taken, by its EXIF block."""
    sequence_seconds: float = 0.0
    """Number the sequences: photographs of one folder and camera, each taken at most this many seconds after the
    one before; and add what all of a sequence show together. With --metadata and --probabilities; 0: off."""
    threshold: float | None = None
    """Accept predictions at least as probable as this: adds the column accepted."""
    target_accuracy: float | None = None
    """The same, with the lowest threshold at which the accuracy of what is accepted is at least this with 95 %
    confidence, by the model's valid images; refused where there is none."""
    ood_score: bool = False
    """Add a column that says how far an image lies from the training images: the percentage of valid images that
    lie no further away."""
    reject_unknown: float | None = None
    """Accept no image whose ood_score is above this percentage."""
    taxonomy: str = ""
    """CSV file of classes and their ranks, fine to coarse: adds the finest taxon that reaches the threshold."""
    only_classes: str = ""
    """Text file of the classes that can occur, one a line: the others get no say."""
    explain: int = 0
    """Show in the report what the model looked at in this many images, up to 48: a third of them mistakes, a third
    the least certain, the others at random."""
    map: int = 0
    """Draw a map of this many images, up to 5,000, taken at random: on a page of its own, those that are alike to
    the model lie together. With --embeddings; needs ray-birds[map]."""
    engine: Literal["auto", "local", "ray"] = "auto"
    """Where images are scored: in this process, or by a Ray's workers. By itself (auto) up to 4,096 images are
    scored in this process where no Ray is running and --gpus is not given; it says so. The rows are the same."""
    decoders: int | None = None
    """Tasks that read and decode images at a time; by default one per CPU."""
    gpus: int | None = None
    """Copies of the model, on a GPU each; by default as many as there are GPUs. More than there are wait for nodes
    that an autoscaler starts; 0 for CPUs alone."""
    max_pixels: int = 50_000_000
    """Images of which more pixels than this must lie in memory are not decoded; their rows say so. Of a large JPEG
    that is not progressive, a fraction does."""
    max_bytes: int = 100_000_000
    """Files larger than this are not read; their rows say so."""
    model_digest: str = ""
    """Refuse the model unless its digest (the predictions' model column) is this one."""
    overwrite: bool = False
    """Replace an existing output, once the new one is complete."""
    resume: bool = False
    """Resume an interrupted job of this --output; where it is complete, say what is new since."""
    update: bool = False
    """Bring a complete --output up to date: files of the same path, size and time keep their row, new and changed
    ones are scored, vanished ones leave. Model and options must be the same; without an output one is made."""
    verbose: bool = False
    """Show what TensorFlow and Ray print."""

    def __post_init__(self) -> None:
        check(len(self.input) > 0, "--input needs at least one folder, file or pattern")
        for given in self.input:
            check(bool(given.strip()), "--input is empty; expected a folder, file or pattern (is a variable set?)")
        _check_labels(self.labels, self.columns, "", ("path", "label"))
        one = len(self.input) == 1
        check(one or not self.labels, "--labels needs one --input: the folder that its paths lie below")
        for name in (
            "overwrite",
            "resume",
            "update",
            "probabilities",
            "embeddings",
            "metadata",
            "sequence_seconds",
            "explain",
            "map",
        ):
            check(bool(self.output) or not getattr(self, name), f"{option(name)} needs an --output")
        for name in ("batch_size", "top_k", "max_pixels", "max_bytes"):
            value = getattr(self, name)
            check(value >= 1, f"{option(name)} {value}: expected at least 1")
        check(not (self.update and self.overwrite), "give either --update or --overwrite")
        check(self.sequence_seconds >= 0, f"--sequence-seconds {self.sequence_seconds}: expected 0 or more")
        check(0 <= self.map <= 5000, f"--map {self.map}: expected 0 to 5000 images")
        check(0 <= self.explain <= 48, f"--explain {self.explain}: expected 0 to 48 images")
        check(self.decoders is None or self.decoders >= 1, f"--decoders {self.decoders}: expected at least 1")
        check(self.gpus is None or self.gpus >= 0, f"--gpus {self.gpus}: expected 0 or more")
        check(self.gpus is None or self.engine != "local", "--gpus is for Ray's workers, not for --engine local")
        self._check_answer()

    def _check_answer(self) -> None:
        """Of what is accepted and what it is called."""
        for name in ("threshold", "target_accuracy"):
            value = getattr(self, name)
            check(value is None or 0 < value < 1, f"{option(name)} {value}: expected a share between 0 and 1")
        percent = self.reject_unknown
        check(
            percent is None or 0 < percent <= 100, f"--reject-unknown {percent}: expected a percentage up to 100"
        )
        check(self.threshold is None or self.target_accuracy is None, "give --threshold or --target-accuracy")
        decides = self.threshold is not None or self.target_accuracy is not None
        check(not self.taxonomy or decides, "--taxonomy needs --threshold or --target-accuracy")
        check(
            self.tta == "none" or self.target_accuracy is None,
            "--target-accuracy promises nothing where --tta changes the probabilities; give --threshold",
        )
        check(
            not self.only_classes or self.target_accuracy is None,
            "--target-accuracy promises nothing where --only-classes changes the probabilities; give --threshold",
        )


@dataclass(frozen=True)
class DemoConfig(Settings):
    """Draw birds of species that do not exist, run a sweep on them, and predict, in some minutes."""

    output: str = "results/demo"
    """Folder for the drawn birds, the sweep and its predictions."""
    seed: int = 0
    """Another seed draws other images of the same species."""


@dataclass(frozen=True)
class DownloadConfig(Settings):
    """Fetch a labelled image data set and lay it out as the folder that a sweep takes."""

    output: str
    """Folder to make; a finished download found there is not repeated."""
    dataset: str = ""
    """Kaggle data set as OWNER/NAME or OWNER/NAME/versions/N."""
    source: Annotated[str, tyro.conf.arg(name="from")] = ""
    """Take a copy from elsewhere instead: a URL, a zip file or a folder."""
    labels: str = ""
    """The table of labels that the data set comes with, by its path there, such as metadata.csv: all stays laid
    out as it is, and `tune` takes both."""
    max_size: float = 50.0
    """Cap on the unpacked size in GB."""

    def __post_init__(self) -> None:
        check(bool(self.dataset) != bool(self.source), "give either --dataset OWNER/NAME or --from URL|ZIP|DIR")
        check(self.max_size > 0, f"--max-size {self.max_size}: expected GB above 0")
        inside = not self.labels.startswith("/") and ".." not in self.labels.split("/")
        check(inside, f"--labels {self.labels}: expected a path inside of the data set, such as metadata.csv")


@dataclass(frozen=True)
class CheckConfig(Settings):
    """Say what is in a folder of images before GPU hours are spent on it."""

    data: str
    """Folder with train/, valid/ and test/, each with one folder per class; with --labels any folder of images."""
    output: str = "check"
    """Folder for the page and the tables; those of an earlier check are replaced, others never."""
    labels: str = ""
    """Table of labels, .csv or .parquet, as `tune` takes it."""
    columns: tuple[str, ...] = ()
    """Columns of --labels that have other names, such as path=filepath label=species."""
    group_by: str = ""
    """Images that belong together (of one burst, place or animal) and stay on one side of a split: a column of
    --labels, by default group where there is one; or folder:1, the first folder below the class's or, with
    --labels, below --data; or burst:30, photographs of one folder and camera, each at most 30 s after the one
    before."""
    exclude_class: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Leave this class out of all splits; may be given several times."""
    max_bytes: int = 100_000_000
    """Files larger than this are not read: they count as unreadable images."""
    suspects: bool = False
    """Also find labels that are probably wrong, and copies that hashing misses, by the pooled features of all
    images: suspects.csv and suspects.html."""
    backbone: BackboneName = Variant.backbone
    """For --suspects: the network that makes the features."""
    weights: str = "imagenet"
    """For --suspects: imagenet (downloaded by Keras once), or the path of a Keras weight file."""
    image_size: int = Variant.image_size
    """For --suspects: side in pixels of the square that every image becomes."""
    features_dir: str = ""
    """For --suspects: where features are stored, to be used again; those of a sweep's --features-dir are too. By
    default <output>/features."""
    verbose: bool = False
    """Show what TensorFlow and Ray print."""

    def __post_init__(self) -> None:
        check(self.max_bytes >= 1, f"--max-bytes {self.max_bytes}: expected at least 1")
        _check_size(self.image_size)
        check(self.weights != "none", "--weights none: random features tell nothing of labels; give trained ones")
        fields = dataclasses.fields(self)
        for name in ("backbone", "weights", "image_size", "features_dir"):
            default = next(field.default for field in fields if field.name == name)
            check(self.suspects or getattr(self, name) == default, f"{option(name)} is for --suspects")
        _check_labels(self.labels, self.columns, self.group_by)


@dataclass(frozen=True)
class BundleConfig(Settings):
    """Make a bundle of any finished trial of a finished sweep, such as the cheaper one that is as good."""

    sweep: str
    """A finished sweep: <results>/<name>. Its images and weights must be where they were."""
    trial: str
    """Name of the trial, as the sweep's table and trials.csv have it."""
    output: str = ""
    """Folder to write the bundle to; must not exist. By default <sweep>/bundles/<trial>."""
    verbose: bool = False
    """Show what TensorFlow prints."""


# Format -> how the name of what is written ends.
MODEL_FORMATS = {
    "saved_model": "",
    "onnx": ".onnx",
    "litert": ".tflite",
    "openvino": "",
    "zip": ".zip",
    "huggingface": "",
}
ROW_FORMATS = {"csv": ".csv", "xlsx": ".xlsx", "camtrap-dp": "", "megadetector-json": ".json"}


@dataclass(frozen=True)
class ExportConfig(Settings):
    """Write a trained model, or finished predictions, in a form that other programs read."""

    format: Literal[
        "saved_model",
        "onnx",
        "litert",
        "openvino",
        "zip",
        "huggingface",
        "csv",
        "xlsx",
        "camtrap-dp",
        "megadetector-json",
    ]
    """Of a model: saved_model, for TensorFlow; onnx, for ONNX Runtime (needs ray-birds[onnx]); litert, for phones
    (needs ray-birds[litert]); openvino (needs ray-birds[openvino]); zip, the bundle in one file; huggingface, a
    repository of the Hugging Face Hub. Of predictions: csv; xlsx, for Excel (needs ray-birds[xlsx]); camtrap-dp,
    Camtrap DP 1.0; megadetector-json, for Timelapse."""
    output: str = ""
    """File, or folder (saved_model, openvino, huggingface, camtrap-dp), to write on a local disk; must not exist
    yet."""
    push: str = ""
    """For huggingface, instead of --output: OWNER/NAME on the Hub, to push it to. Needs ray-birds[hub] and a
    login, by HF_TOKEN or `hf auth login`."""
    model: str = ""
    """A bundle: <results>/<name>/best, or hf://OWNER/NAME. What is written is compared with the Keras model."""
    predictions: str = ""
    """The finished --output of a prediction job."""
    images: str = ""
    """Folder of images to compare a model on; by default a few drawn ones. For --precision int8, which must have
    it, a data set: train/ calibrates, valid/ compares."""
    precision: Precision = "float32"
    """For litert: float16 halves the file; int8 makes it a quarter and computes in 8 bits."""
    license: str = ""
    """For huggingface, which must have it: the model's license by the Hub's identifier, such as apache-2.0,
    cc-by-nc-4.0 or other."""
    utc_offset: str = ""
    """For camtrap-dp: zone of the cameras' clocks, such as +01:00, where photographs do not say it."""
    deployments: str = ""
    """For camtrap-dp: CSV table with the columns folder, latitude, longitude; it goes before the photographs."""
    verbose: bool = False
    """Show what TensorFlow prints."""

    def __post_init__(self) -> None:
        check(bool(self.model) != bool(self.predictions), "give either --model BUNDLE or --predictions FOLDER")
        source, mine = ("model", MODEL_FORMATS) if self.model else ("predictions", ROW_FORMATS)
        check(self.format in mine, f"--format {self.format}: expected one of --{source}: {', '.join(mine)}")
        extension = mine[self.format]
        check(not self.push or self.format == "huggingface", "--push is for --format huggingface")
        check(bool(self.output) != bool(self.push), "--output is missing; for huggingface give it or --push")
        named = not self.push or bool(HUB_NAME.fullmatch(self.push))
        check(named, f"--push {self.push}: expected OWNER/NAME")
        check(
            bool(self.push) or self.output.endswith(extension),
            f"--output {self.output}: expected a name that ends in {extension}",
        )
        check(not self.images or bool(self.model), "--images is for --model")
        check(self.precision == "float32" or self.format == "litert", "--precision is for --format litert")
        check(
            self.precision != "int8" or bool(self.images),
            "--precision int8 needs --images, a data set with train/ and valid/: to calibrate and to compare on",
        )
        self._check_license()
        for name in ("utc_offset", "deployments"):
            check(
                not getattr(self, name) or self.format == "camtrap-dp",
                f"{option(name)} is for --format camtrap-dp",
            )

    def _check_license(self) -> None:
        if self.format != "huggingface":
            check(not self.license, "--license is for --format huggingface")
            return
        such = "the Hub's identifiers, such as apache-2.0, cc-by-nc-4.0 or other"
        allowed = "which one the images and the first weights allow, ray-birds does not know"
        check(bool(self.license), f"--format huggingface needs a --license, one of {such}; {allowed}")
        known = bool(re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license))
        check(known, f"--license {self.license}: expected one of {such}; {allowed}")
