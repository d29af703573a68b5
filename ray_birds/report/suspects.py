"""The labels that are suspect: suspects.csv, and suspects.html with pictures of them and of what they may be."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ray_birds.core import storage
from ray_birds.core.tables import write_csv
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import Judgement
from ray_birds.report.gallery import Tile, tiles
from ray_birds.report.page import write_page

COLUMNS = ("rank", "path", "split", "given", "suggested", "of_given", "of_suggested")
SHOWN = 60  # suspects on the page


class Shown(NamedTuple):
    """A suspect with typical images of the class that is suggested."""

    row: dict[str, Any]
    suspect: Tile
    typical: list[Tile]


def write_suspects(output: str, dataset: Dataset, judgement: Judgement) -> None:
    """Write the two files into the folder `output`."""
    found = list(rows(dataset, judgement))
    values = {"root": dataset.root, "count": len(found), "judged": len(judgement.paths) - judgement.unjudged}
    values["shown"] = _shown(dataset, judgement, found[:SHOWN])
    write_page(storage.join(output, "suspects.html"), "suspects.html.j2", values)
    write_csv(storage.join(output, "suspects.csv"), COLUMNS, found)


def rows(dataset: Dataset, judgement: Judgement) -> Iterator[dict[str, Any]]:
    """A row per suspect, by rank: both classes, with the probabilities of a head that never saw the image."""
    where = {path: name for name, split in dataset.splits.items() for path in split.paths}
    found = judgement.suspects
    for rank, (row, suggested, given, other) in enumerate(
        zip(*(column.tolist() for column in found), strict=True), 1
    ):
        path = judgement.paths[row]
        names = dataset.classes[judgement.labels[row]], dataset.classes[suggested]
        yield dict(zip(COLUMNS, (rank, path, where[path], *names, round(given, 6), round(other, 6)), strict=True))


def _shown(dataset: Dataset, judgement: Judgement, found: list[dict[str, Any]]) -> list[Shown]:
    """An image that has vanished since is left out."""
    classes = {row["suggested"] for row in found}
    wanted = [
        (dataset.uri(judgement.paths[row]), dataset.classes[label], "typical", "")
        for label, members in judgement.typical.items()
        if dataset.classes[label] in classes
        for row in members.tolist()
    ]
    typical: dict[str, list[Tile]] = {name: [] for name in classes}
    for tile in tiles(wanted):
        if tile is not None:
            typical[tile.caption].append(tile)
    suspects = tiles((dataset.uri(row["path"]), row["given"], "its label", "wrong") for row in found)
    return [
        Shown(row, tile, typical[row["suggested"]])
        for row, tile in zip(found, suspects, strict=True)
        if tile is not None
    ]
