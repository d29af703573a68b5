"""The map of a prediction job's images, coloured by class: _map.html in its output folder."""

from dataclasses import replace

from ray_birds.core import storage
from ray_birds.prediction.embedding_map import Point
from ray_birds.report.gallery import Tile, square, tiles
from ray_birds.report.page import write_page

NAME = "_map.html"
_PICTURE = 96  # pixels, of which thousands go into a page
_SIDE = 1000  # of the drawing, in its own units
_TURN = 137.508  # degrees: the golden angle, by which many hues in a row stay apart


def write_map(output: str, points: list[Point], roots: dict[str, str]) -> str:
    """Write <output>/_map.html; returns its place. An image that cannot be read any more has a dot and no picture.

    A dot has the colour of its label, where that is known, else of its prediction; a mistake has a ring.
    """
    uri = storage.join(output, NAME)
    names = sorted({_name(point) for point in points})
    colours = {name: f"hsl({number * _TURN % 360:.0f} 70% 45%)" for number, name in enumerate(names)}
    rows = [point.row for point in points]
    places = ((storage.at(roots[row["input"]], row["path"]), "", "", "") for row in rows)
    drawn = zip(points, tiles(places), strict=True)
    dots = [_dot(point, tile) | {"colour": colours[_name(point)]} for point, tile in drawn]
    write_page(uri, "map.html.j2", {"dots": dots, "colours": colours, "side": _SIDE})
    return uri


def _name(point: Point) -> str:
    return str(point.row["label"] or point.row["prediction"])


def _dot(point: Point, tile: Tile | None) -> dict[str, object]:
    row = point.row
    wrong = row["label"] is not None and row["label"] != row["prediction"]
    said = f"{row['prediction']}, {row['probability']:.0%} sure" + (f"; it is {row['label']}" if wrong else "")
    return {
        "x": round(20 + (_SIDE - 40) * point.x, 1),
        "y": round(20 + (_SIDE - 40) * point.y, 1),
        "name": _name(point),
        "path": row["path"],
        "said": said,
        "wrong": wrong,
        "image": replace(tile, pixels=square(tile.pixels, _PICTURE)).uri if tile else "",
    }
