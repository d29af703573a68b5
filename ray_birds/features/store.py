"""The feature store on disk: what frozen layers make of each image, kept for all trials and later sweeps.

    <store>/<backbone>-<split>-<cut point>-<view>-<key>/
        00000-<digest>.npy      rows 0..n of the split, (n, *shape); its name carries its content's digest
        manifest.json           written last: the shards of a complete feature

A folder's key covers everything its numbers depend on, so a changed image, weight file or setting makes
another folder, and a sweep that needs the same features again computes nothing.
"""

import fcntl
import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.model.cut import PIXELS, CutPoint
from ray_birds.sweep.factors import Variant

FORMAT = 1  # part of every key: raise it when decoding, augmentation or layout change
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Feature:
    """One stored array: tensor `cut point` of all `rows` images of a split, in one view (None: as they are)."""

    backbone: str
    split: str
    cut_point: str
    view: int | None
    shape: tuple[int, ...]
    dtype: str
    rows: int
    key: str

    @property
    def folder(self) -> str:
        view = "plain" if self.view is None else f"view{self.view}"
        return f"{self.backbone}-{self.split}-{self.cut_point}-{view}-{self.key}"

    @property
    def bytes_per_row(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def size(self) -> int:
        """Bytes of the whole array."""
        return self.rows * self.bytes_per_row

    @property
    def shard_rows(self) -> int:
        """Rows of a shard: some 64 shards for a large split, so that work and loss come in small pieces."""
        return min(max(64, math.ceil(self.rows / 64)), 1024)

    @property
    def shards(self) -> int:
        return math.ceil(self.rows / self.shard_rows)

    def bytes_of(self, shards: Iterable[int]) -> int:
        return sum(end - start for start, end in map(self.span, shards)) * self.bytes_per_row

    def span(self, shard: int) -> tuple[int, int]:
        """First row of a shard and the one behind its last."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.rows)


@dataclass(frozen=True)
class FeatureSpec:
    """The features that can be made of one data set with one backbone; `fingerprints` and `rows` by split."""

    backbone: str
    weights: str  # their digest
    image_size: int
    dtype: str
    augment_seed: int
    fingerprints: dict[str, str]
    rows: dict[str, int]
    precision: str = "float32"  # of the frozen layers

    def feature(self, split: str, cut_point: CutPoint, view: int | None) -> Feature:
        dtype = "uint8" if cut_point.name == PIXELS else self.dtype
        facts = [
            FORMAT,
            self.fingerprints[split],
            self.backbone,
            self.weights,
            self.image_size,
            cut_point.name,
            dtype,
            self.precision,
        ]
        drawn = [] if view is None else [self.augment_seed, view]
        key = storage.digest([json.dumps([*facts, *drawn])])[:16]
        return Feature(self.backbone, split, cut_point.name, view, cut_point.shape, dtype, self.rows[split], key)

    def needed(
        self, variant: Variant, pooled: CutPoint, cut_point: CutPoint, splits: Iterable[str]
    ) -> list[Feature]:
        """What a variant's trial reads: `pooled` for the head, `cut_point` for fine-tuning, `splits` plain."""
        found: dict[Feature, None] = {}
        for epoch in range(variant.epochs):
            phase_tap = pooled if epoch < variant.head_epochs else cut_point
            found[self.feature("train", phase_tap, variant.view(epoch))] = None
            for split in splits:
                found[self.feature(split, phase_tap, None)] = None
        return list(found)


def write_shard(store: str, feature: Feature, shard: int, values: np.ndarray) -> None:
    """Write one shard; a file under its final name is whole. Raises OutputError when the disk is full."""
    start, end = feature.span(shard)
    assert values.shape == (end - start, *feature.shape), (feature, shard, values.shape)
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, dtype=feature.dtype), allow_pickle=False)
    data = buffer.getvalue()
    uri = storage.join(store, feature.folder, f"{shard:05d}-{storage.digest([data])}.npy")
    try:
        storage.write(uri, data)
    except OSError as error:
        raise OutputError(
            f"{store}: cannot store features ({error}); free some space and continue with --resume, or "
            "start another sweep with --features none"
        ) from error


def missing(store: str, feature: Feature) -> list[int]:
    """Numbers of the shards that are not there whole.

    On a local disk every shard's content is compared with its digest and a damaged file is removed; object
    stores check their content themselves.
    """
    uri = storage.join(store, feature.folder)
    found = [storage.relative(info, uri) for info in storage.find(uri)]
    names = [name for name in found if name.endswith(".npy")]
    with ThreadPoolExecutor() as pool:
        whole = dict(zip(names, pool.map(lambda name: _is_whole(storage.join(uri, name)), names), strict=True))
    present = {int(name.partition("-")[0]) for name, good in whole.items() if good}
    return [shard for shard in range(feature.shards) if shard not in present]


def _is_whole(uri: str) -> bool:
    if not storage.is_local(uri):
        return True
    path = Path(uri)
    good = storage.digest([path.read_bytes()]) == path.stem.partition("-")[2]
    if not good:
        path.unlink()
    return good


def finish(store: str, feature: Feature) -> None:
    """Write the manifest of a feature whose shards are all there; of two copies of a shard one is named."""
    uri = storage.join(store, feature.folder)
    names = {int(name.partition("-")[0]): name for name in _names(uri) if name.endswith(".npy")}
    shards = [names[shard] for shard in range(feature.shards)]
    description = {"format": FORMAT, "rows": feature.rows, "shape": feature.shape, "dtype": feature.dtype}
    storage.write_json(storage.join(uri, MANIFEST), description | {"shards": shards})


def _names(uri: str) -> list[str]:
    return [storage.relative(info, uri) for info in storage.find(uri)]


def free_bytes(store: str) -> float:
    """Free space for the store; infinite on an object store."""
    if not storage.is_local(store):
        return math.inf
    Path(store).mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(store).free


class Reader:
    """Rows of a complete feature, memory-mapped: readers on a node share one copy in the page cache.

    A store that lies elsewhere is first copied to this node, once, into the temporary directory.
    """

    def __init__(self, store: str, feature: Feature) -> None:
        uri = storage.join(store, feature.folder)
        folder = Path(uri) if storage.is_local(uri) else _copy_here(uri, feature)
        names = storage.read_json(str(folder / MANIFEST))["shards"]
        self._shards = [np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in names]
        self._shard_rows = feature.shard_rows
        self.shape = feature.shape

    def rows(self, numbers: Iterable[int] | np.ndarray) -> np.ndarray:
        """(n, *shape) float32 (uint8 where images are stored) of the rows with these numbers, in this order."""
        wanted = np.asarray(numbers, dtype=np.int64)
        dtype = self._shards[0].dtype
        values = np.empty((len(wanted), *self.shape), dtype)
        for position, number in enumerate(wanted):
            shard, row = divmod(int(number), self._shard_rows)
            values[position] = self._shards[shard][row]
        return values if dtype == np.uint8 else values.astype(np.float32)


def _copy_here(uri: str, feature: Feature) -> Path:
    """This node's copy of a remote feature: one process makes it, the others wait for it.

    Raises OutputError where the node's disk has no room for it.
    """
    cache = Path(tempfile.gettempdir(), f"ray-birds-features-{os.getuid()}")
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    target, part = cache / feature.folder, cache / f"{feature.folder}.part"
    with (cache / f"{feature.folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel when its holder dies
        if not _is_complete(target):
            shutil.rmtree(target, ignore_errors=True)
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed while copying
            try:
                storage.copy(uri, str(part))
                part.rename(target)
            except OSError as error:
                shutil.rmtree(part, ignore_errors=True)
                raise OutputError(
                    f"{uri}: cannot be copied to {cache} ({error}); give the node's TMPDIR more room and go on "
                    "with --resume, or start another sweep with --features none"
                ) from error
    return target


def _is_complete(folder: Path) -> bool:
    """Whether a copy is there with all its shards: temporary directories are tidied up by others."""
    try:
        shards = storage.read_json(str(folder / MANIFEST))["shards"]
    except (OSError, ValueError):
        return False
    return all((folder / name).exists() for name in shards)
