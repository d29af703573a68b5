"""Time, place and camera of photographs, as cameras write them and as nobody should: right, or unknown."""

import io
import random
import struct
from datetime import datetime
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from ray_birds.data import exif
from ray_birds.data.exif import Facts

NOTHING = Facts()
TAKEN: dict[int, Any] = {Base.DateTimeOriginal: "2024:05:01 06:07:08"}
SOUTH_WEST: dict[int, Any] = {
    GPS.GPSLatitudeRef: "S",
    GPS.GPSLatitude: (IFDRational(33), IFDRational(51), IFDRational(3600, 100)),
    GPS.GPSLongitudeRef: "W",
    GPS.GPSLongitude: (IFDRational(70), IFDRational(30), IFDRational(0)),
}


def block(
    main: dict[int, Any] | None = None, times: dict[int, Any] | None = None, places: dict[int, Any] | None = None
) -> bytes:
    made = Image.Exif()
    made.update(main or {})
    made.get_ifd(IFD.Exif).update(times or {})
    made.get_ifd(IFD.GPSInfo).update(places or {})
    return made.tobytes()


def photo(exif_block: bytes = b"", kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", (64, 48), "teal")
    if kind == "HEIC":
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(image).save(buffer, exif=exif_block)
        return buffer.getvalue()
    if kind == "JXL":
        pytest.importorskip("pillow_jxl")
    image.save(buffer, kind, **({"exif": exif_block} if exif_block else {}))
    return buffer.getvalue()


def read(*directories: dict[int, Any]) -> Facts:
    return exif.read(photo(block(*directories)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC", "JXL"])
def test_a_whole_block_in_each_kind_of_file(kind: str) -> None:
    times = TAKEN | {Base.OffsetTimeOriginal: "-04:30", Base.SubsecTimeOriginal: "25"}
    main: dict[int, Any] = {Base.Make: "Reconyx ", Base.Model: "HP2X"}
    facts = exif.read(photo(block(main, times, SOUTH_WEST), kind))
    assert facts.taken == datetime(2024, 5, 1, 6, 7, 8, 250_000) and facts.taken_offset == -270
    assert facts.latitude == pytest.approx(-33.86) and facts.longitude == pytest.approx(-70.5)
    assert facts.camera == "Reconyx HP2X"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_no_block(kind: str) -> None:
    assert exif.read(photo(kind=kind)) == NOTHING


def test_a_time_without_an_offset_is_not_said_to_be_utc() -> None:
    facts = read({}, TAKEN)
    assert facts.taken == datetime(2024, 5, 1, 6, 7, 8) and facts.taken.tzinfo is None
    assert facts.taken_offset is None


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("+05:45", 345), ("-03:00", -180), ("+00:00", 0), ("Z", None), ("   :  ", None), ("+25:00", None)],
)
def test_offsets(text: str, minutes: int | None) -> None:
    assert read({}, TAKEN | {Base.OffsetTimeOriginal: text}).taken_offset == minutes


@pytest.mark.parametrize(
    "text",
    ["0000:00:00 00:00:00", "    :  :     :  :  ", "2024:02:30 01:00:00", "2024:05:01", "2024:05:01 24:00:00", ""],
)
def test_a_time_that_is_none(text: str) -> None:
    facts = read({Base.Model: "HP2X"}, {Base.DateTimeOriginal: text, Base.OffsetTimeOriginal: "+01:00"})
    assert facts == NOTHING._replace(camera="HP2X")


def test_hemispheres() -> None:
    north_east: dict[int, Any] = SOUTH_WEST | {GPS.GPSLatitudeRef: "N", GPS.GPSLongitudeRef: "E"}
    facts = read({}, {}, north_east)
    assert facts.latitude == pytest.approx(33.86) and facts.longitude == pytest.approx(70.5)
    lower = SOUTH_WEST | {GPS.GPSLatitudeRef: "s", GPS.GPSLongitudeRef: "w"}
    assert read({}, {}, lower) == read({}, {}, SOUTH_WEST)


@pytest.mark.parametrize(
    "change",
    [
        {GPS.GPSLatitude: (IFDRational(33), IFDRational(51, 0), IFDRational(0))},
        {GPS.GPSLatitude: (IFDRational(0, 0),) * 3},
        {GPS.GPSLatitude: (IFDRational(91), IFDRational(0), IFDRational(0))},
        {GPS.GPSLatitude: IFDRational(33)},
        {GPS.GPSLatitudeRef: ""},
        {GPS.GPSLongitudeRef: "N"},
        {GPS.GPSLongitude: (IFDRational(200), IFDRational(0), IFDRational(0))},
        {GPS.GPSLatitude: (IFDRational(0),) * 3, GPS.GPSLongitude: (IFDRational(0),) * 3},  # no fix
    ],
)
def test_a_place_that_is_none(change: dict[int, Any]) -> None:
    facts = read({}, TAKEN, SOUTH_WEST | change)
    assert facts.latitude is None and facts.longitude is None and facts.taken is not None


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("", "SPYPOINT", "SPYPOINT"),
        ("Bushnell", "", "Bushnell"),
        ("Caméra", "鶯 1", "Caméra 鶯 1"),
        ("Cam\xe9ra".encode("latin-1"), "1", "Caméra 1"),
        ("a\x1b[2J", "x\n y", "a\\x1b[2J x y"),
        (" ", "\0\0", None),
    ],
)
def test_cameras(make: str | bytes, model: str, camera: str | None) -> None:
    written = make if isinstance(make, bytes) else make.encode()
    assert exif.read(photo(_ascii({Base.Make: written, Base.Model: model.encode()}))).camera == camera


def _ascii(main: dict[int, bytes]) -> bytes:
    """A block with these texts, byte for byte."""
    entries, data = b"", b""
    for tag, text in sorted(main.items()):
        text = text.ljust(4, b"\0") + b"\0"
        entries += struct.pack("<HHII", tag, 2, len(text), 8 + 2 + 12 * len(main) + 4 + len(data))
        data += text
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(main)) + entries + bytes(4) + data


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, on what it skips
def test_garbage_is_unknown_and_never_an_error() -> None:
    chance = random.Random(0)
    whole = block({Base.Make: "Reconyx"}, TAKEN, SOUTH_WEST)
    for number in range(3000):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 4, 32))):
            damaged[chance.randrange(6, len(damaged))] = chance.randrange(256)
        data = photo(bytes(damaged[: chance.randrange(6, len(damaged)) if number % 3 == 0 else None]))
        facts = exif.read(data[: chance.randrange(len(data)) if number % 7 == 0 else None])
        assert facts.latitude is None or (-90 <= facts.latitude <= 90 and -180 <= (facts.longitude or 0) <= 180)
    for data in (b"", b"\xff\xd8", b"RIFF", b"\x89PNG\r\n\x1a\n", photo(b"Exif\0\0MM\0*\xff\xff\xff\xff")):
        assert exif.read(data) == NOTHING


def test_a_broken_directory_of_places_does_not_cost_the_time() -> None:
    main: dict[int, Any] = {Base.Make: "Reconyx"}
    made = block(main, TAKEN, SOUTH_WEST)
    at = made.index(struct.pack("<H" if made[6:8] == b"II" else ">H", IFD.GPSInfo)) + 8
    facts = exif.read(photo(made[:at] + b"\xff\xff\xff\x7f" + made[at + 4 :]))
    assert facts == NOTHING._replace(taken=datetime(2024, 5, 1, 6, 7, 8), camera="Reconyx")
