"""Where a backbone is cut into what stays frozen and what is trained, and the frozen part as a model.

`prefix` is what stays frozen and is computed once, the tail what a variant trains: tail(prefix(x)) is the
backbone. Both share the backbone's layers. A cut is named by the layer whose output crosses it: the cut point.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ray_birds.config import Depth
from ray_birds.core.errors import SettingsError

if TYPE_CHECKING:
    import keras


PIXELS = "pixels"  # the tap before the first layer: the picture itself


POOLED = "pooled"  # the tap after the last: global average pooling of the feature map, what the head reads


# A tap may be this much larger than the narrowest one before the boundary if it lies later: less is stored
# than at the boundary itself, and less computed again than from the narrowest.
_WIDER = 2.0


@dataclass(frozen=True)
class Tap:
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


def cut(model: "keras.Model", unfreeze: Depth) -> Tap:
    """Where to cut so that the last `unfreeze` layers lie in the tail: the latest narrow tap before them.

    A tap is a tensor through which all paths from input to output lead. Found from the graph: going through
    the layers in order, it is one where a single tensor is still wanted by later layers.
    """
    if unfreeze == 0:
        return Tap(POOLED, (model.output.shape[-1],))
    boundary = 0 if unfreeze == "all" else max(len(model.layers) - unfreeze, 0)
    # Until it has more channels than the picture, a tensor is the picture: scaled, or padded.
    channels = model.input.shape[-1]
    taps = [tap for tap in _single_tensors(model)[:boundary] if tap is not None and tap.shape[-1] > channels]
    if not taps:
        return Tap(PIXELS, tuple(model.input.shape[1:]))
    narrowest = min(math.prod(tap.shape) for tap in taps)
    return [tap for tap in taps if math.prod(tap.shape) <= _WIDER * narrowest][-1]


def _single_tensors(model: "keras.Model") -> list[Tap | None]:
    """For each layer in order: its output as a tap if nothing else crosses to the later layers."""
    last_use = {id(model.output): len(model.layers)}
    for number, layer in enumerate(model.layers):
        for tensor in _inputs(layer):
            last_use[id(tensor)] = max(number, last_use.get(id(tensor), 0))
    taps: list[Tap | None] = []
    live: set[int] = set()
    for number, layer in enumerate(model.layers):
        live.add(id(layer.output))
        live = {key for key in live if last_use.get(key, -1) > number}
        alone = live == {id(layer.output)}
        taps.append(Tap(layer.name, tuple(layer.output.shape[1:])) if alone else None)
    return taps


def _inputs(layer: "keras.Layer") -> list["keras.KerasTensor"]:
    import keras

    if isinstance(layer, keras.layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def prefix(model: "keras.Model", taps: list[Tap]) -> "keras.Model":
    """(B, size, size, 3) -> the tensor of each tap by its name, in one pass."""
    import keras

    pooled = keras.layers.GlobalAveragePooling2D(name="pool")
    outputs = {tap.name: model.get_layer(tap.name).output for tap in taps if tap.name != POOLED}
    if len(outputs) < len(taps):
        outputs[POOLED] = pooled(model.output)
    return keras.Model(model.input, outputs)
