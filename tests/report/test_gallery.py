"""Tiles of images, as people look at them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ray_birds.data.square import PADDING
from ray_birds.report import gallery


@pytest.mark.parametrize("size", [(300, 100), (100, 300)])
def test_a_tile_keeps_the_proportions_of_its_image(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (200, 30, 60)).save(tmp_path / "a.png")
    pixels = gallery.load(str(tmp_path / "a.png"))
    assert pixels is not None and pixels.shape == (gallery.TILE, gallery.TILE, 3)
    shown = (pixels != PADDING).any(axis=2)
    sides = shown.any(axis=0).sum(), shown.any(axis=1).sum()
    assert sides == tuple(round(gallery.TILE * side / 300) for side in size)
    assert np.array_equal(pixels[gallery.TILE // 2, gallery.TILE // 2], (200, 30, 60))


def test_what_is_no_image_has_no_tile(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    assert gallery.load(str(tmp_path / "a.png")) is None
