"""RandAugment's operations on an image (Cubuk et al., "RandAugment: Practical data augmentation", 2020)."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Operation = Callable[[Image.Image, float], Image.Image]  # takes a strength from -1 to 1


def apply(image: np.ndarray, random: np.random.Generator, operations: int, magnitude: float) -> np.ndarray:
    """(H, W, 3) uint8 after so many operations drawn one by one, each `magnitude` (0 to 1) strong, either way."""
    changed = Image.fromarray(image)
    for number in random.integers(len(_OPERATIONS), size=operations):
        strength = magnitude if random.random() < 0.5 else -magnitude
        changed = _OPERATIONS[number](changed, strength)
    return np.asarray(changed)


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)
    )


def _shear_x(image: Image.Image, strength: float) -> Image.Image:
    slope = 0.3 * strength
    return _affine(image, (1, slope, -slope * image.height / 2, 0, 1, 0))


def _shear_y(image: Image.Image, strength: float) -> Image.Image:
    slope = 0.3 * strength
    return _affine(image, (1, 0, 0, slope, 1, -slope * image.width / 2))


def _shift_x(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, (1, 0, 0.45 * strength * image.width, 0, 1, 0))


def _shift_y(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, 0.45 * strength * image.height))


def _rotate(image: Image.Image, strength: float) -> Image.Image:
    return image.rotate(30 * strength, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    """1 leaves the image as it is; the strongest is 0.1 or 1.9."""
    return lambda image, strength: kind(image).enhance(1 + 0.9 * strength)


_OPERATIONS: tuple[Operation, ...] = (
    lambda image, strength: image,
    lambda image, strength: ImageOps.autocontrast(image),
    lambda image, strength: ImageOps.equalize(image),
    lambda image, strength: ImageOps.posterize(image, 8 - round(4 * abs(strength))),
    lambda image, strength: ImageOps.solarize(image, round(256 * (1 - abs(strength)))),
    _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    *(_rotate, _shear_x, _shear_y, _shift_x, _shift_y),
)
