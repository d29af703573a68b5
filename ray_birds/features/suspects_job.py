"""Labels that are probably wrong, and copies that hashing misses: a Ray job on the pooled features of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import ray

from ray_birds.config import CheckConfig
from ray_birds.core import cluster, storage, terminal
from ray_birds.core.cluster import Resources
from ray_birds.core.errors import OutputError
from ray_birds.data import findings, inspect_job, neighbours
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import ImageRecord, Judgement, fingerprint
from ray_birds.evaluation import suspects
from ray_birds.features import compute, descriptions, store
from ray_birds.features.steps import Source
from ray_birds.features.store import FeatureSpec, Reader
from ray_birds.model import backbones, device

FOLDS = 5
TYPICAL = 3  # images that stand for a class
_TASK_CPUS = 4  # TensorFlow gains little from more threads on batches of features
_BLOCK = 4096  # images whose neighbours one task looks for
_READ = 8192  # rows at a time
_SEED, _PRECISION, _DTYPE = 0, "float32", "float16"  # those of a sweep by default, whose store may be used


def check_locally(config: CheckConfig, features_dir: str) -> None:
    """See, before images are read, that weights are there and features can be written.

    Raises ModelError or OutputError where not.
    """
    backbones.weights_digest(config.weights)
    storage.check_writable(features_dir, "--features-dir")


def judge(
    config: CheckConfig, features_dir: str, dataset: Dataset, records: dict[str, ImageRecord], resources: Resources
) -> Judgement:
    """What features say of the labels of all images that can be read. Raises ModelError, OutputError."""
    data = inspect_job.readable(dataset, records)
    paths = tuple(path for split in data.splits.values() for path in split.paths)
    labels = np.concatenate([split.labels for split in data.splits.values()]).astype(np.int64)
    same = findings.alike([records[path] for path in paths], [data.groups.get(path, "") for path in paths])
    features = _pooled(config, features_dir, data, records, resources)
    shared = ray.put(features)
    folds = suspects.folds(labels, same, FOLDS, len(data.classes))
    judged = np.flatnonzero(folds >= 0)
    scores = _out_of_fold(shared, labels, folds, len(data.classes), resources)
    found = suspects.find(scores[judged], labels[judged])
    typical = suspects.typical(scores[judged], labels[judged], found.suggested, TYPICAL)
    return Judgement(
        paths,
        labels,
        found._replace(rows=judged[found.rows]),
        {label: judged[rows] for label, rows in typical.items()},
        len(paths) - len(judged),
        _close(shared, same),
    )


def _pooled(
    config: CheckConfig, uri: str, data: Dataset, records: dict[str, ImageRecord], resources: Resources
) -> np.ndarray:
    """(n, d) float16 pooled features of all images, split by split, of norm 1; made where they are not stored."""
    digest, size = backbones.weights_digest(config.weights), config.image_size
    about = descriptions.describe(uri, [config.backbone], config.weights, digest, size, (0,))[config.backbone]
    spec = FeatureSpec(
        config.backbone,
        digest,
        size,
        _DTYPE,
        _SEED,
        {name: fingerprint(data, name, records) for name in data.splits},
        {name: len(split) for name, split in data.splits.items()},
        _PRECISION,
    )
    features = [spec.feature(name, about.pooled, None) for name in data.splits]
    source = Source(data.root, config.weights, size, _SEED, _PRECISION)
    missing = {one: store.missing(uri, one) for one in features}
    wanted, free = sum(one.bytes_of(shards) for one, shards in missing.items()), store.free_bytes(uri)
    if wanted > free:
        raise OutputError(
            f"--features-dir {uri}: features need {wanted / 1e9:.3g} GB, the disk has {free / 1e9:.3g} GB; give "
            "another folder"
        )
    compute.materialise(uri, missing, data.splits, source, resources)
    values = np.empty((sum(one.rows for one in features), *about.pooled.shape), np.float16)
    end = 0
    for one in features:
        reader = Reader(uri, one)
        for start in range(0, one.rows, _READ):
            rows = reader.rows(np.arange(start, min(start + _READ, one.rows)))
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            values[end : end + len(rows)] = rows / np.maximum(norms, np.finfo(np.float32).tiny)
            end += len(rows)
    return values


def _out_of_fold(
    features: "ray.ObjectRef[Any]", labels: np.ndarray, folds: np.ndarray, classes: int, resources: Resources
) -> np.ndarray:
    """(n, classes) float32; those of an image in no fold are 0."""
    threads = min(_TASK_CPUS, resources.node_cpus)
    task = ray.remote(num_cpus=threads, num_gpus=1 if resources.gpus else 0)(_fold)
    wanted = [fold for fold in range(FOLDS) if (folds == fold).any()]
    refs = [task.remote(features, labels, folds, fold, classes, threads) for fold in wanted]
    scores = np.zeros((len(labels), classes), np.float32)
    for fold, found in zip(wanted, _results("Judging labels", refs, f"a node with {threads} CPU(s)"), strict=True):
        scores[folds == fold] = found
    return scores


def _fold(
    features: np.ndarray, labels: np.ndarray, folds: np.ndarray, fold: int, classes: int, threads: int
) -> np.ndarray:
    device.use_threads(threads)
    from ray_birds.model import out_of_fold  # brings TensorFlow in

    return out_of_fold.probabilities(features, labels, folds, fold, classes)


def _close(features: "ray.ObjectRef[Any]", same: np.ndarray) -> np.ndarray | None:
    """(m, 2) rows of images that may be copies and that hashing did not put together; None where images are too
    many to look."""
    total = len(same)
    if total > neighbours.MOST:
        return None
    task = ray.remote(num_cpus=1)(neighbours.nearest)
    refs = [task.remote(features, start, min(start + _BLOCK, total)) for start in range(0, total, _BLOCK)]
    parts = _results("Neighbours", refs, "a free CPU")
    near = neighbours.Nearest(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    pairs = neighbours.pairs(near)
    return pairs[same[pairs[:, 0]] != same[pairs[:, 1]]]


def _results(title: str, refs: Sequence["ray.ObjectRef[Any]"], needs: str) -> list[Any]:
    found = []
    with terminal.progress(title, len(refs), "parts", needs=needs) as meter, cluster.user_errors():
        for ref in refs:
            found.append(ray.get(ref))
            meter.advance()
    return found
