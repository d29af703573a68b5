"""The one decoder on real encoded files: every promised format, EXIF, transparency, depth, damage, abuse."""

import fcntl
import hashlib
import importlib.util
import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ray_birds.data import decode, formats, jpeg_xl, metadata
from ray_birds.data.decode import Decoded
from tests.conftest import encode, needs_locked
from tests.data import icc

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Tag data larger than file")

SIZE = 32
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 180, 30), (30, 30, 220), (255, 255, 255)


def plain(colour: tuple[int, ...] | int = RED, mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> Image.Image:
    return Image.new(mode, size, colour)


def quadrants(width: int, height: int) -> np.ndarray:
    """(height, width, 3): red, green over blue, white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    return pixels


def colour(image: Decoded, row: float = 0.5, column: float = 0.5) -> np.ndarray:
    """The decoded pixel at this share of height and width."""
    assert image.error == "" and image.pixels is not None, image.error
    assert image.pixels.shape == (SIZE, SIZE, 3) and image.pixels.dtype == np.uint8
    return image.pixels[int(row * SIZE), int(column * SIZE)].astype(int)


def close(found: np.ndarray, wanted: tuple[int, ...], within: int = 6) -> bool:
    return bool(np.abs(found - np.array(wanted)).max() <= within)


def assert_reason(image: Decoded, *words: str) -> None:
    assert image.pixels is None and image.error, "expected a reason"
    assert "\n" not in image.error and len(image.error) < 300
    assert any(word in image.error for word in words), image.error


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is this large, with next to no data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"x") + png_chunk(b"IEND", b"")


def heic(image: Image.Image, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=-1, chroma=444, **options)  # lossless
    return file.getvalue()


FRAMES = [plain(RED), plain(BLUE)]
ENCODED = {
    "jpeg": encode(plain(), "JPEG", quality=95),
    "jpeg progressive": encode(plain(), "JPEG", progressive=True, quality=95),
    "png": encode(plain(), "PNG"),
    "png interlaced palette": encode(plain().quantize(8), "PNG"),
    "bmp": encode(plain(), "BMP"),
    "webp": encode(plain(), "WEBP", quality=95),
    "tiff": encode(plain(), "TIFF"),
    "avif": encode(plain(), "AVIF", quality=95),
    "avif, first of two frames": encode(FRAMES[0], "AVIF", save_all=True, append_images=FRAMES[1:], quality=95),
    "webp lossless": encode(plain(), "WEBP", lossless=True),
    "gif": encode(plain(), "GIF"),
    "gif, first of two frames": encode(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]),
    "webp, first of two frames": encode(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:], lossless=True),
    "png, first of two frames": encode(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]),
    "mpo, first of two images": encode(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:]),
    **({"heic": heic(plain())} if importlib.util.find_spec("pillow_heif") else {}),
}


@pytest.mark.parametrize("data", ENCODED.values(), ids=ENCODED)
def test_formats(data: bytes) -> None:
    image = decode.decode(data, SIZE)
    assert close(colour(image), RED) and (image.width, image.height) == (48, 40)


def test_another_format_is_refused_though_pillow_knows_it() -> None:
    for kind in ("PPM", "PCX"):
        assert_reason(decode.decode(encode(plain(), kind), SIZE), f"not a {formats.READ_TEXT} image")
    for kind, name in {"ICO": "Windows icon", "JPEG2000": "JPEG 2000"}.items():
        data = encode(plain(), kind)
        assert_reason(decode.decode(data, SIZE), f"a {name} image, which is not read (convert it to JPEG or PNG)")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    upright = quadrants(160, 96)
    # EXIF 2.32, 4.6.4: at which visual side the stored rows and columns begin.
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright[:, ::-1].transpose(1, 0, 2),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: upright[::-1].transpose(1, 0, 2),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode.decode(encode(Image.fromarray(turned.copy()), kind, exif=exif, quality=95), SIZE)
    assert (image.width, image.height) == (160, 96)
    corners = [colour(image, row, column) for row in (0.2, 0.8) for column in (0.2, 0.8)]
    assert all(close(found, wanted, 12) for found, wanted in zip(corners, (RED, GREEN, BLUE, WHITE), strict=True))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00" + b"\xff" * 40,
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff",
        b"Exif\x00\x00",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x63\x00\x00\x00",  # 99
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x02\x00\xff\xff\xff\xff\x63\x00\x00\x00",
    ],
    ids=["noise", "cut", "empty", "orientation 99", "orientation a text"],
)
def test_a_corrupt_exif_block_does_not_cost_the_image(exif: bytes) -> None:
    image = decode.decode(encode(plain(), "JPEG", exif=exif, quality=95), SIZE)
    assert close(colour(image), RED) and (image.width, image.height) == (48, 40)


def palette_with_transparency() -> Image.Image:
    image = plain(0, "P")
    image.putpalette([*RED, *BLUE])
    image.paste(1, (24, 0, 48, 40))
    return image


HALF = tuple((value + 255) // 2 for value in RED)
TRANSPARENT = {
    "rgba clear": (encode(plain((*RED, 0), "RGBA"), "PNG"), WHITE),
    "rgba half": (encode(plain((*RED, 128), "RGBA"), "PNG"), HALF),
    "rgba solid": (encode(plain((*RED, 255), "RGBA"), "PNG"), RED),
    "webp rgba clear": (encode(plain((*RED, 0), "RGBA"), "WEBP", lossless=True, exact=True), WHITE),
    "grey and alpha": (encode(plain((0, 0), "LA"), "PNG"), WHITE),
    "grey and half alpha": (encode(plain((0, 128), "LA"), "PNG"), (127, 127, 127)),
    "rgb with a clear colour": (encode(plain(), "PNG", transparency=RED), WHITE),
    "grey with a clear value": (encode(plain(90, "L"), "PNG", transparency=90), WHITE),
}


@pytest.mark.parametrize(("data", "wanted"), TRANSPARENT.values(), ids=TRANSPARENT)
def test_transparency_is_laid_over_white(data: bytes, wanted: tuple[int, ...]) -> None:
    assert close(colour(decode.decode(data, SIZE)), wanted, 2)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(kind: str) -> None:
    image = decode.decode(encode(palette_with_transparency(), kind, transparency=0), SIZE)
    assert close(colour(image, column=0.1), WHITE, 2) and close(colour(image, column=0.9), BLUE, 2)


def test_palette_with_degrees_of_transparency() -> None:
    image = decode.decode(encode(palette_with_transparency(), "PNG", transparency=bytes([128, 255])), SIZE)
    assert close(colour(image, column=0.1), HALF, 2) and close(colour(image, column=0.9), BLUE, 2)


GREYS = {
    "grey jpeg": (encode(plain(90, "L"), "JPEG", quality=95), 90),
    "grey png": (encode(plain(90, "L"), "PNG"), 90),
    "black and white": (encode(plain(1, "1"), "PNG"), 255),
}


@pytest.mark.parametrize(("data", "level"), GREYS.values(), ids=GREYS)
def test_grey_becomes_three_equal_channels(data: bytes, level: int) -> None:
    assert close(colour(decode.decode(data, SIZE)), (level,) * 3, 2)


@pytest.mark.parametrize("level", [0, 200, 12_000, 32_768, 60_000, 65_535])
def test_16_bit_grey_is_scaled_and_not_clipped(level: int) -> None:
    data = encode(Image.fromarray(np.full((40, 48), level, np.uint16)), "PNG")
    assert close(colour(decode.decode(data, SIZE)), (level // 257,) * 3, 1)


def test_cmyk_jpeg() -> None:
    image = decode.decode(encode(plain().convert("CMYK"), "JPEG", quality=95), SIZE)
    assert close(colour(image), RED, 12)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000), (7, 300)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_any_size(size: tuple[int, int], kind: str) -> None:
    image = decode.decode(encode(plain(size=size), kind), SIZE)
    assert (image.width, image.height) == size
    assert image.pixels is not None and np.abs(image.pixels.astype(int) - RED).max() <= 8


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same() -> None:
    pixels = np.asarray(Image.fromarray(quadrants(800, 600)).resize((800, 600)))
    data = encode(Image.fromarray(pixels), "JPEG", quality=95)
    reduced = decode.decode(data, SIZE).pixels
    whole = Image.open(io.BytesIO(data)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert reduced is not None and np.abs(reduced.astype(int) - np.asarray(whole).astype(int)).mean() < 2


def test_avif_as_opencv_reads_it() -> None:
    data = encode(Image.fromarray(quadrants(SIZE, SIZE)), "AVIF", quality=80)
    made, read = decode.decode(data, SIZE).pixels, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if read is None:
        pytest.skip("this OpenCV reads no AVIF")
    assert made is not None and np.abs(made.astype(int) - read[..., ::-1].astype(int)).max() <= 2


def test_heic_with_its_extra() -> None:
    image = decode.decode(heic(plain()), SIZE)
    assert close(colour(image), RED, 2) and (image.width, image.height) == (48, 40)
    values = np.asarray(Image.fromarray(quadrants(16, 16)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    made = decode.decode(heic(Image.fromarray(values)), SIZE).pixels
    assert made is not None and np.abs(made.astype(int) - values.astype(int)).max() <= 2
    profiled = decode.decode(heic(Image.fromarray(values), icc_profile=icc.rgb(icc.P3)), SIZE).pixels
    assert profiled is not None and np.abs(profiled.astype(int) - values.astype(int)).max() > 10
    data = heic(Image.fromarray(values))
    for keep in (20, 100, len(data) // 2, len(data) - 30):
        assert_reason(decode.decode(data[:keep], SIZE), "damaged")
    assert_reason(decode.decode(data, SIZE, max_pixels=1000), "too large: 32x32, over 1000 pixels")


def jxl(image: Image.Image, **options: object) -> bytes:
    pytest.importorskip("pillow_jxl")
    return encode(image, "JXL", **({"lossless": True} | options))


def test_jpeg_xl_with_its_extra() -> None:
    image = decode.decode(jxl(plain()), SIZE)
    assert close(colour(image), RED, 2) and (image.width, image.height) == (48, 40)
    values = np.asarray(Image.fromarray(quadrants(16, 16)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    for options in ({}, {"use_container": True}):
        made = decode.decode(jxl(Image.fromarray(values), **options), SIZE).pixels
        assert made is not None and np.abs(made.astype(int) - values.astype(int)).max() <= 2
    linear = values[..., 0] / 255  # the encoder's word for grey of 16 bits; sRGB by IEC 61966-2-1
    wanted = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    deep = decode.decode(jxl(Image.fromarray(values[..., 0].astype(np.uint16) * 257)), SIZE).pixels
    assert deep is not None and np.abs(deep[..., 0] - wanted)[linear > 0.05].max() <= 3
    assert_reason(decode.decode(jxl(plain(1, "F")), SIZE), "floating-point grey")
    data = jxl(Image.fromarray(values), use_container=True)
    for keep in (14, 20, 44, 60, len(data) // 2, len(data) - 30):
        assert_reason(decode.decode(data[:keep], SIZE), "damaged")


def test_a_jpeg_in_a_jpeg_xl_is_turned_and_another_image_is_as_it_lies(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn = Image.fromarray(quadrants(96, 160))
    assert close(colour(decode.decode(jxl(drawn, exif=exif.tobytes()), SIZE), 0.2, 0.2), RED, 2)
    file = tmp_path / "x.jpg"
    drawn.save(file, "JPEG", quality=95, exif=exif)
    with Image.open(file) as image:
        packed = jxl(image, lossless_jpeg=True, lossless=False)
    assert close(colour(decode.decode(packed, SIZE), 0.2, 0.2), BLUE, 12)


# Beginnings that the reference encoder gave images of these sizes, without and with boxes.
SIZES = {
    (48, 40): "ff0a8906002d880200411ab59f20",
    (64, 64): "ff0a4f06002d880200f12db59f20",
    (1000, 300): "ff0a5889cec70013880200e094c3",
    (3000, 2000): "ff0a7a3e1c001388020084e0894d",
}
BOXES = bytes.fromhex("0000000c4a584c200d0a870a 00000014667479706a786c20000000006a786c20")


@pytest.mark.parametrize(("size", "begins"), SIZES.items())
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(size: tuple[int, int], begins: str) -> None:
    stream = bytes.fromhex(begins)
    part = b"\0\0\0\x40jxlp\0\0\0\0" + stream
    for data in (stream, BOXES + b"\0\0\0\0jxlc" + stream, BOXES + b"\0\0\0\x0cfreeABCD" + part):
        assert jpeg_xl.size(data) == size
        pytest.importorskip("pillow_jxl")
        width, height = size
        assert_reason(decode.decode(data, SIZE, max_pixels=1000), f"too large: {width}x{height}, over 1000 pixels")


@pytest.mark.parametrize("data", [b"\xff\x0a", BOXES, BOXES + b"\0\0\0\1jxlc" + bytes(20), BOXES + bytes(16)])
def test_a_jpeg_xl_without_a_size(data: bytes) -> None:
    with pytest.raises(ValueError, match="no codestream"):
        jpeg_xl.size(data)


@pytest.mark.parametrize(
    ("name", "data", "extra"),
    [
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        ("JPEG XL", b"\xff\x0a\x89\x06", "jxl"),
    ],
)
def test_a_format_without_its_extra_names_it(
    name: str, data: bytes, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode.reader.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    reason = f"a {name} image, which needs an extra (pip install 'ray-birds[{extra}]'"
    assert_reason(decode.decode(data + bytes(40), SIZE), reason)
    decode.reader.cache_clear()


# Of each version of the decoder: the digest of what it makes of the images below.
PIXELS_OF = {3: "7da8c0e37d048e32"}


def test_whoever_changes_the_pixels_raises_the_version() -> None:
    """Stored features are found by the version: with an old one they would be those of the old decoder."""
    needs_locked("pillow", "opencv-python-headless")
    random = np.random.default_rng(0)
    drawn = [random.integers(0, 256, (height, 90, 4), np.uint8) for height in (20, 60, 400)]
    rotated = Image.Exif()
    rotated[0x0112] = 6
    images = [Image.fromarray(pixels[..., :3]) for pixels in drawn]
    files = [encode(image, "PNG") for image in [*images, *(image.convert("L") for image in images)]]
    files += [encode(Image.fromarray(drawn[1], "RGBA"), "PNG"), encode(images[1], "PNG", exif=rotated)]
    files += [encode(Image.fromarray(drawn[1][..., 0].astype(np.uint16) * 257), "PNG")]
    files += [encode(images[1], kind, icc_profile=icc.rgb(icc.ADOBE)) for kind in ("PNG", "TIFF")]
    made = [decode.decode(data, size).pixels for data in files for size in (32, 70)]
    digest = hashlib.sha256(b"".join(pixels.tobytes() for pixels in made if pixels is not None)).hexdigest()[:16]
    assert decode.VERSION in PIXELS_OF, "record the digest of this version's pixels in PIXELS_OF"
    assert digest == PIXELS_OF[decode.VERSION], (
        "other pixels than before: raise decode.VERSION if that is meant, and record the new digest"
    )


def test_the_same_bytes_give_the_same_pixels() -> None:
    first, second = (decode.decode(ENCODED["jpeg"], SIZE).pixels for _ in range(2))
    assert first is not None and second is not None and np.array_equal(first, second)


def test_load(tmp_path: Path) -> None:
    for name, data in {"UPPER.PNG": ENCODED["png"], "no ending": ENCODED["jpeg"], "鶯": ENCODED["webp"]}.items():
        (tmp_path / name).write_bytes(data)
        assert close(colour(decode.load(str(tmp_path / name), SIZE)), RED)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (b"%PDF-1.7\n1 0 obj", f"not a {formats.READ_TEXT} image"),
        (b"\x00" * 5000, "not a JPEG"),
        (b"<html><body>404</body></html>", "not a JPEG"),
        (encode(Image.effect_noise((64, 64), 80).convert("RGB"), "JPEG")[:1500], "damaged: "),
        (encode(Image.effect_noise((64, 64), 80).convert("RGB"), "PNG")[:3000], "damaged: "),
        (ENCODED["gif"][:30], "damaged: "),
        (ENCODED["bmp"][:2000], "damaged: "),
        (ENCODED["webp"][:60], "damaged: "),
        (ENCODED["jpeg"][:2], "not a JPEG"),
    ],
    ids=["empty", "pdf", "zeros", "html", "jpeg cut", "png cut", "gif cut", "bmp cut", "webp cut", "2 bytes"],
)
def test_a_reason_that_a_person_understands(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "called.jpg").write_bytes(data)
    for image in (decode.decode(data, SIZE), decode.load(str(tmp_path / "called.jpg"), SIZE)):
        assert_reason(image, words) if words != "damaged: " else assert_reason(image, "damaged", "not a JPEG")


def test_too_many_pixels_are_refused_before_decoding() -> None:
    """100,000 x 100,000 pixels would take 30 GB; the answer needs no more than the header."""
    image = decode.decode(png_header(100_000, 100_000), SIZE)
    assert_reason(image, "too large: 100000x100000, over 50000000 pixels")
    assert (image.width, image.height) == (100_000, 100_000)
    assert_reason(
        decode.decode(ENCODED["jpeg"], SIZE, max_pixels=48 * 40 - 1), "too large: 48x40, over 1919 pixels"
    )
    assert decode.decode(ENCODED["jpeg"], SIZE, max_pixels=48 * 40).error == ""


def test_a_gif_frame_larger_than_its_screen_counts_at_its_own_size() -> None:
    data = bytearray(encode(plain(0, "P", (60, 60)), "GIF"))
    data[6:10] = struct.pack("<HH", 1, 1)
    assert_reason(decode.decode(bytes(data), SIZE, max_pixels=100), "too large: 60x60")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert_reason(decode.load(str(tmp_path / "gone.jpg"), SIZE), "file has vanished")
    assert_reason(decode.load(str(tmp_path), SIZE), "directory")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    assert_reason(decode.load(str(tmp_path / "loop.jpg"), SIZE), "cannot be read")
    assert_reason(decode.load(str(tmp_path / "dangling.jpg"), SIZE), "file has vanished")
    below_a_file = tmp_path / "file"
    below_a_file.touch()
    assert_reason(decode.load(str(below_a_file / "x.jpg"), SIZE), "cannot be read", "vanished")


def test_a_name_that_is_not_utf8_is_no_reason_to_die(tmp_path: Path) -> None:
    uri = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(uri)).write_bytes(ENCODED["jpeg"])
    image = decode.load(os.fsdecode(uri), SIZE)
    assert image.error == "" or image.pixels is None
    image.error.encode()  # it goes into a Parquet file


@pytest.mark.skipif(os.name != "posix", reason="needs file permissions")
@pytest.mark.integration
def test_a_file_without_permission() -> None:
    """In a process without root's rights; the folder itself is open to it, the file is not."""
    code = (
        "import os, pathlib, tempfile; from ray_birds.data import decode\n"
        "folder = pathlib.Path(tempfile.mkdtemp()); folder.chmod(0o755)\n"
        "file = folder / 'x.jpg'; file.write_bytes(b'x'); file.chmod(0)\n"
        "root = os.geteuid() == 0\n"
        "if root: os.seteuid(65534)\n"
        "print(decode.load(str(file), 32).error)\n"
        "if root: os.seteuid(0)\n"
        "file.unlink(); folder.rmdir()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "no permission to read the file", done.stderr


def mutated(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """A few flipped bits, a cut, a foreign header, or two files spliced."""
    broken = bytearray(data)
    match random.integers(4):
        case 0:
            for uri in random.integers(0, len(data), random.integers(1, 20)):
                broken[uri] ^= 1 << random.integers(8)
        case 1:
            del broken[random.integers(1, len(data)) :]
        case 2:
            length = random.integers(1, 40)
            broken[:length] = other[:length]
        case _:
            broken[random.integers(1, len(data)) :] = other[random.integers(1, len(other)) :]
    return bytes(broken)


def test_never_raises_on_500_seeded_mutations() -> None:
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = [
        encode(noise, "JPEG", exif=exif),
        encode(noise, "PNG", exif=exif),
        encode(noise.convert("RGBA"), "PNG"),
        encode(Image.fromarray(random.integers(0, 65536, (40, 48), dtype=np.uint16)), "PNG"),
        encode(noise, "GIF", save_all=True, append_images=[plain()]),
        encode(noise, "BMP"),
        encode(noise, "WEBP", exif=exif),
        encode(noise.convert("CMYK"), "JPEG"),
        encode(noise, "TIFF", compression="tiff_lzw"),
        encode(noise, "AVIF"),
    ]
    failed = 0
    for number in range(500):
        data = mutated(whole[number % len(whole)], whole[random.integers(len(whole))], random)
        image = decode.decode(data, SIZE, max_pixels=4_000_000)
        if image.error:
            failed += 1
            assert_reason(image, "")
        else:
            assert image.pixels is not None and image.pixels.shape == (SIZE, SIZE, 3)
            assert image.pixels.dtype == np.uint8 and image.width > 0 and image.height > 0
    assert 100 < failed < 450  # the mutations are neither harmless nor all deadly


def test_real_photographs(shared: Path) -> None:
    paths = sorted((shared / "data/birds263/images to test").iterdir())
    images = [decode.load(str(path), 224) for path in paths]
    assert len(images) == 7 and not [image.error for image in images if image.error]
    assert all(image.pixels is not None and image.pixels.std() > 10 for image in images)


# ---- metadata, memory, and what belongs to others


def png_with(image: Image.Image, *chunks: bytes) -> bytes:
    """The image as a PNG with chunks put behind its header."""
    data = encode(image, "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def jpeg_with(image: Image.Image, *segments: tuple[int, bytes]) -> bytes:
    data = encode(image, "JPEG", quality=95)
    added = (b"\xff" + bytes([kind]) + struct.pack(">H", len(text) + 2) + text for kind, text in segments)
    return data[:2] + b"".join(added) + data[2:]


PROFILE = zlib.compress(np.random.default_rng(0).integers(0, 256, 2_000_000, np.uint8).tobytes())
METADATA = {
    "2 MB profile": png_with(plain(), png_chunk(b"iCCP", b"ICC\0\0" + PROFILE)),
    "profile compressed in an unknown way": png_with(plain(), png_chunk(b"iCCP", b"ICC\0\7abc")),
    "2 MB text": png_with(plain(), png_chunk(b"zTXt", b"Comment\0\0" + PROFILE)),
    "100 MB of texts": png_with(
        plain(), *[png_chunk(b"zTXt", b"C\0\0" + zlib.compress(b" " * 1_000_000)) for _ in range(100)]
    ),
    "text with a wrong checksum": png_with(plain(), png_chunk(b"tEXt", b"C\0hello")[:-4] + b"\0\0\0\0"),
    "short gamma": png_with(plain(), png_chunk(b"gAMA", b"")),
    "short JFIF": jpeg_with(plain(), (0xE0, b"JFIF\0")),
    "noise in every segment": jpeg_with(plain(), *[(0xE1 + n, bytes(range(256)) * 200) for n in range(13)]),
    "broken second image": jpeg_with(plain(), (0xE2, b"MPF\0MM\0*" + b"\xff" * 40)),
}


@pytest.mark.parametrize("data", METADATA.values(), ids=METADATA)
def test_metadata_do_not_cost_an_image(data: bytes) -> None:
    image = decode.decode(data, SIZE)
    assert close(colour(image), RED, 12) and (image.width, image.height) == (48, 40)


def test_pixels_are_the_same_without_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    for data in (
        encode(Image.fromarray(quadrants(64, 48)).convert("CMYK"), "JPEG", comment="c"),
        encode(Image.fromarray(quadrants(64, 48)), "JPEG", exif=exif),
        encode(palette_with_transparency(), "PNG", transparency=0, exif=exif),
    ):
        bare = metadata.without(data)
        with_them, without = decode.decode(data, SIZE).pixels, decode.decode(bare, SIZE).pixels
        assert with_them is not None and without is not None
        assert len(bare) < len(data) and np.array_equal(with_them, without)
    assert metadata.without(ENCODED["webp"]) is ENCODED["webp"]


def test_a_file_of_6_gb_is_a_reason(tmp_path: Path) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(6_000_000_000)
    assert_reason(
        decode.load(str(tmp_path / "sparse.jpg"), SIZE), "too large: 6,000,000,000 bytes, over 100,000,000"
    )
    (tmp_path / "x.png").write_bytes(ENCODED["png"])
    most = len(ENCODED["png"])
    assert decode.load(str(tmp_path / "x.png"), SIZE, max_bytes=most).error == ""
    assert_reason(decode.load(str(tmp_path / "x.png"), SIZE, max_bytes=most - 1), f"over {most - 1:,}")


def large_png(width: int, height: int) -> bytes:
    """All red and opaque in the left half, all clear in the right, from rows made one at a time."""
    row = b"\0" + bytes((*RED, 255)) * (width // 2) + bytes(4) * (width - width // 2)
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def peak(path: Path) -> tuple[str, int]:
    """What decoding a file in a process of its own says, and the bytes of memory that it took at most."""
    code = (
        "import resource, sys; from ray_birds.data import decode\n"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "decode.decode(b'', 32); before = used(); image = decode.load(sys.argv[1], 224)\n"
        "shown = '' if image.pixels is None else image.pixels[112, [20, 200]].tolist()\n"
        "print(image.error or shown, used() - before, sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    said, _, used = done.stdout.strip().partition("|")
    return said, int(used)


@pytest.mark.integration
def test_a_png_of_49_megapixels_takes_little_more_than_its_pixels(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(large_png(7000, 7000))
    said, used = peak(tmp_path / "x.png")
    assert said == str([list(RED), list(WHITE)]) and used < 300_000_000  # 196 MB of pixels, 4 bytes each


@pytest.mark.slow
def test_a_jpeg_of_64_megapixels_is_decoded_at_a_fraction(tmp_path: Path) -> None:
    image = Image.new("RGB", (8000, 8000), RED)
    image.paste(WHITE, (4000, 0, 8000, 8000))
    for name, progressive in (("x.jpg", False), ("y.jpg", True)):
        image.save(tmp_path / name, "JPEG", quality=95, subsampling=2, progressive=progressive)
    said, used = peak(tmp_path / "x.jpg")
    assert "[255, 255, 255]]" in said and used < 60_000_000
    said, used = peak(tmp_path / "y.jpg")  # its coefficients would have to lie in memory
    assert said == "too large: 8000x8000, over 50000000 pixels" and used < 30_000_000


@pytest.mark.slow
def test_a_webp_just_under_the_limit_takes_less_than_a_gigabyte(tmp_path: Path) -> None:
    Image.new("RGB", (7000, 7000), RED).save(tmp_path / "x.webp", "WEBP", lossless=True, quality=0, method=0)
    said, used = peak(tmp_path / "x.webp")
    assert said == str([list(RED), list(RED)]) and used < 1_000_000_000


def test_very_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ENCODED["webp"]
    monkeypatch.setattr(decode, "_ALONE", 48 * 40 * 16 - 1)
    with Path(decode.__file__).open("rb") as file, ThreadPoolExecutor(2) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = pool.submit(decode.decode, data, SIZE)
        small = pool.submit(decode.decode, ENCODED["png"], SIZE)
        assert small.result(10).error == ""
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert waiting.result(10).error == ""


def test_pillow_is_left_as_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its limits are the process's own: neither changed by us nor obeyed, but for TIFF files, see below."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, data in ENCODED.items():
            assert kind == "tiff" or close(colour(decode.decode(data, SIZE)), RED)
    assert Image.MAX_IMAGE_PIXELS == 1500
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)  # Pillow refuses above twice as many
    assert_reason(decode.decode(ENCODED["tiff"], SIZE), "too large: over the limit of this process")


@pytest.mark.integration
def test_no_memory_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a process that may take 400 MB more than it has, a file and an image that need more."""
    (tmp_path / "x.png").write_bytes(large_png(7000, 7000))
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(1_000_000_000)
    code = (
        "import resource, sys; from ray_birds.data import decode\n"
        "used = int(open('/proc/self/statm', encoding='utf-8').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 150_000_000, -1))\n"
        "for path in sys.argv[1:]: print(decode.load(path, 32, max_bytes=10**10).error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.png"), str(tmp_path / "big.jpg")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "too large for memory" and ("memory" in second or "alloc" in second)
