"""Colours against LittleCMS called directly, and against the matrices and gammas of the profiles themselves."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from ray_birds.data import decode
from tests.conftest import encode
from tests.data import icc

SIZE = 96
PROFILES = {
    "adobe rgb": ("RGB", icc.rgb(icc.ADOBE)),
    "display p3": ("RGB", icc.rgb(icc.P3)),
    "grey": ("L", icc.grey(1.0)),
    "cmyk": ("CMYK", icc.cmyk()),
}


def photo(mode: str, side: int) -> Image.Image:
    spots = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(spots).resize((side, side), Image.Resampling.BICUBIC).convert(mode)


def decoded(data: bytes) -> np.ndarray:
    made = decode.decode(data, SIZE)
    assert made.pixels is not None, made.error
    return made.pixels.astype(int)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("side", [SIZE, 5 * SIZE])
def test_it_is_within_3_of_littlecms(name: str, kind: str, side: int) -> None:
    """Of what it makes of the image at the model's size, at which profiles are applied."""
    mode, profile = PROFILES[name]
    takes = {"JPEG": ("RGB", "L", "CMYK"), "TIFF": ("RGB", "L", "CMYK"), "PNG": ("RGB", "L")}
    if mode not in takes.get(kind, ("RGB",)):
        pytest.skip("no such images")
    data = encode(photo(mode, side), kind, icc_profile=profile, **({"quality": 95} if kind == "JPEG" else {}))
    with Image.open(io.BytesIO(data)) as image:
        source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        image.draft(None, (2 * SIZE, 2 * SIZE))
        small = image.convert(mode).resize((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=2.0)
        wanted = np.asarray(ImageCms.profileToProfile(small, source, srgb, outputMode="RGB")).astype(int)
    away = np.abs(decoded(data) - wanted)
    assert away.max() <= 3
    assert np.abs(decoded(encode(photo(mode, side), kind)) - wanted).max() > 10  # the profile says something


@pytest.mark.parametrize(("name", "primaries"), [("adobe rgb", icc.ADOBE), ("display p3", icc.P3)])
def test_it_is_what_the_primaries_say(name: str, primaries: np.ndarray) -> None:
    """Colours within both spaces: to XYZ by gamma and matrix of the profile, then by those of IEC 61966-2-1."""
    colours = np.random.default_rng(1).integers(90, 170, (SIZE, 3)).astype(np.uint8)
    image = Image.fromarray(np.repeat(colours[None], SIZE, axis=0))
    xyz = (colours / 255) ** icc.GAMMA @ primaries.T
    to_xyz = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
    linear = (xyz @ np.linalg.inv(to_xyz).T).clip(0, 1)
    wanted = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    made = decoded(encode(image, "PNG", icc_profile=PROFILES[name][1]))
    assert np.abs(made - wanted).max() <= 2 and np.abs(made - colours).max() > 4


@pytest.mark.parametrize(
    "profile",
    [b"", b"no profile", PROFILES["adobe rgb"][1][:200], PROFILES["grey"][1], PROFILES["cmyk"][1], bytes(3000)],
    ids=["empty", "a text", "cut", "of grey", "of inks", "zeros"],
)
def test_a_profile_that_does_not_fit_costs_nothing(profile: bytes) -> None:
    image = photo("RGB", SIZE)
    for kind in ("PNG", "JPEG", "TIFF"):
        assert np.array_equal(decoded(encode(image, kind, icc_profile=profile)), decoded(encode(image, kind)))


def test_white_and_the_padding_stay_as_they_are() -> None:
    image = Image.new("RGBA", (2 * SIZE, SIZE), (9, 9, 9, 0))
    data = encode(image, "PNG", icc_profile=PROFILES["display p3"][1])
    made = decode.decode(data, SIZE, resize="pad").pixels
    assert made is not None and (made[:10] == 128).all() and (made[SIZE // 2] >= 254).all()
