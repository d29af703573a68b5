"""Camtrap DP 1.0 as frictionless checks it, without a network.

The package names its schemas by address, which cannot be fetched here. What they say of each field (name, type,
constraints, keys, order) is written down below, from https://camtrap-dp.tdwg.org/data, and so is what the profile
says of the description, from camtrap-dp-profile.json of https://github.com/tdwg/camtrap-dp (commit 02ce572).
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
from frictionless import Package

_TIME = {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S%z"}
_TYPES = ["animal", "human", "vehicle", "blank", "unknown", "unclassified"]
_REQUIRED = {"required": True}
_UNIQUE = {"required": True, "unique": True}
_ONE: dict[str, Any] = {"minimum": 0, "maximum": 1}
_FEATURES = ["roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass", "roadBridge"]
_FEATURES += ["culvert", "burrow", "nestSite", "carcass", "waterSource", "fruitingTree"]
_FLAG = {"type": "boolean"}


def _text(**constraints: Any) -> dict[str, Any]:
    return {"type": "string", "constraints": constraints}


def _number(kind: str = "number", **constraints: Any) -> dict[str, Any]:
    return {"type": kind, "constraints": constraints}


_FIELDS: dict[str, dict[str, dict[str, Any]]] = {
    "deployments": {
        "deploymentID": _text(**_UNIQUE),
        "locationID": _text(),
        "locationName": _text(),
        "latitude": _number(required=True, minimum=-90, maximum=90),
        "longitude": _number(required=True, minimum=-180, maximum=180),
        "coordinateUncertainty": _number("integer", minimum=1),
        "deploymentStart": _TIME | {"constraints": _REQUIRED},
        "deploymentEnd": _TIME | {"constraints": _REQUIRED},
        "setupBy": _text(),
        "cameraID": _text(),
        "cameraModel": _text(),
        "cameraDelay": _number("integer", minimum=0),
        "cameraHeight": _number(minimum=0),
        "cameraDepth": _number(minimum=0),
        "cameraTilt": _number("integer", minimum=-90, maximum=90),
        "cameraHeading": _number("integer", minimum=0, maximum=360),
        "detectionDistance": _number(minimum=0),
        "timestampIssues": _FLAG,
        "baitUse": _FLAG,
        "featureType": _text(enum=_FEATURES),
        "habitat": _text(),
        "deploymentGroups": _text(),
        "deploymentTags": _text(),
        "deploymentComments": _text(),
    },
    "media": {
        "mediaID": _text(**_UNIQUE),
        "deploymentID": _text(**_REQUIRED),
        "captureMethod": _text(enum=["activityDetection", "timeLapse"]),
        "timestamp": _TIME | {"constraints": _REQUIRED},
        "filePath": _text(required=True, pattern=r"^(?=^[^./~])(^((?!\.{2}).)*$).*$"),
        "filePublic": _FLAG | {"constraints": _REQUIRED},
        "fileName": _text(),
        "fileMediatype": _text(required=True, pattern=r"^(image|video|audio)/.*$"),
        "exifData": {"type": "any"},
        "favorite": _FLAG,
        "mediaComments": _text(),
    },
    "observations": {
        "observationID": _text(**_UNIQUE),
        "deploymentID": _text(**_REQUIRED),
        "mediaID": _text(),
        "eventID": _text(),
        "eventStart": _TIME | {"constraints": _REQUIRED},
        "eventEnd": _TIME | {"constraints": _REQUIRED},
        "observationLevel": _text(required=True, enum=["media", "event"]),
        "observationType": _text(required=True, enum=_TYPES),
        "cameraSetupType": _text(enum=["setup", "calibration"]),
        "scientificName": _text(),
        "count": _number("integer", minimum=1),
        "lifeStage": _text(enum=["adult", "subadult", "juvenile"]),
        "sex": _text(enum=["female", "male"]),
        "behavior": _text(),
        "individualID": _text(),
        "individualPositionRadius": _number(minimum=0),
        "individualPositionAngle": _number(minimum=-90, maximum=90),
        "individualSpeed": _number(minimum=0),
        "bboxX": _number(**_ONE),
        "bboxY": _number(**_ONE),
        "bboxWidth": _number(minimum=1e-15, maximum=1),
        "bboxHeight": _number(minimum=1e-15, maximum=1),
        "classificationMethod": _text(enum=["human", "machine"]),
        "classifiedBy": _text(),
        "classificationTimestamp": _TIME,
        "classificationProbability": _number(**_ONE),
        "observationTags": _text(),
        "observationComments": _text(),
    },
}
_KEYS = {"deployments": "deploymentID", "media": "mediaID", "observations": "observationID"}
_DEPLOYMENT = {"fields": "deploymentID", "reference": {"resource": "deployments", "fields": "deploymentID"}}
_MEDIUM = {"fields": "mediaID", "reference": {"resource": "media", "fields": "mediaID"}}
_FOREIGN = {"deployments": [], "media": [_DEPLOYMENT], "observations": [_DEPLOYMENT, _MEDIUM]}
_ROLES = ["contact", "principalInvestigator", "rightsHolder", "publisher", "contributor"]
_DESIGNS = ["simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted", "opportunistic"]


def _object(**properties: Any) -> dict[str, Any]:
    """All of which must be there."""
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(item: Any, least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": least}


def _one_of(*values: str) -> dict[str, Any]:
    return {"enum": list(values)}


_ADDRESS = {"type": "string", "format": "uri", "pattern": r"/1\.0"}
_DAY = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}
_PROFILE = _object(
    profile=_ADDRESS,
    created={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$"},
    contributors=_list(_object(title={"type": "string"}, role=_one_of(*_ROLES)), least=1),
    project=_object(
        title={"type": "string"},
        samplingDesign=_one_of(*_DESIGNS),
        captureMethod=_list(_one_of("activityDetection", "timeLapse"), least=1) | {"uniqueItems": True},
        individualAnimals={"type": "boolean"},
        observationLevel=_list(_one_of("media", "event")),
    ),
    spatial=_object(type=_one_of("Point", "Polygon"), coordinates={"type": "array"}),
    temporal=_object(start=_DAY, end=_DAY),
    taxonomic=_list(_object(scientificName={"type": "string"})),
    resources=_list(
        _object(
            name=_one_of(*_FIELDS),
            path={"type": "string"},
            profile=_one_of("tabular-data-resource"),
            schema=_ADDRESS,
        ),
        least=3,
    ),
)


def valid(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of a package, which frictionless finds no error in."""
    about = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
    jsonschema.validate(about, _PROFILE)
    assert about["profile"] == "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json"
    for resource in about["resources"]:
        name = resource["name"]
        assert resource["schema"].endswith(f"/camtrap-dp/1.0.2/{name}-table-schema.json")
        resource["schema"] = {
            "fields": [{"name": field, **what} for field, what in _FIELDS[name].items()],
            "primaryKey": _KEYS[name],
            "foreignKeys": _FOREIGN[name],
            "missingValues": [""],
        }
    del about["profile"]  # its address is out of reach
    report = Package.from_descriptor(about, basepath=str(folder)).validate()
    assert report.valid, report.flatten(["title", "rowNumber", "fieldName", "note"])
    return {name: pd.read_csv(folder / f"{name}.csv") for name in _FIELDS}
