"""Shards as a labelled data set: a split by a shard's name or folder, a label beside or above each image."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import pyarrow as pa
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data import walk
from ray_birds.data.labels import class_name
from ray_birds.data.shards import members
from ray_birds.data.table import SPLIT_BY_NAME, Found, Table, as_in_train, split_of
from ray_birds.data.walk import Aside, Tree


def read(root: str) -> Table | None:
    """The images of the shards below a folder by split and class: of train alone where nothing names a split.

    Images without a label are left out and counted. None where there are class folders, or no shard with
    images. Raises DataError where some shards name a split and others do not.
    """
    if _has_class_folders(root):
        return None
    tree = walk.walk(root)
    if not any(members.is_shard(name) for names in tree.names.values() for name in walk.texts(names)):
        return None
    images, others = walk.sort(tree)
    if not any(map(_is_of_shards, images.files)):
        return None
    found: Found = defaultdict(lambda: defaultdict(list))
    split_by: dict[str, str] = {}  # shard -> its own split
    left = Counter[str]()
    for folder, names in images.runs():
        shard = storage.split_member(folder)[0]
        if shard == folder:
            damaged = [folder + name for name in walk.texts(names) if _is_of_shards(name)]
            others += [Aside(path, _fault(images.uri(path)), True) for path in damaged]
            left["images in no shard"] += len(names) - len(damaged)
            continue
        inner = storage.folders_of(folder)[shard.count("/") :]
        named = next((SPLIT_BY_NAME[name.lower()] for name in inner if name.lower() in SPLIT_BY_NAME), "")
        split = named or split_by.setdefault(shard, split_of(shard))
        for name, label in _labelled(images, folder, names, inner):
            if label:
                found[split].setdefault(label, []).append(folder + name)
            left["images without a label"] += not label
    _check_splits(root, found, split_by)
    found = {split or "train": dict(by_class) for split, by_class in found.items()}
    return _table(root, found, left, [*tree.aside, *others])


def _has_class_folders(root: str) -> bool:
    """Whether folders give the classes; also where there is nothing to look at, which `folder.read` tells."""
    try:
        if storage.kind(root) != fs.FileType.Directory:
            return True
        trains = [name for name in storage.folders(root) if SPLIT_BY_NAME.get(name.strip().lower()) == "train"]
        inner = [name for train in trains for name in storage.folders(storage.join(root, train))]
    except OSError:
        return True
    return not all(map(walk.is_litter, inner))


def _is_of_shards(path: str) -> bool:
    """Whether an image is in a shard, or is one: a damaged one."""
    return bool(storage.split_member(path)[1]) or members.is_shard(path)


def _fault(uri: str) -> str:
    shard = walk.contents(uri)
    return shard if isinstance(shard, str) else shard.fault


def _labelled(images: Tree, folder: str, names: pa.StringArray, inner: list[str]) -> Iterator[tuple[str, str]]:
    """Names of images with their class, "" for none: by what is beside them, else by the folder in the shard."""
    above = inner[-1] if inner and inner[-1].lower() not in SPLIT_BY_NAME else ""
    beside = images.labels(folder, names) or (None,) * len(names)
    class_of = {label: class_name(label or above) for label in set(beside)}
    return zip(walk.texts(names), (class_of[label] for label in beside), strict=True)


def _check_splits(root: str, found: Found, split_by: dict[str, str]) -> None:
    unnamed = [shard for shard, split in split_by.items() if not split]
    if unnamed and set(found) - {""}:
        raise DataError(
            f"{root}/{unnamed[0]}: no split in its name, as others have; rename it to train-..., valid-... "
            "or test-..."
        )


def _table(root: str, found: Found, left: Counter[str], aside: list[Aside]) -> Table:
    if "train" not in found:
        said = "".join(f" ({count:,} {what})" for what, count in left.items() if count)
        raise DataError(
            f"{root}: its shards have no labelled image of train{said}; expected a .cls, .txt or .json beside "
            "each image, folders in the shard, or a column of labels; or give a table (--labels)"
        )
    lost = [f"{root}/{path}: {why}; mend this, images may be missing" for path, why, lost in aside if lost]
    notes = [f"{count:,} {what} are left out" for what, count in left.items() if count]
    return Table(root, found, tuple(lost), (*as_in_train(found), *notes, *walk.aside_notes(aside)), in_shards=True)
