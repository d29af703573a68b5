"""The feature store on disk: what frozen layers make of each image, kept for all trials and later sweeps.

    <store>/<backbone>-<split>-<cut point>-<view>-<key>/    shards of rows (n, *shape) and their manifest

A folder's key covers everything its numbers depend on, so a changed image, weight file or setting makes
another folder, and a sweep that needs the same features again computes nothing.
"""

import io
import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.data import augment, decode
from ray_birds.features import node_copy, shards
from ray_birds.features.shards import MANIFEST
from ray_birds.model.cut import PIXELS, CutPoint
from ray_birds.sweep.factors import Resize, Variant, View

FORMAT = 2  # part of every key: raise it when the layout changes


@dataclass(frozen=True)
class Feature:
    """One stored array: tensor `cut point` of all `rows` images of a split, in one view (None: as they are).

    `resize` is how the images became squares.
    """

    backbone: str
    split: str
    cut_point: str
    view: View | None
    resize: Resize
    shape: tuple[int, ...]
    dtype: str
    rows: int
    key: str

    @property
    def folder(self) -> str:
        view = "plain" if self.view is None else f"{self.view.policy}{self.view.number}"
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
    resize: Resize = "stretch"

    def feature(self, split: str, cut_point: CutPoint, view: View | None) -> Feature:
        dtype = "uint8" if cut_point.name == PIXELS else self.dtype
        facts = {
            "format": FORMAT,
            "images": self.fingerprints[split],
            "decode": decode.VERSION,
            "image_size": self.image_size,
            "resize": self.resize,
            "backbone": self.backbone,
            "weights": self.weights,
            "precision": self.precision,
            "cut_point": cut_point.name,
            "dtype": dtype,
        }
        if view is not None:
            policy = asdict(augment.POLICIES[view.policy])
            facts |= {"augment": policy, "seed": self.augment_seed, "view": view.number}
        key = storage.digest([json.dumps(facts, sort_keys=True)])[:16]
        rows, shape = self.rows[split], cut_point.shape
        return Feature(self.backbone, split, cut_point.name, view, self.resize, shape, dtype, rows, key)

    def needed(
        self, variant: Variant, pooled: CutPoint, cut_point: CutPoint, splits: Iterable[str]
    ) -> list[Feature]:
        """What a variant's trial reads: `pooled` for the head, `cut_point` for fine-tuning, `splits` plain."""
        found: dict[Feature, None] = {}
        for epoch in range(variant.epochs):
            point = pooled if epoch < variant.head_phase else cut_point
            for view in variant.views(epoch):
                found[self.feature("train", point, view)] = None
            for split in splits:
                found[self.feature(split, point, None)] = None
        return list(found)


def write_shard(store: str, feature: Feature, shard: int, values: np.ndarray) -> None:
    """Write one shard; a file under its final name is whole. Raises OutputError when the disk is full."""
    start, end = feature.span(shard)
    assert values.shape == (end - start, *feature.shape), (feature, shard, values.shape)
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, dtype=feature.dtype), allow_pickle=False)
    data = buffer.getvalue()
    uri = storage.join(store, feature.folder, shards.name(shard, data))
    try:
        storage.write(uri, data)
    except OSError as error:
        raise OutputError(
            f"{store}: cannot store features ({error}); free some space and continue with --resume, or "
            "start another sweep with --features none"
        ) from error


def missing(store: str, feature: Feature, *, verify: bool = False) -> list[int]:
    """Numbers of the shards that are not there whole; damaged ones are removed.

    With `verify` all are compared with their digests, else those on a local disk that are new or have changed.
    """
    uri = storage.join(store, feature.folder)
    there = _shards(uri)
    whole = shards.whole(uri, there, again=verify)
    for name in {*there} - {*whole}:
        storage.remove_file(storage.join(uri, name))
    present = {there[name] for name in whole}
    return [shard for shard in range(feature.shards) if shard not in present]


class Effort(NamedTuple):
    """What the pass that made a feature took: seconds of one worker, and images a second once it was at work.

    None where it is not known.
    """

    seconds: float | None = None
    images_per_second: float | None = None


def finish(store: str, feature: Feature, effort: Effort | None = None) -> None:
    """Write the manifest of a feature whose shards are all there; of two copies of a shard one is named.

    `effort` is what it took, where that was measured just now; else what the manifest says stays.
    """
    uri = storage.join(store, feature.folder)
    effort = effort or found_effort(store, feature)
    names = {shard: name for name, shard in _shards(uri).items()}
    description = {"format": FORMAT, "rows": feature.rows, "shape": feature.shape, "dtype": feature.dtype}
    description |= {"effort": effort._asdict(), "shards": [names[shard] for shard in range(feature.shards)]}
    storage.write_json(storage.join(uri, MANIFEST), description)


def found_effort(store: str, feature: Feature) -> Effort:
    """What the manifest of a feature says that it took."""
    try:
        return Effort(**storage.read_json(storage.join(store, feature.folder, MANIFEST))["effort"])
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # there is none yet, or a damaged one, which is written anew
        return Effort()


def _shards(uri: str) -> dict[str, int]:
    """Names and numbers of the shards in a feature's folder."""
    names = [storage.relative(info, uri) for info in storage.find(uri)]
    return {name: shard for name in names if (shard := shards.number(name)) is not None}


def free_bytes(store: str) -> float:
    """Free space for the store; infinite on an object store."""
    if not storage.is_local(store):
        return math.inf
    storage.local(store).mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(storage.local(store)).free


class Reader:
    """Rows of a complete feature, memory-mapped: readers on a node share one copy in the page cache.

    A store that lies elsewhere is first copied to this node, once, into the temporary directory.
    """

    def __init__(self, store: str, feature: Feature) -> None:
        uri = storage.join(store, feature.folder)
        here = uri if storage.is_local(uri) else storage.from_os(str(node_copy.of(uri, feature.folder)))
        files = [storage.local(storage.join(here, name)) for name in shards.listed(here)]
        self._shards = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
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
