"""Wrong labels that are planted in photographs: how many `check --suspects` finds, and how many cleanlab does.

    python benchmarks/suspects.py ../shared/data/clothing --weights ../shared/weights/FILE --seeds 3

Of the labels of each data set some are swapped for others, with a seed. All ways get the same out-of-fold
probabilities; cleanlab is measured where it is installed. A mistake that was there before counts as a false alarm.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pooled import Backbone

from ray_birds.data import decode, findings, near_duplicates, neighbours
from ray_birds.data.dataset import Dataset, scan
from ray_birds.data.inspection import ImageRecord
from ray_birds.evaluation import suspects
from ray_birds.features.suspects_job import FOLDS

FIRST = 100


def swapped(labels: np.ndarray, share: float, classes: int, seed: int) -> np.ndarray:
    """The labels (n,) with a share of them exchanged for any other class, each as probable."""
    random = np.random.default_rng(seed)
    wrong = random.permutation(len(labels))[: round(share * len(labels))]
    given = labels.copy()
    given[wrong] = (given[wrong] + random.integers(1, classes, len(wrong))) % classes
    return given


def out_of_fold(features: np.ndarray, labels: np.ndarray, same: np.ndarray, classes: int) -> np.ndarray:
    from ray_birds.model import out_of_fold as heads

    folds = suspects.folds(labels, same, FOLDS, classes)
    scores = np.zeros((len(labels), classes), np.float32)
    for fold in range(FOLDS):
        scores[folds == fold] = heads.probabilities(features, labels, folds, fold, classes)
    return scores


def ways(scores: np.ndarray, labels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What is suspect by each way, the most suspicious first."""
    found = suspects.find(scores, labels)
    yield "ours", found.rows
    yield "ours, by margin", found.rows[np.argsort(found.of_given - found.of_suggested, kind="stable")]
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return
    for pruned in ("prune_by_noise_rate", "prune_by_class", "confident_learning"):
        for order in ("self_confidence", "normalized_margin"):
            rows = find_label_issues(labels, scores, filter_by=pruned, return_indices_ranked_by=order, n_jobs=1)
            yield f"cleanlab, {pruned}, {order}", np.asarray(rows)


def alike(dataset: Dataset, contents: list[bytes], paths: list[str]) -> np.ndarray:
    """Copies share a number, as in the check."""
    records = []
    for data in contents:
        pixels = decode.decode(data, near_duplicates.SIZE).pixels
        assert pixels is not None
        records.append(ImageRecord("", "", 1, 1, "", False, near_duplicates.codes(pixels).hex()))
    records = [record._replace(digest=path) for record, path in zip(records, paths, strict=True)]
    return findings.alike(records, [dataset.groups.get(path, "") for path in paths])


def measure(root: str, backbone: Backbone, share: float, seeds: int) -> None:
    dataset = scan(root)
    paths = [path for split in dataset.splits.values() for path in split.paths]
    labels = np.concatenate([split.labels for split in dataset.splits.values()]).astype(np.int64)
    classes = len(dataset.classes)
    contents = [Path(dataset.uri(path)).read_bytes() for path in paths]
    features = backbone(contents).astype(np.float16)
    same = alike(dataset, contents, paths)
    start = time.perf_counter()
    neighbours.pairs(neighbours.nearest(features, 0, len(features)))
    print(f"{root}: {len(paths):,} images, {classes} classes; neighbours in {time.perf_counter() - start:.1f} s")
    found: dict[str, list[tuple[float, float, int]]] = {}
    for seed in range(seeds):
        given = swapped(labels, share, classes, seed)
        is_wrong = given != labels
        start = time.perf_counter()
        scores = out_of_fold(features, given, same, classes)
        seconds = time.perf_counter() - start
        right = (scores.argmax(axis=1) == labels).mean()
        print(
            f"  seed {seed}: {is_wrong.sum()} planted; {right:.1%} right out of fold, in {seconds:.1f} s",
            flush=True,
        )
        for name, rows in ways(scores, given):
            shares = is_wrong[rows[:FIRST]].mean(), is_wrong[rows].sum() / is_wrong.sum()
            found.setdefault(name, []).append((*shares, len(rows)))
    for name, numbers in found.items():
        precision, recall, length = np.mean(numbers, axis=0)
        print(f"  {precision:6.1%} of the first {FIRST}, {recall:6.1%} of all among {length:6,.0f}: {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--backbone", default="MobileNetV2-0.35")
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are swapped")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    backbone = Backbone(given.backbone, given.weights)
    for root in given.data:
        measure(root, backbone, given.share, given.seeds)


if __name__ == "__main__":
    main()
