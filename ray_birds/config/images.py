"""Options about images and their labels, and what they must be, for each command that has them."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from ray_birds.core.settings import Settings, check
from ray_birds.sweep.factors import MAX_IMAGE_SIZE

LABEL_COLUMNS = ("path", "label", "split")  # of --labels


@dataclass(frozen=True, kw_only=True)
class LabelledImages(Settings):
    """What a command is told of a data set with splits."""

    data: str = field(kw_only=False)
    """Folder with train/, valid/ and test/, each with one folder per class; or with shards (.tar, .parquet); with
    --labels any folder of images."""
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
    max_bytes: int = 100_000_000
    """Files larger than this are not read: they count as unreadable images."""

    def __post_init__(self) -> None:
        check(self.max_bytes >= 1, f"--max-bytes {self.max_bytes}: expected at least 1")
        check_labels(self.labels, self.columns, self.group_by)


def check_size(size: int) -> None:
    check(size >= 32, f"--image-size {size}: expected at least 32")
    check(size <= MAX_IMAGE_SIZE, f"--image-size {size}: expected at most {MAX_IMAGE_SIZE}")


def check_labels(
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
