"""The steps of filling the feature store: decode and draw views -> frozen layers -> write, for whoever calls them.

No Ray. A unit is one shard of one split; each of its views gives one shard of every feature asked of that view, so
what is stored is the same, to the last bit, whoever makes the pixels and in whatever order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ray_birds.core import storage
from ray_birds.core.errors import NotFiniteError
from ray_birds.core.prefetch import prefetch
from ray_birds.data import augment, decode
from ray_birds.data.dataset import Split
from ray_birds.features import store
from ray_birds.features.store import Feature
from ray_birds.model import backbones, cut, device
from ray_birds.model.cut import PIXELS, CutPoint
from ray_birds.model.folding import folded
from ray_birds.sweep.factors import Resize, View

if TYPE_CHECKING:
    import tensorflow as tf

BATCH = 32  # images per forward pass, on a GPU


@dataclass(frozen=True)
class Unit:
    """One shard of one split with one backbone: the images of its rows, and the features missing, by view."""

    backbone: str
    resize: Resize
    shard: int
    images: Split
    views: dict[View | None, list[Feature]]

    @property
    def passes(self) -> int:
        """Images times views that go through the backbone."""
        return len(self.images) * len(self.views)


@dataclass(frozen=True)
class Source:
    """Where features come from: the data set's folder, the weights and the size they are made with."""

    root: str
    weights: str
    image_size: int
    augment_seed: int
    precision: str


class Decoder:
    """What goes through the frozen layers: a unit's images, decoded by `threads` threads, and their views."""

    def __init__(self, source: Source, threads: int) -> None:
        self._source, self._threads = source, threads

    def __call__(self, unit: Unit) -> Iterator[np.ndarray]:
        """(n, size, size, 3) uint8 for each of the unit's views, one drawn ahead. Raises DataError where an image
        has gone."""
        pixels = self._decode(unit)
        return prefetch(partial(self._draw, unit, pixels), unit.views, threads=1, window=2)

    def _decode(self, unit: Unit) -> np.ndarray:
        """(n, size, size, 3) uint8 of the unit's rows."""
        root, size, paths = self._source.root, self._source.image_size, unit.images.paths
        images = prefetch(
            lambda path: decode.load_known(storage.at(root, path), size, unit.resize), paths, self._threads
        )
        return np.fromiter(images, np.dtype((np.uint8, (size, size, 3))), len(paths))

    def _draw(self, unit: Unit, pixels: np.ndarray, view: View | None) -> np.ndarray:
        if view is None:
            return pixels
        seed = self._source.augment_seed
        policy = augment.POLICIES[view.policy]
        pairs = zip(pixels, unit.images.numbers, strict=True)
        return np.stack([augment.view(image, seed, int(n), view.number, policy) for image, n in pairs])


class FrozenLayers:
    """What frozen layers make of pixels. The last backbone stays loaded, and one function per set of cut points
    compiled."""

    def __init__(self, source: Source, threads: int) -> None:
        self._source = source
        self._threads = threads
        self._loaded = ""
        self.compiled = 0  # functions so far
        self._functions: dict[tuple[CutPoint, ...], Callable[[np.ndarray], dict[str, tf.Tensor]]] = {}

    def __call__(self, backbone: str, features: list[Feature], pixels: np.ndarray) -> dict[Feature, np.ndarray]:
        """Each feature of a view's (n, size, size, 3) uint8: (n, *shape) in the dtype that it is stored in.

        Raises NotFiniteError.
        """
        computed = [feature for feature in features if feature.cut_point != PIXELS]
        values = {PIXELS: pixels} | self._forward(backbone, computed, pixels)
        return {feature: values[feature.cut_point] for feature in features}

    def _forward(self, name: str, features: list[Feature], pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Cut point -> (n, *shape) in the dtype that it is stored in; raises NotFiniteError."""
        if not features:
            return {}
        lanes = device.use_lanes(self._threads)
        function = self._function(name, features)
        size = device.piece(BATCH, pixels.shape[1])
        pieces = (pixels[start : start + size] for start in range(0, len(pixels), size))
        batches = list(prefetch(function, pieces, lanes))
        return {
            feature.cut_point: _stored(feature, [batch[feature.cut_point] for batch in batches])
            for feature in features
        }

    def _function(self, name: str, features: list[Feature]) -> Callable[[np.ndarray], "dict[str, tf.Tensor]"]:
        import tensorflow as tf

        if self._loaded != name:
            device.use_precision(self._source.precision)
            self._model = backbones.build(name, self._source.weights, self._source.image_size)
            self._loaded, self._functions = name, {}
        cut_points = tuple(CutPoint(feature.cut_point, feature.shape) for feature in features)
        if cut_points not in self._functions:
            self.compiled += 1
            model = folded(cut.prefix(self._model, list(cut_points)))
            signature = [tf.TensorSpec((None, *self._model.input.shape[1:]), tf.uint8)]
            self._functions[cut_points] = tf.function(
                lambda pixels: {
                    cut_point: tf.cast(value, tf.float32)
                    for cut_point, value in model(tf.cast(pixels, tf.float32), training=False).items()
                },
                input_signature=signature,
            )
        return self._functions[cut_points]


def _stored(feature: Feature, batches: "list[tf.Tensor]") -> np.ndarray:
    """(n, *shape) in the dtype it is stored in; raises NotFiniteError."""
    with np.errstate(over="ignore"):
        values = np.concatenate([batch.numpy() for batch in batches]).astype(feature.dtype)
    if not np.isfinite(values).all():
        raise NotFiniteError(
            f"features of {feature.backbone} at {feature.cut_point} are not finite in {feature.dtype}; give "
            "--feature-dtype float32, and --precision float32"
        )
    return values


def compute(uri: str, unit: Unit, decode: Decoder, layers: FrozenLayers) -> None:
    """All steps of one unit; the next view is drawn while this one goes through the layers."""
    for features, pixels in zip(unit.views.values(), decode(unit), strict=True):
        write(uri, unit, layers(unit.backbone, features, pixels))


def write(uri: str, unit: Unit, values: dict[Feature, np.ndarray]) -> None:
    """Write the shards of a unit in one view. Raises OutputError where the disk is full."""
    for feature, rows in values.items():
        store.write_shard(uri, feature, unit.shard, rows)
