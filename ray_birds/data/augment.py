"""Augmentation policies: each view of an image is a pure function of (image, seed, index of the image, view).

A policy flips, turns, scales, stretches and shifts in one affine warp, so that the image is interpolated once,
and then changes brightness and contrast. `article` has the ranges and the mirrored border of the article's Keras
layers (RandomFlip, RandomRotation, RandomZoom, RandomHeight, RandomWidth; for the last two, Keras 3 has no layer
that keeps the shape: they stretch within the frame). `rand` flips, then applies RandAugment's operations.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ray_birds.data import rand_augment


@dataclass(frozen=True)
class Policy:
    """How views are drawn; all of it is part of the key of their stored features.

    `version` stands for the code: raise it when the same parameters draw other views. A test compares.
    """

    name: str
    version: int
    flip: float = 0.5  # the share that is mirrored
    rotation: float = 0.0  # at most, in turns either way
    zoom: float = 0.0  # at most, as a share either way; the same for the next two
    height: float = 0.0
    width: float = 0.0
    shift: float = 0.0  # at most, as a share of the height and of the width either way
    brightness: float = 0.0  # at most, as a share either way
    contrast: float = 0.0
    operations: int = 0  # RandAugment's, for each view
    magnitude: float = 0.0  # of these, from 0 to 1


ARTICLE = Policy("article", version=1, rotation=0.2, zoom=0.2, height=0.2, width=0.2)
LIGHT = Policy("light", version=1, rotation=10 / 360, zoom=0.15, shift=0.08, brightness=0.15, contrast=0.15)
# Two operations of nine thirtieths of the strength: RandAugment's authors train ResNets and EfficientNets so.
RAND = Policy("rand", version=1, operations=2, magnitude=0.3)
POLICIES = {policy.name: policy for policy in (LIGHT, ARTICLE, RAND)}


def view(image: np.ndarray, seed: int, index: int, view: int, policy: Policy = ARTICLE) -> np.ndarray:
    """View number `view` of the training image with this index: (H, W, 3) uint8 in and out.

    The same arguments give the same view in every process and on every node.
    """
    random = np.random.default_rng((seed, index, view))
    height, width = image.shape[:2]
    matrix = _inverse_map(policy, random, height, width)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    changed = cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    if policy.brightness or policy.contrast:
        changed = _relight(policy, random, changed)
    if policy.operations:
        changed = rand_augment.apply(changed, random, policy.operations, policy.magnitude)
    return changed


def _inverse_map(policy: Policy, random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(2, 3) matrix that takes a pixel of the view to its place in the image, about the centre."""
    mirror = -1.0 if random.random() < policy.flip else 1.0
    angle = random.uniform(-policy.rotation, policy.rotation) * 2 * np.pi
    zoom = 1 + random.uniform(-policy.zoom, policy.zoom)
    stretch_x = zoom * (1 + random.uniform(-policy.width, policy.width))
    stretch_y = zoom * (1 + random.uniform(-policy.height, policy.height))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = np.diag([mirror, 1.0]) @ turn @ np.diag([stretch_x, stretch_y])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = random.uniform(-policy.shift, policy.shift, 2) * (width, height)
    return np.column_stack([linear, centre - linear @ centre + shift])


def _relight(policy: Policy, random: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Brightness as a factor on all values, contrast as one on their distances from the image's mean."""
    brightness = 1 + random.uniform(-policy.brightness, policy.brightness)
    contrast = 1 + random.uniform(-policy.contrast, policy.contrast)
    mean = float(image.mean())
    table = ((np.arange(256) - mean) * contrast + mean) * brightness
    return cv2.LUT(image, np.rint(table).clip(0, 255).astype(np.uint8))
