"""Settings: frozen dataclasses, validated when made, to JSON and back. Nothing heavy is imported here."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import tyro

from ray_birds.core.errors import SettingsError

Depth = int | Literal["all"]
Switch = Literal["off", "on"]

BACKBONES = (
    "EfficientNetB0",
    "EfficientNetB2",
    "EfficientNetV2B0",
    "MobileNetV2-1.0",
    "MobileNetV2-0.35",
    "MobileNetV3Small",
    "ResNet50V2",
)
BackboneName = Literal[
    "EfficientNetB0",
    "EfficientNetB2",
    "EfficientNetV2B0",
    "MobileNetV2-1.0",
    "MobileNetV2-0.35",
    "MobileNetV3Small",
    "ResNet50V2",
]

# The four models that the article compares: (augmentation, unfrozen layers).
ARTICLE: tuple[tuple[Switch, Depth], ...] = (("off", 0), ("on", 0), ("on", 10), ("off", 100))


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)


@dataclass(frozen=True)
class Settings:
    """What all settings share: JSON in both directions, unknown keys refused."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The settings in `text`. Raises SettingsError on a key this class does not have."""
        values: dict[str, Any] = json.loads(text)
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        _check(not unknown, f"{cls.__name__}: unknown setting {', '.join(unknown)}; known are {sorted(known)}")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


@dataclass(frozen=True)
class Variant(Settings):
    """One recipe to train: everything that decides the numbers of a trial, and nothing else."""

    backbone: str = "EfficientNetB0"
    augment: bool = False
    unfreeze: Depth = 0
    learning_rate: float = 1e-3
    seed: int = 0
    image_size: int = 224
    batch_size: int = 32
    head_epochs: int = 5
    fine_tune_epochs: int = 5
    fine_tune_factor: float = 0.1
    augment_seed: int = 0
    augment_views: int = 0
    precision: str = "float32"

    @property
    def epochs(self) -> int:
        """Epochs of both phases; with nothing unfrozen there is no second phase (the article's model 1)."""
        return self.head_epochs + (self.fine_tune_epochs if self.unfreeze != 0 else 0)

    def view(self, epoch: int) -> int | None:
        """Number of the augmented view that `epoch` (from 0) trains on; None for the image itself."""
        if not self.augment:
            return None
        return epoch % self.augment_views if self.augment_views else epoch

    def name(self, *, with_backbone: bool = False, with_seed: bool = False) -> str:
        """The trial's name, such as `aug-unfreeze100-lr0.001`; stable, it names folders and rows."""
        text = f"{'aug' if self.augment else 'plain'}-unfreeze{self.unfreeze}-lr{self.learning_rate:g}"
        if with_backbone:
            text = f"{self.backbone}-{text}"
        return f"{text}-seed{self.seed}" if with_seed else text


@dataclass(frozen=True)
class TuneConfig(Settings):
    """Fine-tune a pretrained classifier in many variants on a folder of labelled images; keep the best."""

    data: str = ""
    """Folder with train/, valid/ and test/, each with one folder per class; train/ alone will do."""
    exclude_class: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Leave this class out of all splits; may be given several times."""
    valid_share: float = 0.1
    """Share of train's images that validation takes, class by class, where there is no valid/."""
    test_share: float = 0.1
    """The same for test/; 0 does without a test split."""
    split_seed: int = 0
    """Another seed takes other images."""
    results: str = "results"
    """Folder that holds the results of all sweeps."""
    name: str = ""
    """This sweep's folder in --results; by default date and time."""
    preset: Literal["grid", "article"] = "grid"
    """grid: all combinations of the options below; article: the four models that the article compares."""
    augment: tuple[Switch, ...] = ("off", "on")
    """Train on the images as they are (off), on randomly changed views of them (on), or try both."""
    unfreeze: tuple[Depth, ...] = (0, 10, 100)
    """Layers at the top of the backbone to fine-tune after the head phase: numbers, or all."""
    learning_rate: tuple[float, ...] = (1e-3,)
    """Learning rates of the head phase (Adam)."""
    backbone: tuple[BackboneName, ...] = ("EfficientNetB0",)
    """Pretrained networks to try."""
    weights: str = "imagenet"
    """imagenet (downloaded by Keras once), the path of a Keras weight file, or none (random weights)."""
    image_size: int = 224
    """Side in pixels of the square that every image is resized to."""
    batch_size: int = 32
    """Images per training step."""
    head_epochs: int = 5
    """Epochs of the first phase, which trains the head alone."""
    fine_tune_epochs: int = 5
    """Epochs of the second phase, which trains the unfrozen layers too; none of it where nothing is unfrozen."""
    fine_tune_factor: float = 0.1
    """Learning rate of the second phase, as a share of that of the first."""
    seed: tuple[int, ...] = (0,)
    """Seeds of the head's first weights and of the order of images; several give replicates of each variant."""
    samples: int = 0
    """Try this many variants drawn at random from the grid's ranges instead of the whole grid; 0: the grid."""
    scheduler: Literal["none", "asha"] = "none"
    """asha stops the worse half of the trials before fine-tuning starts."""
    features: Literal["auto", "none"] = "auto"
    """auto: compute frozen layers once and store them; none: from the images in every epoch (the reference)."""
    feature_dtype: Literal["float16", "float32"] = "float16"
    """Precision of stored features."""
    features_dir: str = ""
    """Where stored features lie, to be used again by later sweeps; by default <results>/features."""
    augment_views: int = 0
    """Augmented views per image, used in turn by the epochs; 0: a fresh one for each epoch."""
    gpus_per_trial: float | None = None
    """GPUs of a trial, fractions allowed; by default 1 where the cluster has GPUs, else 0."""
    cpus_per_trial: int | None = None
    """CPUs of a trial, which is also TensorFlow's number of threads; the default is printed."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """What frozen layers and trials compute in; the mixed ones are faster on a GPU. The best model is float32."""
    max_failures: int = 10
    """How often a trial whose process or node dies is retried from its last epoch."""
    max_bad_images: float = 0.01
    """Share of images that may be unreadable (they are left out and listed) before the sweep refuses to start."""
    score_all: bool = False
    """Score the test split for every variant (for the article's table), not only for the winner."""
    resume: bool = False
    """Go on with the interrupted sweep of this --name."""
    verbose: bool = False
    """Show what TensorFlow and Ray print."""

    def __post_init__(self) -> None:
        for option in ("augment", "unfreeze", "learning_rate", "backbone", "seed"):
            values = getattr(self, option)
            _check(len(values) > 0, f"--{option.replace('_', '-')} needs at least one value")
            _check(len(set(values)) == len(values), f"--{option.replace('_', '-')} names a value twice: {values}")
        for depth in self.unfreeze:
            _check(depth == "all" or depth >= 0, f"--unfreeze {depth}: a number of layers from 0, or all")
        for seed in self.seed:
            _check(seed >= 0, f"--seed {seed}: expected 0 or more")
        for rate in self.learning_rate:
            _check(0 < rate < 10, f"--learning-rate {rate}: expected a number above 0, such as 0.001")
        for option, least in (
            ("image_size", 32),
            ("batch_size", 1),
            ("head_epochs", 1),
            ("fine_tune_epochs", 1),
        ):
            value = getattr(self, option)
            _check(value >= least, f"--{option.replace('_', '-')} {value}: expected at least {least}")
        _check(
            0 < self.valid_share < 1, f"--valid-share {self.valid_share}: expected a share above 0, such as 0.1"
        )
        _check(0 <= self.test_share < 1, f"--test-share {self.test_share}: expected a share from 0, such as 0.1")
        _check(self.valid_share + self.test_share < 1, "--valid-share and --test-share leave nothing to train on")
        for option in ("samples", "augment_views", "max_failures", "split_seed"):
            value = getattr(self, option)
            _check(value >= 0, f"--{option.replace('_', '-')} {value}: expected 0 or more")
        _check(0 < self.fine_tune_factor <= 1, f"--fine-tune-factor {self.fine_tune_factor}: expected 0 to 1")
        _check(0 <= self.max_bad_images <= 1, f"--max-bad-images {self.max_bad_images}: a share from 0 to 1")
        _check(self.gpus_per_trial is None or self.gpus_per_trial >= 0, "--gpus-per-trial: expected 0 or more")
        share = self.gpus_per_trial or 0.0
        _check(share <= 1 or share.is_integer(), f"--gpus-per-trial {share:g}: above 1 expected a whole number")
        _check(self.cpus_per_trial is None or self.cpus_per_trial >= 1, "--cpus-per-trial: expected 1 or more")
        _check("/" not in self.name, f"--name {self.name}: a folder's name, without /")
        _check(bool(self.name) or not self.resume, "--resume needs the --name of the sweep to resume")
        given = (self.augment, self.unfreeze, self.samples)
        _check(
            self.preset == "grid" or given == (("off", "on"), (0, 10, 100), 0),
            "--preset article fixes --augment and --unfreeze and has no --samples: leave these out",
        )


@dataclass(frozen=True)
class PredictConfig(Settings):
    """Score images with a trained model and write one Parquet row per input file."""

    model: str
    """A bundle made by a sweep: <results>/<name>/best."""
    input: tuple[str, ...]
    """Folders (searched recursively), image files, or patterns such as "birds/*/1.jpg"; also s3:// and gs://."""
    output: str = ""
    """Folder to write the predictions to; it appears when they are complete. A single photo needs none."""
    show: bool = False
    """Save a single photo with its prediction as title: <photo>-prediction.png in the current folder."""
    batch_size: int = 32
    """Images per step of the model."""
    top_k: int = 5
    """How many of the most probable classes each row lists."""
    probabilities: bool = False
    """Add a column with the probabilities of all classes."""
    embeddings: bool = False
    """Add a column with the pooled features that the classes are told from."""
    decoders: int | None = None
    """Tasks that read and decode images at a time; by default one per CPU."""
    gpus: int | None = None
    """Copies of the model, on a GPU each; by default as many as there are GPUs. More than there are wait for nodes
    that an autoscaler starts; 0 for CPUs alone."""
    max_pixels: int = 100_000_000
    """Images with more pixels than this are not decoded; their rows say so."""
    model_digest: str = ""
    """Refuse the model unless its digest (the predictions' model column) is this one."""
    overwrite: bool = False
    """Replace an existing output, once the new one is complete."""
    resume: bool = False
    """Go on with an interrupted job of this --output; nothing happens where it is complete."""
    verbose: bool = False
    """Show what TensorFlow and Ray print."""

    def __post_init__(self) -> None:
        _check(len(self.input) > 0, "--input needs at least one folder, file or pattern")
        for option in ("overwrite", "resume", "probabilities", "embeddings"):
            _check(bool(self.output) or not getattr(self, option), f"--{option} needs an --output")
        for option in ("batch_size", "top_k", "max_pixels"):
            value = getattr(self, option)
            _check(value >= 1, f"--{option.replace('_', '-')} {value}: expected at least 1")
        _check(self.decoders is None or self.decoders >= 1, f"--decoders {self.decoders}: expected at least 1")
        _check(self.gpus is None or self.gpus >= 0, f"--gpus {self.gpus}: expected 0 or more")


@dataclass(frozen=True)
class DemoConfig(Settings):
    """Draw the demo's birds: a small labelled data set of species that do not exist."""

    output: Annotated[str, tyro.conf.Positional]
    """Folder to draw into."""
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
    max_size: float = 50.0
    """Cap on the unpacked size in GB."""

    def __post_init__(self) -> None:
        _check(bool(self.dataset) != bool(self.source), "give either --dataset OWNER/NAME or --from URL|ZIP|DIR")
        _check(self.max_size > 0, f"--max-size {self.max_size}: expected GB above 0")


@dataclass(frozen=True)
class CheckConfig(Settings):
    """Say what is in a folder of images before GPU hours are spent on it."""

    data: str
    """Folder with train/, valid/ and test/, each with one folder per class."""
    output: str = "check"
    """Folder for the page and the tables; those of an earlier check are replaced."""
    exclude_class: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Leave this class out of all splits; may be given several times."""
    verbose: bool = False
    """Show what Ray prints."""


@dataclass(frozen=True)
class ExportConfig(Settings):
    """Write a trained model in another form; it is run and compared with the Keras model before it is kept."""

    model: str
    """A bundle made by a sweep: <results>/<name>/best."""
    output: str
    """Folder (saved_model) or file (.onnx, .zip) to write on a local disk; must not exist."""
    format: Literal["saved_model", "onnx", "zip"]
    """saved_model: for TensorFlow; onnx: for ONNX Runtime (needs ray-birds[onnx]); zip: the bundle in one file."""
    images: str = ""
    """Folder of images to compare on; by default a few drawn ones."""
    verbose: bool = False
    """Show what TensorFlow prints."""

    def __post_init__(self) -> None:
        extension = "" if self.format == "saved_model" else f".{self.format}"
        _check(
            self.output.endswith(extension), f"--output {self.output}: expected a name that ends in {extension}"
        )
