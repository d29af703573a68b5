"""Predictions as a Camera Trap Data Package, Camtrap DP 1.0 (TDWG, https://camtrap-dp.tdwg.org).

A folder of photographs is a deployment; each photograph is one media file with one observation, by a machine. The
standard asks of each when and where it was: times and places come from the columns of --metadata, and what these
do not say (trap cameras know no place, and seldom their zone) from the person who exports.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data import formats
from ray_birds.prediction.formats import deployments
from ray_birds.prediction.formats.deployments import Deployment, Place, folder
from ray_birds.prediction.formats.kinds import kind
from ray_birds.prediction.formats.rows import Finished, Row

_STANDARD = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2"  # 1.0, with schemas that validators read
_TABLES = {  # all columns, in the order of the schemas: validators want each of them
    "deployments": (
        *("deploymentID", "locationID", "locationName", "latitude", "longitude", "coordinateUncertainty"),
        *("deploymentStart", "deploymentEnd", "setupBy", "cameraID", "cameraModel", "cameraDelay", "cameraHeight"),
        *("cameraDepth", "cameraTilt", "cameraHeading", "detectionDistance", "timestampIssues", "baitUse"),
        *("featureType", "habitat", "deploymentGroups", "deploymentTags", "deploymentComments"),
    ),
    "media": (
        *("mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName"),
        *("fileMediatype", "exifData", "favorite", "mediaComments"),
    ),
    "observations": (
        *("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel"),
        *("observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior"),
        *("individualID", "individualPositionRadius", "individualPositionAngle", "individualSpeed"),
        *("bboxX", "bboxY", "bboxWidth", "bboxHeight", "classificationMethod", "classifiedBy"),
        *("classificationTimestamp", "classificationProbability", "observationTags", "observationComments"),
    ),
}


def write(predictions: Finished, path: Path, offset: str, table: str) -> None:
    """A folder with datapackage.json, deployments.csv, media.csv and observations.csv.

    `offset` and `table` are --utc-offset and --deployments. Raises DataError where times or places are not known.
    """
    if "taken" not in predictions.columns:
        raise DataError("--format camtrap-dp needs times and places: predict with --metadata")
    zone = deployments.zone(offset)
    package = _Package(predictions, zone, deployments.survey(predictions, zone, table))
    path.mkdir()
    with ExitStack() as stack:
        add = {name: _writer(stack, path / f"{name}.csv", columns) for name, columns in _TABLES.items()}
        for name, row in package.rows():
            add[name](row)
    about = json.dumps(package.description(storage.from_os(path.name)), indent=2, ensure_ascii=False)
    (path / "datapackage.json").write_text(f"{about}\n", encoding="utf-8")


def _writer(stack: ExitStack, path: Path, columns: Iterable[str]) -> Callable[[Row], Any]:
    """As the standard has it: without what spreadsheets need. What a row does not say stays empty."""
    file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
    writer = csv.DictWriter(file, tuple(columns), lineterminator="\n")
    writer.writeheader()
    return writer.writerow


@dataclass
class _Package:
    predictions: Finished
    zone: timezone | None
    deployments: dict[str, Deployment]
    found: set[str] = field(default_factory=set)  # names of animals, once all rows have passed

    @property
    def _made(self) -> datetime:
        return datetime.fromisoformat(self.predictions.manifest["finished"])

    def rows(self) -> Iterator[tuple[str, Row]]:
        """The rows of each table, in the order of the files."""
        for name, one in self.deployments.items():
            yield "deployments", _deployment(name, one)
        names = ["input", "path", "prediction", "probability", "error", *deployments.COLUMNS]
        names += [name for name in ("accepted", "sequence") if name in self.predictions.columns]
        for row in self.predictions.rows(names):
            file, taken = self.predictions.file(row), deployments.taken(row, self.zone)
            time = _iso(taken or self.deployments[folder(file)].start)
            shared = {"mediaID": file, "deploymentID": folder(file)}
            yield "media", shared | _media(file, time, row["error"], timed=taken is not None)
            yield "observations", {"observationID": file} | shared | self._observation(time, row)

    def _observation(self, time: str, row: Row) -> Row:
        what = _type(row)
        animal = row["prediction"] if what == "animal" else ""
        self.found |= {animal} - {""}
        return {
            "eventID": row.get("sequence"),
            "eventStart": time,
            "eventEnd": time,
            "observationLevel": "media",
            "observationType": what,
            "scientificName": animal,
            "classificationMethod": "machine",
            "classifiedBy": f"ray-birds {self.predictions.model}",
            "classificationTimestamp": _iso(self._made),
            "classificationProbability": row["probability"],
            "observationComments": row["error"],
        }

    def description(self, name: str) -> dict[str, Any]:
        """What datapackage.json holds. Of the project nothing is known here: it is for people to correct."""
        all_of = self.deployments.values()
        return {
            "profile": f"{_STANDARD}/camtrap-dp-profile.json",
            "name": re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-") or "predictions",
            "title": name,
            "version": "1.0",
            "created": _iso(self._made),
            "contributors": [{"title": "ray-birds", "role": "contributor"}],
            "resources": [_resource(table) for table in _TABLES],
            "project": {
                "title": name,
                "samplingDesign": "opportunistic",
                "captureMethod": ["activityDetection"],
                "individualAnimals": False,
                "observationLevel": ["media"],
            },
            "spatial": _outline([one.place for one in all_of if one.place]),
            "temporal": {
                "start": min(one.start for one in all_of).date().isoformat(),
                "end": max(one.end for one in all_of).date().isoformat(),
            },
            "taxonomic": [{"scientificName": animal} for animal in sorted(self.found)],
        }


def _deployment(name: str, one: Deployment) -> Row:
    assert one.place is not None
    return {
        "deploymentID": name,
        "locationName": name,
        "latitude": one.place[0],
        "longitude": one.place[1],
        "deploymentStart": _iso(one.start),
        "deploymentEnd": _iso(one.end),
        "cameraModel": next(iter(one.cameras)) if len(one.cameras) == 1 else None,
        "timestampIssues": _truth(one.untimed > 0),
    }


def _media(file: str, time: str, error: str, *, timed: bool) -> Row:
    comments = [f"failure: {error}"] if error else []
    comments += [] if timed else ["time unknown: the start of the deployment stands for it"]
    return {
        "timestamp": time,
        "filePath": _path(file),
        "filePublic": _truth(False),
        "fileName": PurePosixPath(file).name,
        "fileMediatype": f"image/{(formats.by_name(file) or 'x-unknown').lower()}",
        "mediaComments": "; ".join(comments),
    }


def _type(row: Row) -> str:
    if row["error"]:
        return "unclassified"
    return "unknown" if row.get("accepted") is False else kind(row["prediction"])


def _path(file: str) -> str:
    """A path as the standard takes it: not beginning with . or ~, without two dots one after another."""
    escaped = file.replace("..", ".%2E")
    return f"%{ord(escaped[0]):X}{escaped[1:]}" if escaped[0] in "./~" else escaped


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _truth(value: bool) -> str:
    return str(value).lower()


def _resource(table: str) -> dict[str, str]:
    return {
        "name": table,
        "path": f"{table}.csv",
        "profile": "tabular-data-resource",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": f"{_STANDARD}/{table}-table-schema.json",
    }


def _outline(places: list[Place]) -> dict[str, Any]:
    """GeoJSON: the place, or the rectangle around all places."""
    south, north = min(one[0] for one in places), max(one[0] for one in places)
    west, east = min(one[1] for one in places), max(one[1] for one in places)
    if (south, west) == (north, east):
        return {"type": "Point", "coordinates": [west, south]}
    around = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [around]}
