"""Groups of images that belong together, such as those of one burst, place or animal: by folder; broken ones."""

from collections import defaultdict
from collections.abc import Iterable

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data.labels import class_of
from ray_birds.data.table import Table


def by_folder(table: Table, depth: int) -> dict[str, str]:
    """The group of each image below a folder: the first `depth` folders below that of its class or, with a file of
    labels, below the root. Raises DataError for an image that does not lie there."""
    classes = frozenset(table.found["train"])
    paths = (path for by_class in table.found.values() for some in by_class.values() for path in some)
    groups = {path: "/".join(_folders(table, path, classes)[:depth]) for path in paths}
    return {path: group for path, group in groups.items() if group}


def _folders(table: Table, path: str, classes: frozenset[str]) -> list[str]:
    folders = path.split("/")[:-1]
    if not table.file:
        labelled = max(n for n, folder in enumerate(folders) if n == 1 or class_of(folder, classes) is not None)
        return folders[labelled + 1 :]
    if path.startswith("/") or not storage.is_local(path):
        raise DataError(
            f"--group-by folder: {path} does not lie below {table.root}; give a column of {table.file}"
        )
    return folders


def broken(groups: dict[str, str], splits: dict[str, Iterable[str]]) -> dict[str, dict[str, list[str]]]:
    """Of each group in more than one split the paths in each, by the paths of the splits."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for split, paths in splits.items():
        for path in paths:
            if path in groups:
                found[groups[path]][split].append(path)
    return {group: dict(by_split) for group, by_split in found.items() if len(by_split) > 1}
