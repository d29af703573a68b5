"""One image with its prediction as title."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from ray_birds.core import storage
from ray_birds.report import charts
from ray_birds.report.charts import BLUE, INK, VERMILLION

_LONGER = 5.0  # inches of the longer side


def write_photo(uri: str, pixels: np.ndarray, shape: tuple[int, int], title: str, right: bool | None) -> None:
    """Write a PNG of an image.

    `pixels` (size, size, 3) uint8 are drawn in the image's own `shape`, (width, height). `right` decides the
    colour of the title, None where it is not known.
    """
    scale = _LONGER / max(shape)
    width, height = (max(side * scale, 1.5) for side in shape)
    lines = textwrap.wrap(title, 46)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.imshow(pixels, extent=(0, width, 0, height), aspect="equal")
        axes.set_axis_off()
        colour = INK if right is None else BLUE if right else VERMILLION
        figure.suptitle("\n".join(lines), fontsize=12, fontweight="bold", color=colour)

    chart = charts.draw("photo", title, max(width, 4.0), height + 0.4 + 0.2 * len(lines), paint)
    storage.write(uri, chart.png())
