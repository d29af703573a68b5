"""The options of `download`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from ray_birds.core.settings import Settings, check


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
