"""Augmented views: pure functions whose maps, measured from the pixels, are those of their policies."""

import ast
import dataclasses
import hashlib
import inspect
import math
import subprocess
import sys
from types import ModuleType

import cv2
import numpy as np
import pytest

from ray_birds.data import augment, rand_augment

SIZE = 128
DRAWS = 400


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    """(DRAWS, 4): mirror (-1 or 1), angle in turns, stretch in x and in y of each draw, read off the pixels.

    The image's colours are its own coordinates, so a view's colours say where each pixel came from. A fit
    over the central disc, which no border can reach, gives the affine map: mirror x rotation x stretch.
    """
    rows, columns = np.mgrid[:SIZE, :SIZE]
    coordinates = np.stack([2 * columns, 2 * rows, 0 * rows], axis=-1).astype(np.uint8)
    x, y = columns - (SIZE - 1) / 2, rows - (SIZE - 1) / 2
    disc = np.hypot(x, y) < SIZE / 2 / 1.44 - 2
    design = np.column_stack([x[disc], y[disc], np.ones(disc.sum())])
    measured = []
    for number in range(DRAWS):
        view = augment.view(coordinates, seed=0, index=number, view=0)[disc][:, :2] / 2 - (SIZE - 1) / 2
        solution, *_ = np.linalg.lstsq(design, view, rcond=None)
        assert np.abs(design @ solution - view).max() < 1  # affine indeed
        assert np.abs(solution[2]).max() < 0.5  # about the centre
        linear = solution[:2].T
        mirror = np.sign(np.linalg.det(linear))
        stretch = np.linalg.norm(linear, axis=0)
        turn = math.atan2(linear[1, 0], mirror * linear[0, 0]) / (2 * math.pi)
        assert abs(linear[:, 0] @ linear[:, 1]) < 0.02  # no shear
        measured.append((mirror, turn, *stretch))
    return np.array(measured)


def test_same_arguments_same_bytes(image: np.ndarray) -> None:
    before = image.copy()
    first = augment.view(image, 1, 2, 3)
    assert np.array_equal(first, augment.view(image, 1, 2, 3))
    assert np.array_equal(image, before) and not np.shares_memory(first, image)


@pytest.mark.integration
def test_same_bytes_in_another_process(image: np.ndarray) -> None:
    code = (
        "import hashlib, numpy as np; from ray_birds.data import augment\n"
        "p = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)\n"
        "print(hashlib.sha256(b''.join(augment.view(p, 5, n, 1).tobytes() for n in range(20))).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = hashlib.sha256(b"".join(augment.view(image, 5, n, 1).tobytes() for n in range(20))).hexdigest()
    assert there.strip() == here


def test_each_argument_counts(image: np.ndarray) -> None:
    arguments = [(s, n, e) for s in range(3) for n in range(3) for e in range(3)]
    assert len({augment.view(image, *each).tobytes() for each in arguments}) == len(arguments)


@pytest.mark.parametrize("shape", [(32, 32, 3), (48, 64, 3), (64, 48, 3), (1, 1, 3), (1, 50, 3)])
def test_shape_and_dtype_are_kept(shape: tuple[int, int, int]) -> None:
    grey = np.full(shape, 77, np.uint8)
    view = augment.view(grey, 0, 0, 0)
    assert view.shape == shape and view.dtype == np.uint8
    assert (view == 77).all()  # borders are filled from the image, not with black


def test_about_half_are_mirrored(maps: np.ndarray) -> None:
    mirrored = (maps[:, 0] < 0).mean()
    assert abs(mirrored - 0.5) < 0.1  # four standard deviations of 400 fair draws


def test_rotations_fill_a_fifth_of_a_turn_each_way(maps: np.ndarray) -> None:
    turns = maps[:, 1]
    assert np.abs(turns).max() < 0.205
    assert turns.min() < -0.19 and turns.max() > 0.19
    assert abs(turns.mean()) < 0.03 and turns.std() == pytest.approx(0.4 / math.sqrt(12), rel=0.15)


def test_zoom_times_stretch_stays_within_the_recipe(maps: np.ndarray) -> None:
    stretch = maps[:, 2:]
    assert stretch.min() > 0.8 * 0.8 - 0.01 and stretch.max() < 1.2 * 1.2 + 0.01
    assert stretch.min() < 0.7 and stretch.max() > 1.35
    ratio = stretch[:, 0] / stretch[:, 1]  # the zoom falls out; height and width are drawn apart
    assert ratio.min() > 0.8 / 1.2 - 0.01 and ratio.max() < 1.2 / 0.8 + 0.01
    assert ratio.min() < 0.75 and ratio.max() > 1.33
    assert np.abs(stretch.mean(axis=0) - 1).max() < 0.05
    assert np.corrcoef(stretch.T)[0, 1] == pytest.approx(0.5, abs=0.15)  # one zoom of two equal variances


# Of each version of the policies: the digest of the code that draws its views.
DRAWN_BY = {(("article", 1), ("light", 1), ("rand", 1)): "8105fddcdbf01ded"}


def code_of(module: ModuleType) -> str:
    """A module's code without what does not count: comments, docstrings and layout."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def test_whoever_changes_the_code_raises_the_version() -> None:
    """Stored features of views are found by the policy: with its old version those of the old code would be."""
    policies = [value for value in vars(augment).values() if isinstance(value, augment.Policy)]
    versions = tuple((policy.name, policy.version) for policy in policies)
    assert versions in DRAWN_BY, "record the digest of this version's code in DRAWN_BY"
    code = code_of(augment) + code_of(rand_augment)
    assert hashlib.sha256(code.encode()).hexdigest()[:16] == DRAWN_BY[versions], (
        "augment.py changed: raise the version of each policy that draws other views, and record the new digest"
    )


def test_the_article_is_the_default(image: np.ndarray) -> None:
    assert np.array_equal(augment.view(image, 1, 2, 3), augment.view(image, 1, 2, 3, augment.ARTICLE))


def test_light_views_stay_near_the_image() -> None:
    """Its map, read off pixels that are their own coordinates: turned, scaled and shifted within the policy."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    coordinates = np.stack([2 * columns, 2 * rows, 0 * rows], axis=-1).astype(np.uint8)
    geometry = dataclasses.replace(augment.LIGHT, brightness=0.0, contrast=0.0)
    x, y = columns - (SIZE - 1) / 2, rows - (SIZE - 1) / 2
    disc = np.hypot(x, y) < SIZE / 4
    design = np.column_stack([x[disc], y[disc], np.ones(disc.sum())])
    turns, scales, shifts = [], [], []
    for number in range(DRAWS):
        view = augment.view(coordinates, 0, number, 0, geometry)[disc][:, :2] / 2 - (SIZE - 1) / 2
        solution, *_ = np.linalg.lstsq(design, view, rcond=None)
        linear = solution[:2].T
        mirror = np.sign(np.linalg.det(linear))
        turns.append(math.degrees(math.atan2(linear[1, 0], mirror * linear[0, 0])))
        scales.append(math.sqrt(abs(np.linalg.det(linear))))
        shifts.append(solution[2] / SIZE)
    assert 9 < np.abs(turns).max() < 10.2
    assert 0.84 < min(scales) < 0.87 and 1.13 < max(scales) < 1.16
    assert 0.075 < np.abs(shifts).max() < 0.083


def test_light_changes_brightness_and_contrast_by_at_most_15_percent() -> None:
    grey = np.full((32, 32, 3), 100, np.uint8)
    half = np.concatenate([np.full((32, 16, 3), 80, np.uint8), np.full((32, 16, 3), 120, np.uint8)], axis=1)
    still = dataclasses.replace(augment.LIGHT, flip=0.0, rotation=0.0, zoom=0.0, shift=0.0)
    levels = [int(augment.view(grey, 0, number, 0, still)[0, 0, 0]) for number in range(DRAWS)]
    assert 85 <= min(levels) < 88 and 112 < max(levels) <= 115
    for number in range(DRAWS):
        view = augment.view(half, 0, number, 0, still).astype(float)
        assert view.mean() / 100 + 0.01 >= 0.85 and view.mean() / 100 - 0.01 <= 1.15
        assert 0.82 < np.ptp(view) / 40 / (view.mean() / 100) < 1.18  # of whole grey levels


def test_rand_draws_operations_of_one_strength(image: np.ndarray) -> None:
    still = dataclasses.replace(augment.RAND, flip=0.0)
    smooth = cv2.GaussianBlur(image, (0, 0), 3)
    views = [augment.view(smooth, 0, number, 0, still) for number in range(100)]
    assert len({view.tobytes() for view in views}) > 60  # 14 operations, two of them, most of them either way
    assert all(view.shape == image.shape and view.dtype == np.uint8 for view in views)
    unchanged = dataclasses.replace(still, operations=0)
    assert np.array_equal(augment.view(smooth, 0, 1, 0, unchanged), smooth)
