"""The charts of when and where photographs were taken."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ray_birds.report import charts
from ray_birds.report.charts import BLUE, GREY, VERMILLION, WIDTH, Chart

_COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7")  # Okabe and Ito's, as the others
_NAME = 24  # letters


def by_hour(names: Sequence[str], hours: np.ndarray) -> Chart:
    """Images by the hour of the day, `hours` (classes, 24): the classes found most often, and all others."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        order = np.argsort(-hours.sum(axis=1), kind="stable")
        most = [number for number in order[: len(_COLOURS)] if hours[number].any()]
        parts = [
            (charts.fitted(names[number], _NAME), colour, hours[number])
            for number, colour in zip(most, _COLOURS, strict=False)
        ]
        parts.append(("all others", GREY, hours.sum(axis=0) - hours[most].sum(axis=0)))
        charts.stacked(axes, np.arange(24), 0.9, parts)
        axes.set_xlim(0, 24)
        axes.set_xticks(range(0, 25, 6))
        axes.set_xlabel("hour of the day, by the camera's clock")
        axes.set_ylabel("images")
        charts.title(axes, "Predictions by hour")
        charts.legend(figure, axes, 2)

    return charts.draw("hours", "Number of images by hour of the day", WIDTH, 3.2, paint)


def by_place(places: Mapping[tuple[float, float], int]) -> Chart:
    """Images by `places`, latitude and longitude: the area of each mark is their number."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        latitude, longitude = np.array(list(places)).T
        images = np.array(list(places.values()))
        axes.scatter(longitude, latitude, s=8 + 90 * images / images.max(), color=BLUE, alpha=0.6, linewidths=0)
        axes.margins(0.1)
        axes.grid()
        axes.set_xlabel("longitude, degrees east")
        axes.set_ylabel("latitude, degrees north")
        charts.title(axes, f"Images by place: {images.max():,} at the largest mark")

    return charts.draw("places", "Number of images by place", WIDTH, 3.2, paint)
