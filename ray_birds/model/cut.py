"""Where a backbone is cut into what stays frozen and what is trained, and the frozen part as a model.

`prefix` is what stays frozen and is computed once, the tail what a variant trains: tail(prefix(x)) is the
backbone. Both share the backbone's layers. A cut is named by the layer whose output crosses it: the cut point.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ray_birds.core.errors import SettingsError
from ray_birds.sweep.factors import Depth

if TYPE_CHECKING:
    import keras


PIXELS = "pixels"  # the cut point before the first layer: the image itself


POOLED = "pooled"  # the cut point after the last: global average pooling of the feature map, what the head reads


# A cut point may be this much larger than the narrowest one before the boundary if it lies later: less is stored
# than at the boundary itself, and less computed again than from the narrowest.
_WIDER = 2.0


@dataclass(frozen=True)
class CutPoint:
    """A tensor that can be stored for each image: its name and shape without the batch."""

    name: str
    shape: tuple[int, ...]


def freeze(model: "keras.Model", unfreeze: Depth) -> None:
    """Make the last `unfreeze` layers trainable and no other.

    Every layer's own flag is set: setting the model's does nothing where it has that value already.
    """
    count = len(model.layers) if unfreeze == "all" else unfreeze
    if count > len(model.layers):
        raise SettingsError(f"--unfreeze {unfreeze}: {model.name} has {len(model.layers)} layers; use all")
    model.trainable = True
    for number, layer in enumerate(model.layers):
        layer.trainable = number >= len(model.layers) - count


def cut(model: "keras.Model", unfreeze: Depth) -> CutPoint:
    """Where to cut so that the last `unfreeze` layers lie in the tail: the latest narrow cut point before them.

    A cut point is a tensor through which all paths from input to output lead. Found from the graph: going through
    the layers in order, it is one where a single tensor is still wanted by later layers.
    """
    if unfreeze == 0:
        return CutPoint(POOLED, (model.output.shape[-1],))
    boundary = 0 if unfreeze == "all" else max(len(model.layers) - unfreeze, 0)
    # Until it has more channels than the image, a tensor is the image: scaled, or padded.
    channels = model.input.shape[-1]
    cut_points = [
        cut_point
        for cut_point in _single_tensors(model)[:boundary]
        if cut_point is not None and cut_point.shape[-1] > channels
    ]
    if not cut_points:
        return CutPoint(PIXELS, tuple(model.input.shape[1:]))
    narrowest = min(math.prod(cut_point.shape) for cut_point in cut_points)
    return [cut_point for cut_point in cut_points if math.prod(cut_point.shape) <= _WIDER * narrowest][-1]


def _single_tensors(model: "keras.Model") -> list[CutPoint | None]:
    """For each layer in order: its output as a cut point if nothing else crosses to the later layers."""
    last_use = {id(model.output): len(model.layers)}
    for number, layer in enumerate(model.layers):
        for tensor in _inputs(layer):
            last_use[id(tensor)] = max(number, last_use.get(id(tensor), 0))
    cut_points: list[CutPoint | None] = []
    live: set[int] = set()
    for number, layer in enumerate(model.layers):
        live.add(id(layer.output))
        live = {key for key in live if last_use.get(key, -1) > number}
        alone = live == {id(layer.output)}
        cut_points.append(CutPoint(layer.name, tuple(layer.output.shape[1:])) if alone else None)
    return cut_points


def _inputs(layer: "keras.Layer") -> list["keras.KerasTensor"]:
    import keras

    if isinstance(layer, keras.layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def prefix(model: "keras.Model", cut_points: list[CutPoint]) -> "keras.Model":
    """(B, size, size, 3) -> the tensor of each cut point by its name, in one pass."""
    import keras

    pooled = keras.layers.GlobalAveragePooling2D(name="pool")
    outputs = {
        cut_point.name: model.get_layer(cut_point.name).output
        for cut_point in cut_points
        if cut_point.name != POOLED
    }
    if len(outputs) < len(cut_points):
        outputs[POOLED] = pooled(model.output)
    return keras.Model(model.input, outputs)
