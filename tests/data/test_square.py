"""How images of any shape become squares: by what is seen where, and against Pillow's own ways."""

import typing
from collections.abc import Callable

import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

from ray_birds.data import decode, square
from ray_birds.sweep.factors import Resize
from tests.conftest import encode

SIZE = 64
MODES: tuple[Resize, ...] = typing.get_args(Resize)
SHAPES = ((64, 64), (100, 60), (60, 100), (301, 77), (77, 300), (1, 1), (3000, 1), (1, 3000))
BILINEAR = Image.Resampling.BILINEAR
PILLOW = int(PIL.__version__.partition(".")[0])


def noise(width: int, height: int) -> Image.Image:
    """Large spots, so that no way of rounding matters much."""
    spots = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(spots).resize((width, height), BILINEAR)


def decoded(image: Image.Image | bytes, resize: Resize, **options: object) -> np.ndarray:
    data = image if isinstance(image, bytes) else encode(image, "PNG", compress_level=1, **options)
    made = decode.decode(data, SIZE, resize=resize)
    assert made.pixels is not None and made.pixels.shape == (SIZE, SIZE, 3) and made.pixels.dtype == np.uint8
    return made.pixels


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_what_pillow_makes_of_it(resize: Resize, shape: tuple[int, int]) -> None:
    image = noise(*shape)
    ways: dict[str, Callable[[], Image.Image]] = {
        "stretch": lambda: image.resize((SIZE, SIZE), BILINEAR),
        "pad": lambda: ImageOps.pad(image, (SIZE, SIZE), BILINEAR, color=square.PADDING),
        "crop": lambda: ImageOps.fit(image, (SIZE, SIZE), BILINEAR),
    }
    if resize == "pad" and 1 in shape and PILLOW < 13:
        pytest.skip("this Pillow pads no image that becomes narrower than a pixel")
    wanted = ways[resize]()
    # `reducing_gap` rounds once more, and Pillow's pad puts an odd border elsewhere
    away = np.abs(decoded(image, resize).astype(int) - np.asarray(wanted).astype(int))
    if resize == "pad" and (SIZE - max(1, round(SIZE * min(shape) / max(shape)))) % 2:
        return
    assert away.max() <= 3


@pytest.mark.parametrize("resize", MODES)
def test_a_square_image_is_the_same_in_every_mode(resize: Resize) -> None:
    image = noise(150, 150)
    assert np.array_equal(decoded(image, resize), decoded(image, "stretch"))


def test_what_is_seen_of_a_wide_image() -> None:
    """Red, green and blue thirds side by side."""
    thirds = np.repeat(np.eye(3, dtype=np.uint8) * 255, 60, axis=0)[None].repeat(60, axis=0)
    seen = {resize: decoded(Image.fromarray(thirds), resize) for resize in MODES}
    middle = SIZE // 2
    for column, colour in ((5, [255, 0, 0]), (middle, [0, 255, 0]), (SIZE - 5, [0, 0, 255])):
        assert seen["stretch"][2, column].tolist() == seen["pad"][middle, column].tolist() == colour
    assert (seen["crop"][:, 1:-1] == [0, 255, 0]).all()
    border = (SIZE - round(SIZE / 3)) // 2
    assert (seen["pad"][:border] == square.PADDING).all() and (seen["pad"][-border:] == square.PADDING).all()
    assert not (seen["pad"][border + 1] == square.PADDING).any()


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_an_image_is_turned_upright_first(resize: Resize, orientation: int) -> None:
    """Two images that a viewer shows alike, one of them stored turned."""
    image, exif = noise(101, 60), Image.Exif()
    exif[0x0112] = orientation
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE}
    stored = image.transpose(turns[orientation])
    assert np.array_equal(decoded(stored, resize, exif=exif), decoded(image, resize))


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("shape", [(900, 1300), (2500, 400), (400, 2500)])
def test_a_large_image_looks_as_it_does_whole(
    resize: Resize, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, exif = noise(*shape), Image.Exif()
    exif[0x0112] = 6
    image.putalpha(Image.linear_gradient("L").resize(shape))
    data = encode(image, "PNG", compress_level=1, exif=exif)
    whole = decoded(data, resize)
    monkeypatch.setattr(square, "LARGE", 100_000)
    assert np.abs(decoded(data, resize).astype(int) - whole.astype(int)).max() <= 4
