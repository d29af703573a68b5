"""The article's augmentation as a pure function of (image, seed, number of the image, epoch).

RandomFlip("horizontal"), RandomRotation(0.2), RandomZoom(0.2), RandomHeight(0.2) and RandomWidth(0.2) in one
affine warp, so that the image is interpolated once and not four times. Ranges and the mirrored border are
those of the Keras layers of these names; height and width, for which Keras 3 has no layer that keeps the
shape, stretch within the frame.
"""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Policy:
    """How views are drawn; all of it is part of the key of their stored features.

    `version` stands for the code below: raise it when the same parameters draw other views. A test compares.
    """

    name: str
    version: int
    flip: float  # the share that is mirrored
    rotation: float  # at most, in turns either way
    zoom: float  # at most, as a share either way; the same for the next two
    height: float
    width: float


ARTICLE = Policy("article", version=1, flip=0.5, rotation=0.2, zoom=0.2, height=0.2, width=0.2)


def view(image: np.ndarray, seed: int, number: int, epoch: int) -> np.ndarray:
    """Image `number` of the training split as seen in `epoch`: (H, W, 3) uint8 in and out.

    The same arguments give the same view in every process and on every node.
    """
    height, width = image.shape[:2]
    matrix = _inverse_map(ARTICLE, np.random.default_rng((seed, number, epoch)), height, width)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)


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
    return np.column_stack([linear, centre - linear @ centre])
