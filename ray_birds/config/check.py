"""The options of `check`."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import tyro

from ray_birds.config.images import check_labels, check_size
from ray_birds.core.settings import Settings, check, option
from ray_birds.sweep.factors import BackboneName, Variant


@dataclass(frozen=True)
class CheckConfig(Settings):
    """Say what is in a folder of images before GPU hours are spent on it."""

    data: str
    """Folder with train/, valid/ and test/, each with one folder per class; or with shards (.tar, .parquet); with
    --labels any folder of images."""
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
        check_size(self.image_size)
        check(self.weights != "none", "--weights none: random features tell nothing of labels; give trained ones")
        fields = dataclasses.fields(self)
        for name in ("backbone", "weights", "image_size", "features_dir"):
            default = next(field.default for field in fields if field.name == name)
            check(self.suspects or getattr(self, name) == default, f"{option(name)} is for --suspects")
        check_labels(self.labels, self.columns, self.group_by)
