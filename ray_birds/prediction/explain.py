"""What the model looked at in some images of a prediction job: mistakes, uncertain ones, others."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_birds.config import PredictConfig
from ray_birds.core import storage, terminal
from ray_birds.model import saliency
from ray_birds.model.bundle import Bundle
from ray_birds.prediction import image
from ray_birds.prediction.statistics import Tally

Row = dict[str, Any]  # of a part


@dataclass(frozen=True)
class Explained:
    """An image (size, size, 3) uint8, decoded again as the model sees it, and `heat` (h, w) float32: what in it
    speaks for its prediction, see `saliency.heat`."""

    row: Row
    pixels: np.ndarray
    heat: np.ndarray


def explain(
    config: PredictConfig, model: Bundle, tally: Tally, roots: dict[str, str]
) -> dict[str, list[Explained]]:
    """Images by the reason why they were chosen; none, and a line on the terminal, where the model has no map."""
    terminal.say(f"Explaining {config.explain} predictions")
    found: dict[str, list[tuple[Row, np.ndarray]]] = {}
    for name, rows in chosen(tally, config.explain).items():
        uris = [storage.at(roots[row["input"]], row["path"]) for row in rows]
        images = [image.load(uri, model, config.max_pixels, config.max_bytes).pixels for uri in uris]
        found[name] = [(row, pixels) for row, pixels in zip(rows, images, strict=True) if pixels is not None]
    flat = [one for group in found.values() for one in group]
    if not flat:
        return {}
    numbers = np.array([model.classes.index(row["prediction"]) for row, _ in flat])
    with terminal.quiet(config.verbose):
        heat = saliency.heat(model, np.stack([pixels for _, pixels in flat]), numbers)
    if heat is None:
        terminal.say(f"--explain: {model.variant.backbone} ends in no map of the image: nothing can be shown")
        return {}
    maps = iter(heat)
    return {name: [Explained(*one, next(maps)) for one in group] for name, group in found.items() if group}


def chosen(tally: Tally, count: int) -> dict[str, list[Row]]:
    """Up to `count` rows: a third mistakes, a third the least certain, the rest at random; no row twice."""
    groups = {"mistakes": tally.mistakes.rows, "unsure": tally.unsure.rows, "sample": tally.sample.rows}
    known: set[tuple[str, str]] = set()
    found: dict[str, list[Row]] = {}
    for left, (name, rows) in zip((3, 2, 1), groups.items(), strict=True):
        new = [row for row in rows if (row["input"], row["path"]) not in known]
        found[name] = new[: (count - len(known)) // left]
        known |= {(row["input"], row["path"]) for row in found[name]}
    return found
