"""When, where and with what a photograph was taken, by its EXIF block: what is odd there is unknown, not wrong.

The tags are those of the EXIF specification (CIPA DC-008). The time is what the camera's clock showed; the zone
that this clock kept is known only where the file has an offset beside it.
"""

import io
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from ray_birds.core.text import printable
from ray_birds.data import decode, jpeg_xl, metadata

_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)$")
_MOST_OFFSET = 14 * 60  # minutes: no zone of this world is further from UTC
_Tags = Mapping[int, Any]


class Facts(NamedTuple):
    """What is known of a photograph; None is unknown.

    `taken` is local time, without a zone; `taken_offset` the minutes that its zone is ahead of UTC. `latitude` and
    `longitude` are degrees (WGS 84 in practice), north and east positive; both are known or none.
    """

    taken: datetime | None = None
    taken_offset: int | None = None
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None


def read(data: bytes) -> Facts:
    """The facts of an image file's content. Never raises: a block that cannot be read says nothing."""
    exif = Image.Exif()
    try:
        exif.load(_block(data))
        tags = dict(exif)
    except Exception:  # Pillow raises what its parser met
        return Facts()
    times, places = _directory(exif, IFD.Exif), _directory(exif, IFD.GPSInfo)
    taken = _time(times)
    latitude, longitude = _place(places)
    offset = _offset(times) if taken else None
    return Facts(taken, offset, latitude, longitude, _camera(tags))


def _block(data: bytes) -> bytes:
    """The EXIF block. Of AVIF and HEIC it is what their library finds; opening these decodes nothing yet."""
    kind = decode.format_of(data)
    if kind == "JPEG XL":
        return jpeg_xl.exif(data)
    reader = decode.reader(kind) if kind in ("AVIF", "HEIC") else None
    if reader is None:
        return metadata.exif(data)
    with reader(io.BytesIO(data)) as image:
        return bytes(image.info.get("exif") or b"")


def _directory(exif: Image.Exif, which: IFD) -> _Tags:
    try:
        return dict(exif.get_ifd(which))
    except Exception:
        return {}


def _text(tags: _Tags, tag: int) -> str:
    """A text as people read it: Pillow takes its bytes for Latin-1, cameras also write UTF-8."""
    value = tags.get(tag)
    data = value.encode("latin-1", "replace") if isinstance(value, str) else value
    if not isinstance(data, bytes):
        return ""
    data = data.partition(b"\0")[0]
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return printable(" ".join(text.split()))


def _time(tags: _Tags) -> datetime | None:
    try:
        taken = datetime.strptime(_text(tags, Base.DateTimeOriginal), "%Y:%m:%d %H:%M:%S")
    except ValueError:  # 0000:00:00 is what cameras write whose clock was never set
        return None
    fraction = _text(tags, Base.SubsecTimeOriginal)
    seconds = float(f"0.{fraction}") if fraction.isascii() and fraction.isdigit() else 0.0
    return taken + timedelta(microseconds=int(seconds * 1e6))


def _offset(tags: _Tags) -> int | None:
    match = _OFFSET.match(_text(tags, Base.OffsetTimeOriginal))
    if not match:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    return (minutes if match[1] == "+" else -minutes) if minutes <= _MOST_OFFSET and int(match[3]) < 60 else None


def _place(tags: _Tags) -> tuple[float, float] | tuple[None, None]:
    """(latitude, longitude). An angle without its hemisphere is none; 0, 0 is what is written without a fix."""
    north = _angle(tags, GPS.GPSLatitude, GPS.GPSLatitudeRef, "NS", 90)
    east = _angle(tags, GPS.GPSLongitude, GPS.GPSLongitudeRef, "EW", 180)
    return (None, None) if north is None or east is None or north == east == 0 else (north, east)


def _angle(tags: _Tags, tag: int, ref: int, letters: str, most: int) -> float | None:
    side = _text(tags, ref).upper()
    try:
        degrees, minutes, seconds = map(float, tags[tag])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    angle = degrees + minutes / 60 + seconds / 3600
    if side not in tuple(letters) or min(degrees, minutes, seconds) < 0 or not angle <= most:  # NaN: x/0
        return None
    return math.copysign(angle, 1 if side == letters[0] else -1) if angle else 0.0


def _camera(tags: _Tags) -> str | None:
    """Make and model, the make once where the model begins with it."""
    make, model = _text(tags, Base.Make), _text(tags, Base.Model)
    both = model if model.casefold().startswith(make.casefold()) else f"{make} {model}"
    return both.strip() or make or None
