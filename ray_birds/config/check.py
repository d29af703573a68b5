"""The options of `check`."""

import dataclasses
from dataclasses import dataclass

from ray_birds.config.images import LabelledImages, check_size
from ray_birds.core.settings import check, option
from ray_birds.sweep.factors import BackboneName, Variant


@dataclass(frozen=True)
class CheckConfig(LabelledImages):
    """Say what is in a folder of images before GPU hours are spent on it."""

    output: str = "check"
    """Folder for the page and the tables; those of an earlier check are replaced, others never."""
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
        super().__post_init__()
        check_size(self.image_size)
        check(self.weights != "none", "--weights none: random features tell nothing of labels; give trained ones")
        fields = dataclasses.fields(self)
        for name in ("backbone", "weights", "image_size", "features_dir"):
            default = next(field.default for field in fields if field.name == name)
            check(self.suspects or getattr(self, name) == default, f"{option(name)} is for --suspects")
