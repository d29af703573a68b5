"""The options of `predict`."""

from dataclasses import dataclass
from typing import Literal

from ray_birds.config.images import check_labels
from ray_birds.core.settings import Settings, check, option

Tta = Literal["none", "flip"]  # test-time augmentation


@dataclass(frozen=True)
class PredictConfig(Settings):
    """Score images with a trained model and write one Parquet row per input file."""

    model: str
    """A bundle made by a sweep, <results>/<name>/best; or one on the Hugging Face Hub, hf://OWNER/NAME or
    hf://OWNER/NAME@REVISION (needs ray-birds[hub])."""
    input: tuple[str, ...]
    """Folders (searched recursively), image files, shards (.tar, .parquet), or patterns such as "birds/*/1.jpg";
    also s3://, gs://, abfs:// and hf://datasets/."""
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
    """Images that a GPU computes at a time; on CPUs the most that one call of the model takes."""
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
        check_labels(self.labels, self.columns, "", ("path", "label"))
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
