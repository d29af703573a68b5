"""What is wrong with the images of a data set, from the facts of each file; no Ray."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ray_birds.core.text import are
from ray_birds.data import formats, near_duplicates, neighbours
from ray_birds.data.dataset import Dataset
from ray_birds.data.groups import broken
from ray_birds.data.inspection import Finding, ImageRecord, Judgement

IMBALANCE = 10  # times as many training images: a class so much larger is worth a word
MAX_BAD = 0.01  # share of unreadable files at which a sweep, left to its defaults, does not start


def of_images(dataset: Dataset, records: dict[str, ImageRecord]) -> list[Finding]:
    """Images that are there twice, cannot be read, or show nothing."""
    paths = [path for split in dataset.splits.values() for path in split.paths if not records[path].error]
    groups: dict[int, list[str]] = defaultdict(list)
    for path, number in zip(paths, alike([records[path] for path in paths]).tolist(), strict=True):
        groups[number].append(path)
    several = [tuple(group) for group in groups.values() if len(group) > 1]
    split_of = {path: name for name, split in dataset.splits.items() for path in split.paths}
    label_of = {
        path: int(label)
        for split in dataset.splits.values()
        for path, label in zip(split.paths, split.labels, strict=True)
    }
    return [
        *_leaks(several, split_of),
        *_two_labels(several, label_of),
        *_repeated(several, split_of, label_of),
        *_unreadable(records),
        *_not_read(records),
        *_constant(records),
    ]


def copies(dataset: Dataset, found: list[Finding]) -> dict[str, tuple[str, ...]]:
    """By split but train: its images that are not new to a model, by the leaks that were `found`.

    Of valid those that have a copy in train, which it learned from; of test also those with one in valid, which
    chose it.
    """
    leaks = [set(group) for finding in found if finding.kind == "leak" for group in finding.groups]
    parts: set[str] = set()
    listed: dict[str, tuple[str, ...]] = {}
    for name in ("train", "valid", "test"):
        if name not in dataset.splits:
            continue
        paths = dataset.splits[name].paths
        if name != "train":
            copied = set[str]().union(*(group for group in leaks if not parts.isdisjoint(group)))
            listed[name] = tuple(path for path in paths if path in copied)
        parts.update(paths)
    return listed


def of_groups(dataset: Dataset) -> list[Finding]:
    """Groups that lie on both sides of a split; and images without a time, where times make the groups."""
    found = broken(dataset.groups, {name: split.paths for name, split in dataset.splits.items()})
    alone = sum(path not in dataset.groups for split in dataset.splits.values() for path in split.paths)
    text = f"{alone:,} of the images do not say when they were taken: each is a group on its own"
    undated = [Finding("group", False, text, ())] if alone and dataset.burst else []
    if not found:
        return undated
    name, sides = next(iter(found.items()))
    first = " and ".join(paths[0] for paths in sides.values())
    text = (
        f"{len(found):,} of the {len(set(dataset.groups.values())):,} groups are in more than one split, such as "
        f"{name!r}: {first}"
    )
    whole = tuple(tuple(path for paths in sides.values() for path in paths) for sides in found.values())
    return [Finding("group", True, text, whole), *undated]


def alike(records: list[ImageRecord], together: Sequence[str] = ()) -> np.ndarray:
    """(n,) int: images of the same content share a number; so do those that look the same, by their codes, and
    those of the same group by `together`, a name for each image or ""."""
    copies, first = _same([record.digest for record in records])
    grouped = np.array([number for number, name in enumerate(together) if name], np.int64)
    members = grouped[_same([name for name in together if name])[0]]
    coded = [number for number in first.tolist() if records[number].codes]
    similar = np.array(coded, np.int64)[
        near_duplicates.pairs([bytes.fromhex(records[number].codes) for number in coded])
    ]
    return near_duplicates.groups(len(records), np.concatenate([copies, similar, members]))


def _same(values: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) int: the first place of each value and its own; and the first places alone."""
    _, first, inverse = np.unique(np.array(values, str), return_index=True, return_inverse=True)
    return np.stack([first[inverse], np.arange(len(values))], axis=1), first


def of_classes(dataset: Dataset, records: dict[str, ImageRecord]) -> list[Finding]:
    """Training classes without a readable image, and classes of very different size."""
    train = dataset.splits["train"]
    good = Counter(
        int(label) for path, label in zip(train.paths, train.labels, strict=True) if not records[path].error
    )
    found = []
    lost = [name for number, name in enumerate(dataset.classes) if not good[number] and number in train.labels]
    if lost:
        found.append(Finding("lost class", True, f"train/ has no readable image of {_some(lost)}", ()))
    if good and max(good.values()) > IMBALANCE * min(good.values()):
        (most, high), (least, low) = good.most_common()[0], good.most_common()[-1]
        text = f"train/ has {high:,} images of {dataset.classes[most]!r} and {low:,} of {dataset.classes[least]!r}"
        found.append(Finding("imbalance", False, text, ()))
    return found


def of_features(judgement: Judgement) -> list[Finding]:
    """Suspect labels, and images that may be copies though hashing does not say so."""
    found, paths = [], judgement.paths
    rows = judgement.suspects.rows.tolist()
    if rows:
        text = f"{len(rows):,} of the labels are suspect, that of {paths[rows[0]]} first; see suspects.html"
        found.append(Finding("suspect", False, text, ()))
    if judgement.unjudged:
        text = (
            f"{judgement.unjudged:,} of the labels are not judged: images that belong together are all of a class"
        )
        found.append(Finding("suspect", False, text, ()))
    if judgement.close is None:
        text = f"more than {neighbours.MOST:,} images: copies were looked for by hashing alone"
        return [*found, Finding("close", False, text, ())]
    pairs = tuple((paths[one], paths[other]) for one, other in judgement.close.tolist())
    if pairs:
        first = " ~ ".join(pairs[0])
        text = f"{len(pairs):,} pairs of images are close by their features: copies perhaps, such as {first}"
        found.append(Finding("close", False, text, pairs))
    return found


def _leaks(several: list[tuple[str, ...]], split_of: dict[str, str]) -> list[Finding]:
    found = []
    for one, other in combinations(("train", "valid", "test"), 2):
        groups = tuple(group for group in several if {one, other} <= {split_of[path] for path in group})
        count = sum(split_of[path] == other for group in groups for path in group)
        if groups:
            first = [next(path for path in groups[0] if split_of[path] == split) for split in (other, one)]
            text = (
                f"{count:,} of the images in {other} {are(count)} in {one} too, by content or looks, "
                f"such as {first[0]} = {first[1]}"
            )
            found.append(Finding("leak", True, text, groups))
    return found


def _two_labels(several: list[tuple[str, ...]], label_of: dict[str, int]) -> list[Finding]:
    groups = tuple(group for group in several if len({label_of[path] for path in group}) > 1)
    if not groups:
        return []
    first = groups[0][0]
    other = next(path for path in groups[0] if label_of[path] != label_of[first])
    text = (
        f"{len(groups):,} of the images {are(len(groups))} there under two labels, by content or looks, such as "
        f"{first} = {other}"
    )
    return [Finding("two labels", True, text, groups)]


def _repeated(several: list[tuple[str, ...]], split_of: dict[str, str], label_of: dict[str, int]) -> list[Finding]:
    groups = tuple(g for g in several if len({(split_of[path], label_of[path]) for path in g}) == 1)
    if not groups:
        return []
    first = " = ".join(groups[0][:2])
    text = (
        f"{len(groups):,} of the images {are(len(groups))} in a class more than once, by content or looks, "
        f"such as {first}"
    )
    return [Finding("repeated", False, text, groups)]


def _unreadable(records: dict[str, ImageRecord]) -> list[Finding]:
    bad = [path for path, record in records.items() if record.error]
    if not bad:
        return []
    text = f"{len(bad):,} of the files cannot be read, such as {bad[0]}: {records[bad[0]].error}"
    return [Finding("unreadable", len(bad) > MAX_BAD * len(records), text, tuple((path,) for path in bad))]


def _not_read(records: dict[str, ImageRecord]) -> list[Finding]:
    """Images of kinds that are not read here, by kind; they count among the unreadable ones too."""
    found = []
    kinds = {p: record.format for p, record in records.items() if record.error == formats.not_read(record.format)}
    for kind in sorted(set(kinds.values())):
        paths = [path for path, other in kinds.items() if other == kind]
        text = f"{len(paths):,} of the files: {formats.not_read(kind)}, such as {paths[0]}"
        found.append(Finding("format", False, text, tuple((path,) for path in paths)))
    return found


def _constant(records: dict[str, ImageRecord]) -> list[Finding]:
    flat = [path for path, record in records.items() if record.constant]
    if not flat:
        return []
    text = f"{len(flat):,} of the images show one colour and nothing else, such as {flat[0]}"
    return [Finding("constant", False, text, tuple((path,) for path in flat))]


def _some(names: list[str]) -> str:
    return f"{names[0]!r}" + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")
