"""Kinds of images, by extension and by first bytes."""

import io

import pyarrow as pa
import pytest
from PIL import Image

from ray_birds.data import formats

READ = {
    "JPEG": ("A.JPG", "b.JpEg", "c.JPE", "d.jfif", "with space 鶯.jpg", "a.b.jpg"),
    "PNG": ("c.PNG",),
    "GIF": ("d.Gif",),
    "BMP": ("e.BMP", "f.dib"),
    "WEBP": ("f.WEBP",),
    "TIFF": ("a.tif", "b.TIFF"),
    "AVIF": ("c.avif",),
    "HEIC": ("IMG_1.HEIC", "x.heif"),
    "JPEG XL": ("x.jxl",),
}
OTHERS = {
    "JPEG 2000": ("x.jp2",),
    "camera raw": ("x.CR2", "x.nef", "x.dng"),
}


@pytest.mark.parametrize(("kind", "names"), (READ | OTHERS).items())
def test_by_name(kind: str, names: tuple[str, ...]) -> None:
    assert {formats.by_name(f"/x/{name}") for name in names} == {kind}
    assert (kind in formats.READ) == (kind in READ)


def test_names_that_tell_no_kind() -> None:
    """All at once as one by one; also letters beyond ASCII, and what only looks like an ending."""
    odd = ["", ".jpg", "a", "e.jpg\n", "e.jpg\nx", "a.JP2", "a.jpgx"]
    odd += ["x.t\u0130f", "x.t\u0130F", "y.p\u017fd", "v.jp\u212a", "\u0130.GIF"]
    names = [name for names in (READ | OTHERS).values() for name in names] + odd
    assert formats.unsure(pa.array(names)) == [name for name in names if not formats.by_name(name)] != []


@pytest.mark.parametrize("name", ["a.txt", "jpg", "a.jpg.part", "a.jpg.1", "a.jpg_large", "a.jpg/notes", ""])
def test_names_that_tell_nothing(name: str) -> None:
    assert formats.by_name(name) == ""


@pytest.mark.parametrize(
    ("kind", "begins"),
    [
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("HEIC", b"\0\0\0\x1cftypmif1\0\0\0\0"),
        ("AVIF", b"\0\0\0\x1cftypavif\0\0\0\0"),
        ("AVIF", b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"),
        ("camera raw", b"\0\0\0\x18ftypcrx \0\0\0\1"),
        ("camera raw", b"II*\0\x10\0\0\0CR\2\0"),
        ("JPEG XL", b"\xff\x0a\xfa\x7f"),
        ("SVG", b"<svg xmlns="),
        ("", b"BM is how this text begins"),
        ("", b"\0\0\0\x18ftypmp42"),
        ("", b"RIFF\0\0\0\0WAVEfmt "),
        ("", b"PK\3\4"),
        ("", b""),
    ],
)
def test_by_content(kind: str, begins: bytes) -> None:
    assert formats.by_content(begins) == kind


@pytest.mark.parametrize(
    ("pillow", "kind"),
    {
        **{name: name for name in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")},
        "JPEG2000": "JPEG 2000",
        "ICO": "Windows icon",
        "MPO": "JPEG",
    }.items(),
)
def test_what_pillow_writes_is_told_by_its_first_bytes(pillow: str, kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, pillow)
    assert formats.by_content(file.getvalue()[: formats.BEGINNING]) == kind
