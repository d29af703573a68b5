"""The folder contract: train/, valid/ and test/ with one folder per class."""

from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import DataError, first_line
from ray_birds.data import walk
from ray_birds.data.labels import class_name, class_of, label
from ray_birds.data.table import SPLIT_FOLDERS, Found, Table


def read(root: str) -> Table:
    """The images of a folder by split and class; a class without images is there too.

    Raises DataError where there is no train/, or none that can be listed.
    """
    folders, twins = _split_folders(root)
    tree = walk.walk(root, folders.values())
    for closed in (one for one in tree.aside if one.path == folders["train"]):
        raise DataError(f"{root}/{closed.path}: {closed.reason}; mend this")
    images, others = walk.sort(tree)
    found, notes = _images_by_class(tree, images.files, folders)
    aside = [*tree.aside, *others]
    lost = [f"{root}/{path}: {why}; mend this, images may be missing" for path, why, lost in aside if lost]
    notes = [*notes, *walk.aside_notes(aside), *walk.litter_note(tree.litter)]
    return Table(root, found, (*twins, *lost), tuple(notes))


def _split_folders(root: str) -> tuple[dict[str, str], list[str]]:
    """Split -> its folder, and a line for each split that has several. Raises DataError where train is missing."""
    try:
        kind = storage.kind(root)
        names = storage.folders(root) if kind == fs.FileType.Directory else []
    except OSError as error:
        raise DataError(
            f"{root}: cannot be listed ({first_line(error)}); mend this, or give another --data"
        ) from error
    if kind == fs.FileType.File:
        raise DataError(
            f"{root}: a file; expected a folder with train/ (of an archive: ray-birds download --from {root})"
        )
    if kind != fs.FileType.Directory:
        raise DataError(f"{root}: no such folder; expected one with train/, valid/ and test/ in it")
    names = [name for name in names if not walk.is_litter(name)]
    spelled = {split: [n for n in names if n.strip().lower() in some] for split, some in SPLIT_FOLDERS.items()}
    if not spelled["train"]:
        raise DataError(f"{root}: has no folder train/ (found: {', '.join(names) or 'no folders'})")
    twins = [
        f"{root}: {' and '.join(f'{name}/' for name in several)} are both {split}; join them, or rename one"
        for split, several in spelled.items()
        if len(several) > 1
    ]
    # Of several the one that is spelled as it should be, for what is left to look at.
    best = {split: max(some, key=lambda name: name == split) for split, some in spelled.items() if some}
    return best, twins


def _images_by_class(tree: walk.Tree, images: list[str], folders: dict[str, str]) -> tuple[Found, list[str]]:
    """The images of each class, and notes; classes without images are there too.

    The folders directly below train/ are the classes. An image belongs to the nearest folder above it that is one;
    in valid/ and test/, where none is, to a class of the name of the outermost folder, which train/ does not have.
    """
    split_of = {folder: split for split, folder in folders.items()}
    tops: dict[str, list[str]] = {split: [] for split in folders}  # names of the folders directly below
    for path in tree.folders:
        parts = path.split("/")
        if len(parts) == 2 and parts[1]:
            tops[split_of[parts[0]]].append(parts[1])
    classes = frozenset(map(class_name, tops["train"]))
    found: Found = {split: {name: [] for name in classes} if split == "train" else {} for split in folders}
    holding: set[tuple[str, str]] = set()
    taken: dict[tuple[str, str, str], None] = {}  # (split, spelling, class), in order
    loose: list[str] = []
    for path in images:
        top, *inner = storage.folders_of(path)
        if not inner:
            loose.append(path)
            continue
        split = split_of[top]
        holding.add((split, inner[0]))
        name = label(inner, classes)
        if name is None:
            name = class_name(inner[0])
        elif (spelled := _spelling(inner, classes)) != name:
            taken[split, spelled, name] = None
        found[split].setdefault(name, []).append(path)
    for split, names in tops.items():
        for empty in (folder for folder in names if (split, folder) not in holding):
            found[split].setdefault(class_of(empty, classes) or class_name(empty), [])
    notes = [f"class {was!r} of {split}/ is taken for {name!r} of train/" for split, was, name in taken]
    if loose:
        notes.append(f"{len(loose):,} images in no class folder are left out, such as {loose[0]}")
    return found, [*notes, *_merged(tops)]


def _spelling(folders: list[str], classes: frozenset[str]) -> str:
    """The name, as a class's, of the nearest folder that is one."""
    return next(class_name(folder) for folder in reversed(folders) if class_of(folder, classes) is not None)


def _merged(tops: dict[str, list[str]]) -> list[str]:
    """Folders of one split whose names are those of one class, written in several ways."""
    notes = []
    for split, names in tops.items():
        by_name: dict[str, list[str]] = {}
        for name in names:
            by_name.setdefault(class_name(name), []).append(name)
        several = {name: folders for name, folders in by_name.items() if len(folders) > 1}
        notes += [
            f"{len(folders)} folders of {split}/ are one class, {name!r}: they differ in spaces or Unicode form"
            for name, folders in several.items()
        ]
    return notes
