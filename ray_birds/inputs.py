"""The files to score: folders, single files and patterns -> a list of images, and what was left aside."""

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyarrow import fs

from ray_birds import files, images
from ray_birds.dataset import class_name
from ray_birds.errors import DataError


@dataclass(frozen=True)
class Found:
    """Images as (input, path) pairs, `path` below the input, and what is no image: (place, why)."""

    images: tuple[tuple[str, str], ...]
    ignored: tuple[tuple[str, str], ...]


def find(inputs: Iterable[str]) -> Found:
    """All images of all inputs, sorted within each. Raises DataError where there is none."""
    inputs = tuple(inputs)
    wanted: list[tuple[str, str]] = []
    ignored: list[tuple[str, str]] = []
    for given in inputs:
        for name in _expand(given):
            more, less = _below(name)
            wanted += [(name, path) for path in more]
            ignored += less
    if not wanted:
        aside = f" ({len(ignored)} other files, such as {ignored[0][0]})" if ignored else ""
        raise DataError(
            f"no image found in {', '.join(map(repr, inputs))}{aside}; expected folders or image files"
        )
    return Found(tuple(wanted), tuple(ignored))


def place(given: str, path: str) -> str:
    """The absolute place of an image found under an input; a file given by itself has its own name as path."""
    root = files.resolve(given)
    return root if path == "" else files.join(root, path)


def label(given: str, path: str, classes: frozenset[str]) -> str | None:
    """The class whose folder an image lies in; None where its folder is not named like a class."""
    folder = class_name(PurePosixPath(place(given, path)).parent.name)
    return folder if folder in classes else None


def _expand(given: str) -> list[str]:
    """An input as it is, or what its pattern matches. Raises DataError where there is nothing."""
    if files.exists(files.resolve(given)):
        return [given]
    matched = sorted(glob.glob(given, recursive=True)) if files.is_local(given) else []
    if not matched:
        raise DataError(
            f"--input {given}: nothing there; expected a folder, an image file or a pattern that matches"
        )
    return matched


def _below(given: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Paths of the images below an input (or the file itself, as ""), and what was left aside."""
    root = files.resolve(given)
    if files.kind(root) == fs.FileType.File:
        return [""], []
    listing = (
        _walk(root) if files.is_local(root) else [files.relative(info, root) for info in files.find(root)]
    )
    wanted, ignored = [], []
    for path in listing:
        at = files.join(root, path)
        if files.is_local(at) and Path(at).is_dir():
            ignored.append(
                (at, "a folder with an image's name" if not Path(at).is_symlink() else "a link to a folder")
            )
        elif images.has_image_ending(path) or (
            "." not in PurePosixPath(path).name and images.looks_like_image(at)
        ):
            wanted.append(path)
        else:
            ignored.append((at, "not an image"))
    return wanted, ignored


def _walk(root: str) -> list[str]:
    """Files below a local folder; linked folders and folders with an image's name are listed themselves."""
    found = []
    for folder, folders, names in os.walk(root, followlinks=False):
        odd = [name for name in folders if images.has_image_ending(name) or Path(folder, name).is_symlink()]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in [*names, *odd]]
    return sorted(found)
