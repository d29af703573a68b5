"""The article's augmentation as a pure function of (image, seed, number of the image, epoch).

RandomFlip("horizontal"), RandomRotation(0.2), RandomZoom(0.2), RandomHeight(0.2) and RandomWidth(0.2) in one
affine warp, so that the image is interpolated once and not four times. Ranges and the mirrored border are
those of the Keras layers of these names; height and width, for which Keras 3 has no layer that keeps the
shape, stretch within the frame.
"""

import cv2
import numpy as np


def view(image: np.ndarray, seed: int, number: int, epoch: int) -> np.ndarray:
    """Image `number` of the training split as seen in `epoch`: (H, W, 3) uint8 in and out.

    The same arguments give the same view in every process and on every node.
    """
    height, width = image.shape[:2]
    matrix = _inverse_map(np.random.default_rng((seed, number, epoch)), height, width)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)


def _inverse_map(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(2, 3) matrix that takes a pixel of the view to its place in the image, about the centre."""
    mirror = -1.0 if random.random() < 0.5 else 1.0
    angle = random.uniform(-0.2, 0.2) * 2 * np.pi
    zoom = 1 + random.uniform(-0.2, 0.2)
    stretch_x = zoom * (1 + random.uniform(-0.2, 0.2))
    stretch_y = zoom * (1 + random.uniform(-0.2, 0.2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = np.diag([mirror, 1.0]) @ turn @ np.diag([stretch_x, stretch_y])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.column_stack([linear, centre - linear @ centre])
