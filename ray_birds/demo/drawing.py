"""One bird painted: its shapes before a backdrop, in the colours of its palette."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_birds.demo.shapes import TRUNK, Points, curve, fit, posed, turn
from ray_birds.demo.species import PALETTES, Species

Decoded = NDArray[Any]  # uint8; cv2's types promise no more than an array
Colour = list[float]

SIZE = 224
SUPERSAMPLING = 2


def _fill(image: Decoded, points: Points, colour: Colour, clip: Decoded | None = None) -> None:
    """Fill a polygon given in pixels, only where `clip` is set."""
    polygon = np.round(points * 16).astype(np.int32)
    if clip is None:
        cv2.fillPoly(image, [polygon], colour, cv2.LINE_AA, shift=4)
        return
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [polygon], 255, shift=4)
    _stain(image, mask & clip, colour)


def _stain(image: Decoded, mask: Decoded, colour: Colour) -> None:
    """Set the pixels under `mask` (not antialiased here: supersampling does it)."""
    x, y, width, height = cv2.boundingRect(mask)
    inside = np.s_[y : y + height, x : x + width]
    image[inside][mask[inside] > 0] = colour


def _backdrop(rng: np.random.Generator, size: int) -> Decoded:
    """An out-of-focus background: a two-coloured gradient with soft blots, (size, size, 3)."""
    hues = rng.choice([(150, 190, 225), (120, 150, 90), (205, 190, 150), (90, 110, 100), (200, 205, 205)], 2)
    top, bottom = (np.clip(hue * rng.uniform(0.6, 1.15) + rng.normal(0, 14, 3), 0, 255) for hue in hues)
    ramp = np.linspace(0, 1, 56)[:, None, None] ** rng.uniform(0.6, 1.8)
    small = np.ascontiguousarray(np.broadcast_to(top + (bottom - top) * ramp, (56, 56, 3)), dtype=np.uint8)
    for _ in range(rng.integers(3, 14)):
        colour = np.clip((top, bottom)[rng.integers(2)] + rng.normal(0, 24) + rng.normal(0, 10, 3), 0, 255)
        centre = rng.integers(0, 56, 2)
        cv2.circle(small, (int(centre[0]), int(centre[1])), int(rng.integers(3, 12)), colour.tolist(), -1)
    return cv2.resize(
        cv2.GaussianBlur(small, (0, 0), rng.uniform(1.5, 4)), (size, size), interpolation=cv2.INTER_CUBIC
    )


def _perch(image: Decoded, shapes: dict[str, Points], scale: float, rng: np.random.Generator) -> None:
    """A branch, or the ground, under the feet."""
    size = len(image)
    feet = (shapes["legs"][1] + shapes["legs"][3]) / 2 + (0, 0.03 * scale)
    colour = np.clip(np.array((112, 92, 70)) * rng.uniform(0.6, 1.35) + rng.normal(0, 10, 3), 0, 255)
    if rng.random() < 0.6:
        slope = rng.uniform(-0.14, 0.14)
        xs = np.linspace(-10, size + 10, 8)
        ys = (
            feet[1]
            + slope * (xs - feet[0])
            + 0.02 * scale * rng.normal(size=8) * (np.abs(xs - feet[0]) > size / 6)
        )
        thick = rng.uniform(0.022, 0.045) * size
        above, below = np.stack([xs, ys], 1), np.stack([xs, ys + thick], 1)
        _fill(image, np.concatenate([above, below[::-1]]), (colour * 0.75).tolist())
        _fill(image, np.concatenate([above, below[::-1] - (0, thick * 0.45)]), colour.tolist())
    else:
        ground = curve(
            (-10, feet[1] + rng.normal(0, 8)),
            (size / 2, feet[1] - 4),
            (size + 10, feet[1] + rng.normal(0, 8)),
        )
        _fill(
            image,
            np.concatenate([ground, [(size + 10, size + 10), (-10, size + 10)]]),
            (colour * 1.2).clip(0, 255).tolist(),
        )


def _pattern(image: Decoded, kind: str, region: Points, clip: Decoded, scale: float, axis: float, colour: Colour,
             rng: np.random.Generator) -> None:  # fmt: skip
    """Spots, bars, streaks or scales on a grid along the bird's `axis` (degrees), inside `clip`."""
    mask = np.zeros(clip.shape, np.uint8)
    centre = region.mean(axis=0)
    if kind == "bars":
        rows = np.arange(-9, 10) * 0.15 * scale
        ends = np.stack([np.stack([rows, np.full(19, side * scale)], 1) for side in (-1, 1)], 1)
        for start, end in np.round(turn(ends, axis, centre)).astype(int).tolist():
            cv2.line(mask, start, end, 255, max(2, round(scale * 0.065)))
    else:
        step, reach = scale * 0.125, scale * 0.043
        row, column = np.mgrid[-8:9, -5:6]
        grid = np.stack([row, column + row % 2 * 0.5], -1).reshape(-1, 2)
        wander = rng.uniform(-0.12, 0.12, grid.shape) * (kind == "spots")
        half, sweep, thick = {
            "spots": ((reach, reach), (0, 360), -1),
            "streaks": ((reach * 1.5, reach * 0.5), (0, 360), -1),
            "scales": ((step / 2, step / 2), (90, 270), max(2, round(scale * 0.024))),
        }[kind]
        axes = (round(half[0]), round(half[1]))
        for at in np.round(turn((grid + wander) * step, axis, centre)).astype(int).tolist():
            cv2.ellipse(mask, at, axes, -axis, *sweep, 255, thick)
    _stain(image, mask & clip, colour)


def _shade(image: Decoded, mask: Decoded, rng: np.random.Generator) -> Decoded:
    """Light from one side on the bird's volume, then exposure, tint and grain of the whole image."""
    size = len(image)
    volume = (
        cv2.GaussianBlur(cv2.resize(mask, (56, 56), interpolation=cv2.INTER_AREA), (0, 0), 2.6).astype(np.float32)
        / 255
    )
    angle = np.radians(rng.uniform(-130, -50))
    slope = cv2.Sobel(volume, cv2.CV_32F, 1, 0) * np.cos(angle) + cv2.Sobel(volume, cv2.CV_32F, 0, 1) * np.sin(
        angle
    )
    light = 1 - np.float32(rng.uniform(0.25, 0.5)) * cv2.resize(slope, (size, size)) * (mask > 0).astype(
        np.float32
    )
    tint = rng.uniform(0.76, 1.14) * rng.uniform(0.94, 1.06, 3)
    gain = cv2.merge([light * np.float32(channel) for channel in tint])
    grain = cv2.resize(rng.standard_normal((size // 2, size // 2), np.float32) * rng.uniform(1, 5), (size, size))
    return cv2.add(cv2.multiply(image, gain, dtype=cv2.CV_32F), cv2.merge([grain] * 3), dtype=cv2.CV_8U)


def _colours(palette: str, rng: np.random.Generator) -> list[list[float]]:
    """The palette with this image's own shift of hue, saturation and brightness."""
    hsv = cv2.cvtColor(np.array([PALETTES[palette]], np.uint8), cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-8, 8)) % 180
    hsv[..., 1:] = np.clip(hsv[..., 1:] * rng.uniform((0.7, 0.85), (1.25, 1.15)), 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)[0].astype(float).tolist()


@dataclass(frozen=True)
class _Easel:
    """An image being painted and the shapes to paint, in pixels."""

    image: Decoded
    shapes: dict[str, Points]
    scale: float  # pixels per body length

    def mask(self, *parts: str) -> Decoded:
        mask = np.zeros(self.image.shape[:2], np.uint8)
        for part in parts:
            _fill(mask, self.shapes[part], [255])
        return mask

    def fill(self, part: str, colour: Colour, *within: str) -> None:
        _fill(self.image, self.shapes[part], colour, self.mask(*within) if within else None)

    def line(self, points: Points, colour: Colour, width: float) -> None:
        path = [np.round(points).astype(np.int32)]
        cv2.polylines(self.image, path, False, colour, max(1, round(self.scale * width)), cv2.LINE_AA)


def _paint(easel: _Easel, bird: Species, rng: np.random.Generator) -> None:
    """The bird from back to front: legs, tail, head, trunk, marks, wing, face."""
    body, wing, light, dark, accent, bare = _colours(bird.palette, rng)
    shapes, scale = easel.shapes, easel.scale
    forward = shapes["head"].mean(axis=0) - shapes["tail"].mean(axis=0)
    axis = float(np.degrees(np.arctan2(-forward[1], forward[0])))

    for leg in shapes["legs"].reshape(2, 2, 2):
        easel.line(leg, bare, 0.028)
        easel.line(leg[1] + np.array([(-0.07, 0.02), (0, 0), (0.09, 0.02)], np.float32) * scale, bare, 0.028)
    easel.fill("tail", wing)
    if bird.crest != "none":
        easel.fill("crest", dark if "cap" in bird.marks else accent)
    for part, colour in (("beak", bare), ("blade", bare), *((part, body) for part in TRUNK)):
        easel.fill(part, colour)
    colours = {"cap": dark, "mask": dark, "collar": light, "bib": accent, "belly": light, "tail tip": light}
    within = {"cap": ("head",), "mask": ("head",), "tail tip": ("tail",)}
    for mark, colour in colours.items():
        if mark in bird.marks:
            easel.fill(mark, colour, *within.get(mark, TRUNK))
    if bird.pattern != "plain" and bird.place == "breast":
        _pattern(easel.image, bird.pattern, shapes["body"], easel.mask("body"), scale, axis, dark, rng)

    easel.fill("wing", wing)
    easel.fill("coverts", [(a + 2 * b) / 3 for a, b in zip(body, wing, strict=True)], "wing")
    for quill in shapes["feathers"].reshape(-1, 2, 2):
        easel.line(quill, [channel * 0.72 for channel in wing], 0.012)
    if bird.pattern != "plain" and bird.place == "wing":
        _pattern(easel.image, bird.pattern, shapes["wing"], easel.mask("wing"), scale, axis, light, rng)
    if "wing bar" in bird.marks:
        easel.fill("wing bar", light, "wing")
    easel.line(shapes["gape"], [channel * 0.6 for channel in bare], 0.01)
    easel.fill("eye", light if {"mask", "cap"} & set(bird.marks) else dark)
    easel.fill("pupil", [20, 18, 18])
    easel.fill("glint", [245, 245, 245])


def draw_bird(bird: Species, rng: np.random.Generator, size: int = SIZE) -> Decoded:
    """One image of one bird: (size, size, 3) uint8 RGB, all variation from `rng`."""
    return draw_parts(bird, rng, size)[0]


def draw_parts(bird: Species, rng: np.random.Generator, size: int = SIZE) -> tuple[Decoded, dict[str, Decoded]]:
    """The image of `draw_bird`, and where its parts are: part -> (2 size, 2 size) uint8 mask, 0 or 255."""
    large = size * SUPERSAMPLING
    image = _backdrop(rng, large)
    easel = _Easel(image, *fit(posed(bird, rng), rng, large))
    _perch(image, easel.shapes, easel.scale, rng)
    _paint(easel, bird, rng)
    silhouette = easel.mask(*TRUNK, "tail", "wing", "beak")
    small, mask = (cv2.resize(x, (size, size), interpolation=cv2.INTER_AREA) for x in (image, silhouette))
    parts = {part: easel.mask(part) for part in ("body", "head", "beak", "crest", "tail", "wing", "collar")}
    return _shade(small, mask, rng), parts
