"""Drawn birds: a small made-up dataset in the real folder layout, for trying the whole line offline.

A species is a set of parts (`Species`): beak, tail, wing, crest, build, marks and pattern. Colour alone does
not tell species apart: twelve of them share four palettes, and each image shifts its palette.
"""

import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_birds.core.errors import DataError

Points = NDArray[np.float32]
Decoded = NDArray[Any]  # uint8; cv2's types promise no more than an array
Colour = list[float]

SIZE = 224
SUPERSAMPLING = 2
UNLABELLED = "images to test"
RECORD = "drawing.json"

# Lengths are in body lengths, the head's parts in head radii.
BEAKS = {  # length, depth at the base, drop of the tip, width of the tip
    "cone": (0.95, 0.85, 0.15, 0.0),
    "dagger": (1.9, 0.5, 0.05, 0.0),
    "needle": (2.6, 0.24, -0.25, 0.0),
    "sickle": (2.6, 0.42, 1.35, 0.0),
    "hook": (1.05, 0.95, 0.75, 0.0),
    "spoon": (1.9, 0.36, 0.2, 0.5),
    "giant": (2.2, 1.15, 0.55, 0.0),
}
TAILS = {  # length, half width at the end, notch (below 0: a point; above 0: a fork)
    "short": (0.28, 0.10, -0.1),
    "square": (0.5, 0.10, 0.0),
    "fan": (0.5, 0.27, -0.25),
    "fork": (0.75, 0.24, 0.55),
    "ribbon": (1.05, 0.06, -0.15),
    "wedge": (0.65, 0.15, -0.5),
}
WINGS = {"round": (0.56, 0.27), "long": (0.86, 0.22), "narrow": (0.72, 0.14)}  # length, width
CRESTS = ("none", "spike", "fan", "plume")
PATTERNS = ("plain", "spots", "bars", "streaks", "scales")
PLACES = ("breast", "wing")
TRUNK = ("body", "head", *(f"neck {i}" for i in range(8)))
MARKS = ("cap", "mask", "collar", "bib", "belly", "wing bar", "tail tip")
PALETTES = {  # body, wing, light, dark, accent, bare parts (RGB)
    "river": ((96, 140, 176), (58, 88, 128), (232, 234, 226), (32, 40, 56), (214, 140, 70), (70, 72, 78)),
    "forest": ((150, 158, 84), (94, 108, 58), (236, 230, 190), (48, 50, 34), (222, 178, 62), (128, 104, 70)),
    "ember": ((196, 104, 70), (122, 70, 56), (242, 222, 192), (52, 36, 36), (236, 178, 84), (196, 142, 66)),
    "stone": ((164, 152, 140), (110, 98, 92), (238, 236, 230), (44, 42, 44), (190, 84, 72), (206, 140, 80)),
}


@dataclass(frozen=True)
class Species:
    """What all images of one species have in common; names refer to the tables of this module."""

    name: str
    palette: str
    beak: str
    tail: str
    wing: str
    crest: str
    pattern: str
    place: str
    marks: tuple[str, ...]
    depth: float  # half depth of the body
    upright: float  # degrees
    neck: float
    head: float  # radius
    legs: float


SPECIES = (
    Species("AMBLING SICKLEBILL", "stone", "sickle", "short", "long", "none", "plain", "breast",
            ("belly",), 0.25, 20, 0.40, 0.17, 0.50),
    Species("BANDED SPOONWADER", "stone", "spoon", "short", "long", "plume", "bars", "wing",
            ("belly",), 0.25, 20, 0.40, 0.17, 0.50),
    Species("CAPPED DOVELET", "stone", "cone", "fan", "round", "none", "scales", "breast",
            ("cap", "tail tip"), 0.30, 28, 0.16, 0.20, 0.16),
    Species("COLLARED NEEDLEBILL", "river", "needle", "fork", "narrow", "none", "plain", "breast",
            ("bib", "collar"), 0.23, 39, 0.14, 0.21, 0.14),
    Species("CRESTED FORKTAIL", "river", "dagger", "fork", "narrow", "spike", "plain", "breast",
            ("bib", "collar"), 0.23, 39, 0.14, 0.21, 0.14),
    Species("DAPPLED THRUSHLING", "forest", "dagger", "square", "round", "none", "spots", "breast",
            ("belly",), 0.28, 40, 0.15, 0.22, 0.20),
    Species("FANTAIL COCKALET", "ember", "hook", "fan", "round", "fan", "plain", "breast",
            ("belly", "tail tip"), 0.28, 48, 0.15, 0.23, 0.15),
    Species("PLUMED MARSH HERONET", "river", "dagger", "short", "long", "plume", "streaks", "breast",
            ("belly",), 0.22, 40, 0.62, 0.16, 0.62),
    Species("RIBBONTAIL KITELING", "ember", "hook", "ribbon", "long", "none", "bars", "breast",
            ("belly",), 0.26, 50, 0.14, 0.23, 0.14),
    Species("SCALED WARBLEEN", "forest", "dagger", "wedge", "round", "none", "scales", "wing",
            ("belly",), 0.28, 40, 0.15, 0.22, 0.20),
    Species("STREAKED SEEDCRACKER", "forest", "cone", "square", "round", "none", "streaks", "breast",
            ("belly",), 0.28, 40, 0.15, 0.22, 0.20),
    Species("TREE LANTERNBILL", "ember", "giant", "wedge", "long", "none", "plain", "breast",
            ("belly", "tail tip"), 0.26, 50, 0.14, 0.23, 0.14),
)  # fmt: skip


def other_species(count: int, seed: int = 0) -> tuple[Species, ...]:
    """`count` random species, none with the beak, tail, crest and pattern of one in `SPECIES`."""
    rng = np.random.default_rng([seed, zlib.crc32(b"other species")])
    taken = {(one.beak, one.tail, one.crest, one.pattern) for one in SPECIES}
    others: list[Species] = []
    while len(others) < count:
        beak, tail, crest, pattern = (str(rng.choice(list(kinds))) for kinds in (BEAKS, TAILS, CRESTS, PATTERNS))
        if (beak, tail, crest, pattern) in taken:
            continue
        taken.add((beak, tail, crest, pattern))
        tall = rng.random() < 0.3  # a wader: long neck and long legs go together
        others.append(
            Species(
                name=f"OTHER {len(others):03d}",
                palette=str(rng.choice(list(PALETTES))),
                beak=beak,
                tail=tail,
                wing=str(rng.choice(list(WINGS))),
                crest=crest,
                pattern=pattern,
                place=str(rng.choice(PLACES)),
                marks=tuple(mark for mark in MARKS if rng.random() < 0.3),
                depth=rng.uniform(0.22, 0.31),
                upright=rng.uniform(15, 58),
                neck=rng.uniform(0.35, 0.65) if tall else rng.uniform(0.12, 0.2),
                head=rng.uniform(0.155, 0.19) if tall else rng.uniform(0.19, 0.26),
                legs=rng.uniform(0.4, 0.65) if tall else rng.uniform(0.12, 0.26),
            )
        )
    return tuple(others)


# --- geometry: x to the right, y down, the bird looks to the right -----------------------------------------


def _turn(points: object, degrees: float, origin: object = (0.0, 0.0)) -> Points:
    """Rotate (n, 2) points so that +x swings up by `degrees`, then move them by `origin`."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = np.asarray(points, np.float32) @ np.array([[cos, -sin], [sin, cos]], np.float32)
    return (turned + np.asarray(origin, np.float32)).astype(np.float32)


def _curve(start: object, control: object, end: object, count: int = 12) -> Points:
    """Points on a quadratic Bezier curve, (count, 2)."""
    t = np.linspace(0, 1, count, dtype=np.float32)[:, None]
    a, b, c = (np.asarray(point, np.float32) for point in (start, control, end))
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c


def _hull(*discs: tuple[float, float, float]) -> Points:
    """The convex outline around discs given as (x, y, radius)."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rim = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate([rim * radius + (x, y) for x, y, radius in discs]).astype(np.float32)
    return cv2.convexHull(points)[:, 0].astype(np.float32)


def _shapes(bird: Species, rng: np.random.Generator) -> dict[str, Points]:
    """The outlines of one posed bird by part, in body lengths."""
    upright = bird.upright + rng.uniform(-9, 9)
    nod = rng.uniform(-16, 16)
    lean = np.radians(rng.uniform(48, 74))
    tail_angle, wing_angle = rng.uniform(-14, 12), rng.uniform(-7, 5)
    depth = bird.depth

    shoulder = _turn([[0.32, -0.06]], upright)[0]
    rise = np.array([np.cos(lean), -np.sin(lean)], np.float32)
    head = shoulder + rise * (bird.neck + 0.5 * bird.head)
    hip = _turn([[-0.06, depth * 0.7]], upright)[0]
    foot = np.array([hip[0] + 0.04, hip[1] + 0.1 + bird.legs], np.float32)
    trunk = {
        "body": _hull(
            (-0.46, 0, 0.08), (-0.1, 0.03, depth), (0.14, 0.03, depth * 0.92), (0.34, -0.03, depth * 0.55)
        ),
        "belly": _hull((-0.3, 0.24, 0.2), (0.06, 0.24, 0.2), (0.26, 0.2, 0.14)),
        "bib": _hull((0.42, 0.04, 0.16), (0.3, 0.14, 0.12)),
    }
    tail = {part: _turn(points, tail_angle, (-0.46, 0.0)) for part, points in _tail_shapes(bird).items()}
    wing = {part: _turn(points, wing_angle, (0.26, -0.06)) for part, points in _wing_shapes(bird).items()}
    return {
        **{part: _turn(points, upright) for part, points in (trunk | tail | wing).items()},
        **_neck_shapes(bird, shoulder, head),
        **{part: _turn(points * bird.head, nod, head) for part, points in _head_shapes(bird).items()},
        "legs": np.stack([hip, foot, np.add(hip, (0.1, 0)), np.add(foot, (0.12, 0.02))]).astype(np.float32),
    }


def _neck_shapes(bird: Species, shoulder: Points, head: Points) -> dict[str, Points]:
    """The neck as eight overlapping pieces along a bent spine, and the collar across it."""
    bend = (shoulder + head) / 2 + np.array([0.28, 0.05], np.float32) * bird.neck
    spine = _curve(shoulder, bend, head, 9)
    radii = np.linspace(bird.depth * 0.62, bird.head * (0.95 if bird.neck < 0.3 else 0.62), 9)
    along = (spine[4] - spine[3]) * (0.07 / np.linalg.norm(spine[4] - spine[3]))
    across = np.array([along[1], -along[0]], np.float32) * (radii[3] / 0.07) * 2
    pieces = {f"neck {i}": _hull((*spine[i], radii[i]), (*spine[i + 1], radii[i + 1])) for i in range(8)}
    return {**pieces, "collar": spine[3] + np.stack([-across, along - across, along + across, across])}


def _head_shapes(bird: Species) -> dict[str, Points]:
    """The parts of the head around (0, 0), in head radii."""
    length, base, drop, spread = BEAKS[bird.beak]
    upper = _curve((0.8, -base / 2), (0.9 + 0.55 * length, -base / 2 - 0.1 + 0.1 * drop), (0.9 + length, drop))
    lower = _curve((0.9 + length, drop), (0.85 + 0.45 * length, base * 0.35 + 0.2 * drop), (0.8, base / 2))
    blade = _hull((0.75 + length, drop, spread * 0.85), (0.2 + length, drop * 0.9, spread * 0.5))
    plume = np.concatenate([_curve((-0.2, -0.95), (-1.7, -1.3), (-2.9, 0.3)),
                            _curve((-2.9, 0.3), (-1.6, -0.6), (-0.8, -0.2))])  # fmt: skip
    crest = {
        "none": ((-0.3, -0.5), (0, -0.6), (0.1, -0.5)),
        "spike": ((0.45, -0.7), (-0.5, -1.25), (-1.9, -1.75), (-1.0, -0.6), (-0.8, 0.1)),
        "fan": ((0.65, -0.6), (0.75, -1.7), (0.2, -1.45), (0.05, -2.1), (-0.4, -1.55), (-0.85, -1.9),
                (-0.9, -1.25), (-1.55, -1.3), (-0.9, -0.2)),
        "plume": plume,
    }[bird.crest]  # fmt: skip
    return {
        "head": _hull((0, 0, 1)),
        "crest": np.array(crest, np.float32),
        "beak": np.concatenate([upper, lower]),
        "blade": blade if spread else upper,
        "gape": _curve((0.8, 0.05), (0.9 + 0.5 * length, 0.05), (0.9 + length, drop)),
        "eye": _hull((0.25, -0.22, 0.2)),
        "pupil": _hull((0.25, -0.22, 0.14)),
        "glint": _hull((0.32, -0.3, 0.07)),
        "cap": np.array([(-1.4, -0.05), (1.3, -0.3), (1.1, -1.3), (-1.4, -1.3)], np.float32),
        "mask": np.array(
            [(1.1, 0.15), (1.1, -0.35), (-0.2, -0.55), (-1.3, -0.2), (-1.2, 0.25), (0.1, 0.15)], np.float32
        ),
    }


def _tail_shapes(bird: Species) -> dict[str, Points]:
    """The tail from its root at (0, 0) backwards."""
    length, end, notch = TAILS[bird.tail]
    outline = [(0.12, -0.07), (-length, -end), (-length * (1 - notch), 0), (-length, end), (0.12, 0.07)]
    tip = [(-length * 0.78, -1), (-length * 0.78, 1), (-length * 2, 1), (-length * 2, -1)]
    return {"tail": np.array(outline, np.float32), "tail tip": np.array(tip, np.float32)}


def _wing_shapes(bird: Species) -> dict[str, Points]:
    """The folded wing from the shoulder at (0, 0) backwards."""
    length, width = WINGS[bird.wing]
    tip = (-length, -0.03)
    front = _curve((0, 0.05), (-0.02, -0.14), (-0.2, -0.11))
    upper = _curve((-0.2, -0.11), (-length * 0.7, -0.1), tip)
    lower = _curve(tip, (-length * 0.35, width * 1.55), (0, 0.05))
    quills = [((-0.2, y * width / 0.2), (tip[0] * 0.93, tip[1] + y * 0.2)) for y in (-0.06, 0.0, 0.06, 0.12)]
    return {
        "wing": np.concatenate([front, upper, lower]),
        "coverts": _hull((-0.06, 0.02, 0.15), (-0.17, 0.04, 0.13)),
        "wing bar": np.array([(-0.33, -0.3), (-0.41, -0.3), (-0.33, 0.5), (-0.25, 0.5)], np.float32),
        "feathers": np.array(quills, np.float32).reshape(-1, 2),
    }


# --- paint ------------------------------------------------------------------------------------------------


def _fit(shapes: dict[str, Points], rng: np.random.Generator, size: int) -> tuple[dict[str, Points], float]:
    """Turn, mirror, scale and place the bird in an image of `size` pixels; also pixels per body length."""
    outer = ("body", "head", "beak", "crest", "tail", "wing", "legs")
    degrees, mirror = rng.uniform(-8, 8), rng.choice([-1, 1])
    flip = np.array([mirror, 1], np.float32)
    turned = {part: _turn(points, degrees) * flip for part, points in shapes.items()}
    everything = np.concatenate([turned[part] for part in outer])
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = size * rng.uniform(0.76, 0.96) / float((high - low).max())
    room = (size - (high - low) * scale) / 2
    corner = room * (1 + rng.uniform(-0.8, 0.8, 2))
    return {part: ((points - low) * scale + corner).astype(np.float32) for part, points in turned.items()}, scale


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
        ground = _curve(
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
        for start, end in np.round(_turn(ends, axis, centre)).astype(int).tolist():
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
        for at in np.round(_turn((grid + wander) * step, axis, centre)).astype(int).tolist():
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
    easel = _Easel(image, *_fit(_shapes(bird, rng), rng, large))
    _perch(image, easel.shapes, easel.scale, rng)
    _paint(easel, bird, rng)
    silhouette = easel.mask(*TRUNK, "tail", "wing", "beak")
    small, mask = (cv2.resize(x, (size, size), interpolation=cv2.INTER_AREA) for x in (image, silhouette))
    parts = {part: easel.mask(part) for part in ("body", "head", "beak", "crest", "tail", "wing", "collar")}
    return _shade(small, mask, rng), parts


# --- the dataset ------------------------------------------------------------------------------------------


def draw_dataset(output: Path, seed: int = 0, train: int = 30, valid: int = 10, test: int = 20) -> Path:
    """Draw `SPECIES` into `output`: that many 224x224 JPEGs a species and split, and 7 unlabelled ones.

    An image depends only on (seed, species, split, number), so the same call gives identical bytes. A folder
    that already holds this drawing is returned as it is; any other existing folder raises `DataError`. Nothing
    is seen at `output` before everything is drawn.
    """
    counts = {"train": train, "valid": valid, "test": test}
    record = {"made by": "ray_birds.demo.birds: drawn birds, not photographs", "seed": seed, **counts}
    if output.exists():
        if _recorded(output) == record:
            return output
        raise DataError(f"{output} exists and is not the demo drawn with seed {seed} and {train}/{valid}/{test}"
                        " images a species: remove it or give another folder")  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        for path, bird, split, number in _plan(counts):
            rng = np.random.default_rng([seed, zlib.crc32(bird.name.encode()), zlib.crc32(split.encode()), number])
            (staging / path).parent.mkdir(parents=True, exist_ok=True)
            pixels = cv2.cvtColor(draw_bird(bird, rng), cv2.COLOR_RGB2BGR)
            (staging / path).write_bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
        (staging / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        staging.chmod(0o755)
        staging.rename(output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return output


def _plan(counts: dict[str, int]) -> Iterator[tuple[str, Species, str, int]]:
    """Every image of the dataset: path below the root, species, split, number."""
    for split, count in counts.items():
        for bird in SPECIES:
            for number in range(count):
                yield f"{split}/{bird.name}/{number + 1:03d}.jpg", bird, split, number
    for number in range(7):
        yield f"{UNLABELLED}/{number + 1}.jpg", SPECIES[number * 5 % len(SPECIES)], UNLABELLED, number


def _recorded(folder: Path) -> object:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
