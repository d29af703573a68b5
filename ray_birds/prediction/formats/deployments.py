"""Folders of photographs as deployments of a camera: when and where each was, by its photographs or by a table."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath

from ray_birds.core import storage, tables
from ray_birds.core.errors import DataError, first_line
from ray_birds.core.settings import check
from ray_birds.prediction.formats.rows import Finished, Row

Place = tuple[float, float]  # latitude, longitude: degrees, north and east positive

COLUMNS = ["taken", "taken_offset", "latitude", "longitude", "camera"]  # of the rows that are looked at

_EARLIER, _LATER = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)  # than any photograph
_OFFSET = re.compile(r"([+-])(\d\d):([0-5]\d)")
_TABLE = ("folder", "latitude", "longitude")


@dataclass
class Deployment:
    """A folder of photographs: from the first known time to the last one; `untimed` have none."""

    place: Place | None = None
    start: datetime = _LATER
    end: datetime = _EARLIER
    cameras: set[str] = field(default_factory=set)
    photographs: int = 0
    untimed: int = 0

    def add(self, row: Row, taken: datetime | None) -> None:
        self.photographs += 1
        if self.place is None and row["latitude"] is not None:
            self.place = row["latitude"], row["longitude"]
        if row["camera"]:
            self.cameras.add(row["camera"])
        if taken is None:
            self.untimed += 1
        else:
            self.start, self.end = min(self.start, taken), max(self.end, taken)


def zone(offset: str) -> timezone | None:
    """What "+01:00" stands for; None for "". Raises SettingsError for anything else."""
    match = _OFFSET.fullmatch(offset)
    check(match is not None or not offset, f"--utc-offset {offset}: expected one such as +01:00 or -03:30")
    if match is None:
        return None
    ahead = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(ahead if match[1] == "+" else -ahead)


def taken(row: Row, otherwise: timezone | None) -> datetime | None:
    """When a photograph was taken, in its own zone or `otherwise`; without any it stays without. None: unknown."""
    time: datetime | None = row["taken"]
    offset = row["taken_offset"]
    here = otherwise if offset is None else timezone(timedelta(minutes=offset))
    return time and time.replace(tzinfo=here)


def folder(file: str) -> str:
    """The folder, or deployment, that a file lies in."""
    return file.rpartition("/")[0] or "."


def survey(predictions: Finished, otherwise: timezone | None, table: str = "") -> dict[str, Deployment]:
    """By folder, in the order of the files; a `table` of places counts for what is below its folders too.

    Raises DataError where time, zone or place of one are not known.
    """
    places = _read(table) if table else {}
    found: dict[str, Deployment] = {}
    zoneless: list[str] = []
    for row in predictions.rows(["input", "path", *COLUMNS]):
        file, time = predictions.file(row), taken(row, otherwise)
        if time is not None and time.tzinfo is None:
            zoneless.append(file)
            time = time.replace(tzinfo=UTC)
        found.setdefault(folder(file), Deployment()).add(row, time)
    for name, one in found.items():
        one.place = _given(name, places) or one.place
    _refuse(zoneless, "photographs", "do not say in which zone their times are; give --utc-offset, such as +01:00")
    timeless = [name for name, one in found.items() if one.untimed == one.photographs]
    _refuse(timeless, "folders", "hold no photograph whose time is known; predict without them")
    placeless = [name for name, one in found.items() if one.place is None]
    what = f"have no known place; give --deployments, a CSV table with the columns {', '.join(_TABLE)}"
    _refuse(placeless, "folders", what)
    return found


def _refuse(names: list[str], what: str, why: str) -> None:
    if names:
        raise DataError(f"{len(names):,} {what}, such as {names[0]}, {why}")


def _given(name: str, places: dict[str, Place]) -> Place | None:
    above: Iterable[PurePosixPath] = (PurePosixPath(name), *PurePosixPath(name).parents)
    return next((places[str(one)] for one in above if str(one) in places), None)


def _read(table: str) -> dict[str, Place]:
    """Folder -> place. Raises DataError where the table is none."""
    uri = storage.resolve(table)
    try:
        rows = tables.read_csv(uri)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--deployments {table}: cannot be read ({first_line(error)})") from error
    if not rows or not set(_TABLE) <= set(rows[0]):
        raise DataError(f"--deployments {table}: expected a CSV table with the columns {', '.join(_TABLE)}")
    return {str(PurePosixPath(row["folder"] or ".")): _place(table, row) for row in rows}


def _place(table: str, row: dict[str, str]) -> Place:
    try:
        latitude, longitude = float(row["latitude"]), float(row["longitude"])
    except ValueError:
        latitude = longitude = float("nan")
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise DataError(
            f"--deployments {table}: {row['folder']} is at {row['latitude']}, {row['longitude']}; expected "
            "degrees, such as -33.86, 151.21"
        )
    return latitude, longitude
