"""The shapes of a bird's parts, as polygons: x to the right, y down, the bird looks to the right."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_birds.demo.species import BEAKS, TAILS, WINGS, Species

Points = NDArray[np.float32]

TRUNK = ("body", "head", *(f"neck {i}" for i in range(8)))


def turn(points: object, degrees: float, origin: object = (0.0, 0.0)) -> Points:
    """Rotate (n, 2) points so that +x swings up by `degrees`, then move them by `origin`."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = np.asarray(points, np.float32) @ np.array([[cos, -sin], [sin, cos]], np.float32)
    return (turned + np.asarray(origin, np.float32)).astype(np.float32)


def curve(start: object, control: object, end: object, count: int = 12) -> Points:
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


def posed(bird: Species, rng: np.random.Generator) -> dict[str, Points]:
    """The outlines of one posed bird by part, in body lengths."""
    upright = bird.upright + rng.uniform(-9, 9)
    nod = rng.uniform(-16, 16)
    lean = np.radians(rng.uniform(48, 74))
    tail_angle, wing_angle = rng.uniform(-14, 12), rng.uniform(-7, 5)
    depth = bird.depth

    shoulder = turn([[0.32, -0.06]], upright)[0]
    rise = np.array([np.cos(lean), -np.sin(lean)], np.float32)
    head = shoulder + rise * (bird.neck + 0.5 * bird.head)
    hip = turn([[-0.06, depth * 0.7]], upright)[0]
    foot = np.array([hip[0] + 0.04, hip[1] + 0.1 + bird.legs], np.float32)
    trunk = {
        "body": _hull(
            (-0.46, 0, 0.08), (-0.1, 0.03, depth), (0.14, 0.03, depth * 0.92), (0.34, -0.03, depth * 0.55)
        ),
        "belly": _hull((-0.3, 0.24, 0.2), (0.06, 0.24, 0.2), (0.26, 0.2, 0.14)),
        "bib": _hull((0.42, 0.04, 0.16), (0.3, 0.14, 0.12)),
    }
    tail = {part: turn(points, tail_angle, (-0.46, 0.0)) for part, points in _tail_shapes(bird).items()}
    wing = {part: turn(points, wing_angle, (0.26, -0.06)) for part, points in _wing_shapes(bird).items()}
    return {
        **{part: turn(points, upright) for part, points in (trunk | tail | wing).items()},
        **_neck_shapes(bird, shoulder, head),
        **{part: turn(points * bird.head, nod, head) for part, points in _head_shapes(bird).items()},
        "legs": np.stack([hip, foot, np.add(hip, (0.1, 0)), np.add(foot, (0.12, 0.02))]).astype(np.float32),
    }


def _neck_shapes(bird: Species, shoulder: Points, head: Points) -> dict[str, Points]:
    """The neck as eight overlapping pieces along a bent spine, and the collar across it."""
    bend = (shoulder + head) / 2 + np.array([0.28, 0.05], np.float32) * bird.neck
    spine = curve(shoulder, bend, head, 9)
    radii = np.linspace(bird.depth * 0.62, bird.head * (0.95 if bird.neck < 0.3 else 0.62), 9)
    along = (spine[4] - spine[3]) * (0.07 / np.linalg.norm(spine[4] - spine[3]))
    across = np.array([along[1], -along[0]], np.float32) * (radii[3] / 0.07) * 2
    pieces = {f"neck {i}": _hull((*spine[i], radii[i]), (*spine[i + 1], radii[i + 1])) for i in range(8)}
    return {**pieces, "collar": spine[3] + np.stack([-across, along - across, along + across, across])}


def _head_shapes(bird: Species) -> dict[str, Points]:
    """The parts of the head around (0, 0), in head radii."""
    length, base, drop, spread = BEAKS[bird.beak]
    upper = curve((0.8, -base / 2), (0.9 + 0.55 * length, -base / 2 - 0.1 + 0.1 * drop), (0.9 + length, drop))
    lower = curve((0.9 + length, drop), (0.85 + 0.45 * length, base * 0.35 + 0.2 * drop), (0.8, base / 2))
    blade = _hull((0.75 + length, drop, spread * 0.85), (0.2 + length, drop * 0.9, spread * 0.5))
    plume = np.concatenate([curve((-0.2, -0.95), (-1.7, -1.3), (-2.9, 0.3)),
                            curve((-2.9, 0.3), (-1.6, -0.6), (-0.8, -0.2))])  # fmt: skip
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
        "gape": curve((0.8, 0.05), (0.9 + 0.5 * length, 0.05), (0.9 + length, drop)),
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
    front = curve((0, 0.05), (-0.02, -0.14), (-0.2, -0.11))
    upper = curve((-0.2, -0.11), (-length * 0.7, -0.1), tip)
    lower = curve(tip, (-length * 0.35, width * 1.55), (0, 0.05))
    quills = [((-0.2, y * width / 0.2), (tip[0] * 0.93, tip[1] + y * 0.2)) for y in (-0.06, 0.0, 0.06, 0.12)]
    return {
        "wing": np.concatenate([front, upper, lower]),
        "coverts": _hull((-0.06, 0.02, 0.15), (-0.17, 0.04, 0.13)),
        "wing bar": np.array([(-0.33, -0.3), (-0.41, -0.3), (-0.33, 0.5), (-0.25, 0.5)], np.float32),
        "feathers": np.array(quills, np.float32).reshape(-1, 2),
    }


def fit(shapes: dict[str, Points], rng: np.random.Generator, size: int) -> tuple[dict[str, Points], float]:
    """Turn, mirror, scale and place the bird in an image of `size` pixels; also pixels per body length."""
    outer = ("body", "head", "beak", "crest", "tail", "wing", "legs")
    degrees, mirror = rng.uniform(-8, 8), rng.choice([-1, 1])
    flip = np.array([mirror, 1], np.float32)
    turned = {part: turn(points, degrees) * flip for part, points in shapes.items()}
    everything = np.concatenate([turned[part] for part in outer])
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = size * rng.uniform(0.76, 0.96) / float((high - low).max())
    room = (size - (high - low) * scale) / 2
    corner = room * (1 + rng.uniform(-0.8, 0.8, 2))
    return {part: ((points - low) * scale + corner).astype(np.float32) for part, points in turned.items()}, scale
