"""What sweeps must know of backbones, kept beside the features: to look at one takes TensorFlow, and seconds."""

import importlib.metadata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import ray

from ray_birds.core import cluster, storage
from ray_birds.model import backbones
from ray_birds.model.backbones import Description
from ray_birds.model.cut import CutPoint
from ray_birds.sweep.factors import Depth

VERSION = 2  # raise it where other cut points are found, or more is said of a backbone


def describe(
    folder: str, names: Iterable[str], weights: str, digest: str, image_size: int, depths: tuple[Depth, ...]
) -> dict[str, Description]:
    """The backbones by name. Workers look at those that no earlier job has described in the `folder`.

    `digest` stands for the weights, see `backbones.weights_digest`; without a folder ("") nothing is kept. Raises
    ModelError where weights cannot be had or do not fit.
    """
    uris = {name: _uri(folder, name, digest, image_size, depths) for name in names}
    known = {name: one for name, uri in uris.items() if folder and (one := _read(uri, depths))}
    look = ray.remote(num_cpus=1)(backbones.describe)
    asked = {name: look.remote(name, weights, image_size, depths) for name in uris if name not in known}
    with cluster.user_errors():
        found = {name: ray.get(reference) for name, reference in asked.items()}
    for name, description in found.items() if folder else ():
        with suppress(OSError):  # on a full disk they are looked at again next time
            storage.write_json(uris[name], asdict(description))
    return {name: known.get(name) or found[name] for name in uris}


def _uri(folder: str, name: str, digest: str, image_size: int, depths: tuple[Depth, ...]) -> str:
    facts = (VERSION, importlib.metadata.version("keras"), name, digest, image_size, depths)
    return storage.join(folder, f"described-{storage.digest(map(str, facts))[:16]}.json")


def _read(uri: str, depths: tuple[Depth, ...]) -> Description | None:
    """None where there is none, or a damaged one."""
    try:
        found = storage.read_json(uri)
        by_depth = {str(depth): depth for depth in depths}
        found["pooled"] = _cut_point(found["pooled"])
        found["cut_points"] = {by_depth[depth]: _cut_point(one) for depth, one in found["cut_points"].items()}
        found["trainable"] = {by_depth[depth]: names for depth, names in found["trainable"].items()}
        found["activations"] = {by_depth[depth]: count for depth, count in found["activations"].items()}
        return Description(**found)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cut_point(found: dict[str, Any]) -> CutPoint:
    return CutPoint(found["name"], tuple(found["shape"]))
