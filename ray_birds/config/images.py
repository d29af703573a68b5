"""What options about images and their labels must be, for each command that has them."""

from ray_birds.core.settings import check
from ray_birds.sweep.factors import MAX_IMAGE_SIZE

LABEL_COLUMNS = ("path", "label", "split")  # of --labels


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
