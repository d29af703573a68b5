"""TIFF files against OpenCV's reading and the numbers that were written; what is refused; raw files of cameras."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from ray_birds.data import decode, formats, tiff
from tests.conftest import encode

SIZE = 64
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's on damaged tags


def drawn(channels: int = 3) -> np.ndarray:
    """(SIZE, SIZE, channels) uint8 or, of one channel, (SIZE, SIZE)."""
    spots = np.random.default_rng(0).integers(0, 256, (6, 6, channels), np.uint8).squeeze()
    return np.asarray(Image.fromarray(spots).resize((SIZE, SIZE)))


def saved(image: Image.Image, **options: object) -> bytes:
    return encode(image, "TIFF", **options)


def by_opencv(values: np.ndarray, *parameters: int) -> bytes:
    return cv2.imencode(".tiff", values[..., ::-1] if values.ndim == 3 else values, parameters)[1].tobytes()


def written(values: np.ndarray, tags: dict[int, int], tile: tuple[int, int] | None = None) -> bytes:
    """A TIFF file by hand (TIFF 6.0): one strip, or one tile, of these values as they lie in memory."""
    height, width = values.shape[:2]
    data = values.tobytes()
    tags = {256: width, 257: height, 259: 1, 277: 1 if values.ndim == 2 else values.shape[2], **tags}
    tags |= {322: tile[0], 323: tile[1], 324: 8, 325: len(data)} if tile else {273: 8, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


RGB, GREY = drawn(), drawn(1)
DEEP_RGB, DEEP_GREY = (values.astype(np.uint16) * 250 + 77 for values in (RGB, GREY))
LZW, DEFLATE = (cv2.IMWRITE_TIFF_COMPRESSION, 5), (cv2.IMWRITE_TIFF_COMPRESSION, 8)
GOOD = {
    "lzw": (saved(Image.fromarray(RGB), compression="tiff_lzw"), RGB),
    "deflate": (saved(Image.fromarray(RGB), compression="tiff_adobe_deflate"), RGB),
    "packbits": (saved(Image.fromarray(RGB), compression="packbits"), RGB),
    "as it is": (saved(Image.fromarray(RGB)), RGB),
    "bigtiff": (saved(Image.fromarray(RGB), big_tiff=True), RGB),
    "grey": (saved(Image.fromarray(GREY), compression="tiff_lzw"), GREY),
    "transparent": (saved(Image.fromarray(np.dstack([RGB, RGB[..., 0]]))), None),
    "palette": (saved(Image.fromarray(RGB).quantize(200)), None),
    "first of two pages": (
        saved(Image.fromarray(RGB), save_all=True, append_images=[Image.fromarray(255 - RGB)]),
        RGB,
    ),
    "16 bits of rgb": (by_opencv(DEEP_RGB, *LZW), DEEP_RGB),
    "16 bits of rgb, deflate": (by_opencv(DEEP_RGB, *DEFLATE), DEEP_RGB),
    "16 bits of grey": (by_opencv(DEEP_GREY, *LZW), DEEP_GREY),
    "8 bits, white is zero": (written(255 - GREY, {258: 8, 262: 0}), GREY),
    "a tile": (written(GREY, {258: 8, 262: 1}, tile=(SIZE, SIZE)), GREY),
    "jpeg": (saved(Image.fromarray(RGB), compression="jpeg", quality=90), None),
}


@pytest.mark.parametrize("name", GOOD)
def test_its_pixels_are_the_numbers_that_were_written_and_those_that_opencv_reads(name: str) -> None:
    data, values = GOOD[name]
    made = decode.decode(data, SIZE)
    assert made.pixels is not None, made.error
    pixels = made.pixels.astype(int)
    if values is not None:
        levels = values if values.dtype == np.uint8 else values / 257
        assert np.abs(pixels - (levels if levels.ndim == 3 else levels[..., None])).max() <= 1
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    read: np.ndarray = found if found.dtype == np.uint8 else found / 257
    read = read[..., None] if read.ndim == 2 else read[..., 2::-1]
    if name == "transparent":  # laid over white here
        share = RGB[..., :1] / 255
        read = RGB * share + 255 * (1 - share)
    assert np.abs(pixels - read).max() <= 2


ODD = {
    "floats": written(RGB.astype(np.float32) / 255, {258: 32, 262: 2, 339: 3}),
    "32 bits": written(GREY.astype(np.uint32), {258: 32, 262: 1}),
    "signed": written(GREY.astype(np.int16), {258: 16, 262: 1, 339: 2}),
    "16 bits, white is zero": written(65535 - DEEP_GREY, {258: 16, 262: 0}),
    "five channels": written(np.repeat(GREY[..., None], 5, axis=2), {258: 8, 262: 1}),
    "12 bits": written(np.zeros((SIZE, SIZE * 3 // 2), np.uint8), {256: SIZE, 258: 12, 262: 1}),
    "jpeg 2000 inside": written(GREY, {258: 8, 262: 1, 259: 34712}),
}


@pytest.mark.parametrize("name", ODD)
def test_what_pillow_would_misread_is_refused_and_says_what_to_do(name: str) -> None:
    made = decode.decode(ODD[name], SIZE)
    assert made.pixels is None and made.error == tiff.ODD


def test_16_bits_in_separate_planes_are_refused() -> None:
    """Pillow 13 mixes the planes up."""
    planes = np.moveaxis(DEEP_RGB, -1, 0).tobytes()
    head = [
        (256, SIZE),
        (257, SIZE),
        (258, 16),
        (259, 1),
        (262, 2),
        (273, 8),
        (277, 3),
        (278, SIZE),
        (279, len(planes)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*head, (284, 2)])
    data = struct.pack("<2sHI", b"II", 42, 8 + len(planes)) + planes + struct.pack("<H", 10) + entries + bytes(4)
    assert decode.decode(data, SIZE).pixels is None


@pytest.mark.parametrize(
    "tags",
    [{50706: 1 + 4 * 256}, {262: 32803}, {262: 34892}, {254: 1, 330: 8}],
    ids=["dng", "colour filters", "linear raw", "a preview"],
)
def test_a_cameras_raw_file_is_named_and_not_taken_for_its_preview(tags: dict[int, int]) -> None:
    data = written(RGB, {258: 8, 262: 2, **tags})
    assert decode.format_of(data) == formats.RAW
    made = decode.decode(data, SIZE)
    assert made.pixels is None
    assert made.error == formats.not_read(formats.RAW) and "develop it to JPEG or TIFF" in made.error


def test_a_preview_on_a_later_page_or_a_damaged_directory_is_no_raw_file() -> None:
    pyramid = written(RGB, {258: 8, 262: 2, 254: 0, 330: 8})  # the smaller images of a microscope
    for data in (pyramid, pyramid[:100], b"II*\0\xff\xff\xff\xff", b"MM\0+", b"II*\0"):
        assert decode.format_of(data) == "TIFF"
    assert decode.decode(pyramid, SIZE).error == ""


def test_a_tile_larger_than_the_image_counts() -> None:
    """libtiff unpacks all of it: a file of some kilobytes could ask for gigabytes."""
    data = written(GREY, {258: 8, 262: 1}, tile=(16384, 16384))
    assert decode.decode(data, SIZE).error == f"too large: {SIZE}x{SIZE}, over 50000000 pixels"


def test_each_broken_one_has_a_reason() -> None:
    random = np.random.default_rng(0)
    for data in (GOOD[name][0] for name in ("lzw", "deflate", "jpeg", "16 bits of grey", "a tile", "bigtiff")):
        for keep in random.integers(4, len(data) - 60, 12):
            made = decode.decode(data[:keep], SIZE)
            assert made.pixels is None and made.error and "\n" not in made.error
        for _ in range(40):
            broken = bytearray(data)
            for place in random.integers(4, len(data), 6):
                broken[place] = random.integers(256)
            made = decode.decode(bytes(broken), SIZE, max_pixels=4_000_000)
            assert (made.pixels is None) == bool(made.error)
