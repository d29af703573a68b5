"""The lines for those without ray-birds make our pixels of every kind of file; test_export runs the card's own."""

import typing
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from ray_birds.data import decode
from ray_birds.model import lines
from ray_birds.sweep.factors import Resize
from tests.conftest import REPOSITORY, encode
from tests.data import icc

SIZE = 32


def scene(width: int = 90, height: int = 60, mode: str = "RGB") -> Image.Image:
    """Something without symmetry: turned, mirrored or laid over black it is another image."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    noise = np.random.default_rng(0).uniform(-20, 20, (height, width, 3))
    colours = np.stack([230 * across, 200 * down, 120 * (across > 0.6)], axis=-1) + noise
    image = Image.fromarray(colours.clip(0, 255).astype(np.uint8))
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray((255 * down).astype(np.uint8)))
    return image.convert(mode)


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(scene(), "JPEG", exif=exif, quality=95)


def deep(mode: str) -> bytes:
    """A PNG of 16 bits, whose values are no multiples of 257."""
    values = np.asarray(scene(mode=mode)).astype(np.uint16) * 250 + 77
    return cv2.imencode(".png", values)[1].tobytes()


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
PALETTE = scene().quantize(16)
EXIF = Image.Exif()
EXIF[0x0112] = 6
ADOBE = icc.rgb(icc.ADOBE)
FILES: dict[str, Callable[[], bytes]] = {  # made when asked for
    **{f"rotated {number}": partial(rotated, number) for number in range(1, 9)},
    "rotated png": lambda: encode(scene(mode="RGBA"), "PNG", exif=EXIF),
    "transparent png": lambda: encode(scene(mode="RGBA"), "PNG"),
    "transparent webp": lambda: encode(scene(mode="RGBA"), "WEBP", lossless=True),
    "grey and transparent": lambda: encode(scene(mode="LA"), "PNG"),
    "palette and transparency": lambda: encode(PALETTE, "PNG", transparency=bytes(range(0, 256, 16))),
    "one transparent colour": lambda: encode(scene(mode="L").convert("RGB"), "PNG", transparency=(120, 120, 120)),
    "transparent gif": lambda: encode(PALETTE, "GIF", transparency=3),
    "palette": lambda: encode(PALETTE, "PNG"),
    "cmyk": lambda: encode(scene(mode="CMYK"), "JPEG", quality=95),
    "cmyk with a profile": lambda: encode(scene(mode="CMYK"), "JPEG", icc_profile=PROFILE),
    "profile in a jpeg": lambda: encode(scene(), "JPEG", icc_profile=PROFILE),
    "profile in a png": lambda: encode(scene(), "PNG", icc_profile=PROFILE),
    "16 bits of grey": lambda: deep("L"),
    "16 bits of colour": lambda: deep("RGB"),
    "16 bits and transparent": lambda: deep("RGBA"),
    "adobe rgb": lambda: encode(scene(), "JPEG", quality=95, icc_profile=ADOBE),
    "adobe rgb, transparent": lambda: encode(scene(mode="RGBA"), "PNG", icc_profile=ADOBE),
    "adobe rgb, palette": lambda: encode(PALETTE, "PNG", icc_profile=ADOBE),
    "display p3, rotated": lambda: encode(scene(), "WEBP", lossless=True, exif=EXIF, icc_profile=icc.rgb(icc.P3)),
    "a profile of grey": lambda: encode(scene(mode="L"), "PNG", icc_profile=icc.grey(1.8)),
    "a profile of inks": lambda: encode(scene(mode="CMYK"), "JPEG", quality=95, icc_profile=icc.cmyk()),
    "a profile of rgb for grey": lambda: encode(scene(mode="L"), "JPEG", icc_profile=ADOBE),
    "half a profile": lambda: encode(scene(), "PNG", icc_profile=ADOBE[: len(ADOBE) // 2]),
    "tiff": lambda: encode(scene(), "TIFF", compression="tiff_lzw", exif=EXIF),
    "tiff, adobe rgb": lambda: encode(scene(), "TIFF", compression="tiff_adobe_deflate", icc_profile=ADOBE),
    "tiff, 16 bits of grey": lambda: cv2.imencode(
        ".tiff", np.asarray(scene(mode="L")).astype(np.uint16) * 250 + 77
    )[1].tobytes(),
    "tiff, cmyk": lambda: encode(scene(mode="CMYK"), "TIFF", icc_profile=icc.cmyk()),
    "avif": lambda: encode(scene(), "AVIF", quality=90, exif=EXIF, icc_profile=ADOBE),
    "grey": lambda: encode(scene(mode="L"), "JPEG"),
    "black and white": lambda: encode(scene(mode="1"), "PNG"),
    "bitmap": lambda: encode(scene(), "BMP"),
    "large jpeg": lambda: encode(scene(1500, 1000), "JPEG", quality=95),
    "large png": lambda: encode(scene(1500, 1000), "PNG"),
    "odd shape": lambda: encode(scene(91, 58), "PNG"),
    "a line": lambda: encode(scene(900, 2), "PNG"),
    "animation": lambda: encode(scene(), "GIF", save_all=True, append_images=[scene(mode="L")]),
}


@cache
def made(name: str) -> bytes:
    return FILES[name]()


def pixels(code: str) -> Callable[[Path], np.ndarray]:
    names: dict[str, Any] = {}
    exec(code, names)
    return names["pixels"]


@pytest.mark.parametrize("resize", typing.get_args(Resize))
@pytest.mark.parametrize("name", FILES)
def test_they_make_the_pixels_of_our_decoder(name: str, resize: Resize, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(made(name))
    ours = decode.load(str(tmp_path / "photo.jpg"), SIZE, resize=resize)
    assert ours.pixels is not None, ours.error
    theirs = pixels(lines.pixels(SIZE, resize))(tmp_path / "photo.jpg")
    assert theirs.dtype == np.uint8 and np.ptp(theirs) > 50
    np.testing.assert_array_equal(theirs, ours.pixels)


def test_the_documentation_has_them() -> None:
    page = (REPOSITORY / "docs/model.md").read_text(encoding="utf-8")
    assert f"```python\n{lines.pixels(224)}```" in page
    assert "load_img" not in page
