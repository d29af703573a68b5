"""Folders as they come: the one inside that holds train/, and copies of it."""

import shutil
from pathlib import Path

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.core.terminal import progress, say
from ray_birds.data import walk
from ray_birds.data.sources.disk import DEEPEST, check_cap, check_room, on_disk
from ray_birds.data.table import SPLIT_FOLDERS


def find_root(folder: Path) -> Path | None:
    """The folder at or below `folder`, nearest to it, that holds train/; None if there is none.

    Raises DataError where two at the same depth do.
    """
    tree = walk.walk(storage.from_os(str(folder)))
    parted = (path.rpartition("/") for path in tree.folders)
    holding = [above for above, _, name in parted if name.lower() in SPLIT_FOLDERS["train"]]
    if not holding:
        return None
    nearest = min(map(_depth, holding))
    several = [path for path in dict.fromkeys(holding) if _depth(path) == nearest]
    if len(several) > 1:
        raise DataError(
            f"several folders hold train/ ({', '.join(several)}); unpack it yourself and give one with --from DIR"
        )
    return folder / storage.to_os(several[0])


def _depth(path: str) -> int:
    return path.count("/") + bool(path)


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, sorted, as a sweep walks it: links followed, without what systems leave behind."""
    return [folder / storage.to_os(path) for path in walk.walk(storage.from_os(str(folder))).files]


def check_listed(folder: Path) -> walk.Tree:
    """What lies below a folder. Raises DataError where something in it cannot be listed or named."""
    tree = walk.walk(storage.from_os(str(folder)))
    lost = next((one for one in tree.aside if one.lost), None)
    if lost:
        raise DataError(f"{folder / lost.path}: {lost.reason}; mend this, images may be missing")
    return tree


def copy_tree(source: Path, target: Path, cap: int) -> None:
    """Copy a folder's files to a new folder, and say what is left out. Raises OutputError where they do not fit,
    DataError where something in it cannot be listed or named."""
    tree = check_listed(source)
    for note in [*walk.aside_notes(tree.aside), *walk.litter_note(tree.litter)]:
        say(f"note: {note}")
    deep = next((path for path in tree.files if path.count("/") > DEEPEST), "")
    if deep:
        raise DataError(f"{source}: {deep[:100]}... lies more than {DEEPEST} folders deep; leave it out")
    paths = (source / storage.to_os(path) for path in tree.files)
    files = [path for path in paths if path.exists()]  # a link may lead nowhere
    size = sum(on_disk(file.stat().st_size) for file in files)
    check_cap(size, cap, str(source))
    check_room(target.parent, size, str(source))
    target.mkdir()
    with progress("copying", len(files), "files") as meter:
        for file in files:
            uri = target / file.relative_to(source)
            uri.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, uri)
            meter.advance(1)
