"""Folders as they come: the one inside that holds train/, and copies of it."""

import os
import shutil
from pathlib import Path

from ray_birds.core.errors import DataError
from ray_birds.core.terminal import progress
from ray_birds.data.dataset import SPLIT_FOLDERS
from ray_birds.data.sources.disk import check_cap, check_room, on_disk


def find_root(folder: Path) -> Path | None:
    """The folder at or below `folder`, nearest to it, that holds train/; None if there is none.

    Raises DataError where two at the same depth do.
    """
    level = [folder]
    while level:
        holding = [uri for uri in level if SPLIT_FOLDERS["train"][0] in map(str.lower, _folders(uri))]
        if len(holding) > 1:
            names = ", ".join(str(uri.relative_to(folder)) for uri in holding)
            raise DataError(
                f"several folders hold train/ ({names}); unpack it yourself and give one with --from DIR"
            )
        if holding:
            return holding[0]
        level = [uri / name for uri in level for name in _folders(uri)]
    return None


def _folders(uri: Path) -> list[str]:
    """Names of the folders in a place, sorted. Links count: only a tree of the user's own has any."""
    return sorted(entry.name for entry in os.scandir(uri) if entry.is_dir())


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, links followed, sorted. Raises DataError where a link leads back up."""
    found: list[Path] = []
    seen: set[Path] = set()
    for uri, _, names in os.walk(folder, followlinks=True):
        real = Path(uri).resolve()
        if real in seen:
            raise DataError(f"{uri}: leads to {real}, which is in {folder} already; remove the link")
        seen.add(real)
        found.extend(Path(uri, name) for name in names)
    return sorted(found)


def copy_tree(source: Path, target: Path, cap: int) -> None:
    """Copy a folder's files to a new folder. Raises OutputError where they do not fit."""
    files = files_below(source)
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
