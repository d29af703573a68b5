"""How charts are drawn: as SVG for the page, and as PNG to take along.

Colours are those of Okabe and Ito, which people with any kind of colour vision tell apart
(https://jfly.uni-koeln.de/color/). The SVG has no background and takes the page's colour of text, so it is
readable on a light page and on a dark one. A chart is some 4 inches wide, as wide as a phone; a wide page
puts several beside one another.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

BLUE, VERMILLION = "#0072B2", "#D55E00"  # the two that stand out on white and on black alike
GREY = "#8c8c8c"  # for what has no colour of its own
INK = "#1b1e23"  # stands for the page's colour of text
WIDTH = 4.0  # inches
DPI = 160  # of the PNG files
_ROW_LETTERS = 52  # that fit a row of 4 inches
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",  # text stays text: sharp, to be searched, in the reader's own fonts
}


@dataclass(frozen=True)
class Chart:
    """`svg` for the page; `name` is that of a file; `width` in inches, `alt` what it shows."""

    name: str
    alt: str
    width: float
    svg: str
    figure: Figure

    def png(self) -> bytes:
        """The chart on white, to take along."""
        data = io.BytesIO()
        with _style(self.name):
            self.figure.set_layout_engine("none")  # the places found for the SVG are good for the PNG too
            self.figure.set(dpi=DPI, facecolor="white")
            FigureCanvasAgg(self.figure).print_png(data)  # type: ignore[no-untyped-call]
        return data.getvalue()


def draw(name: str, alt: str, width: float, height: float, paint: Callable[[Figure], None]) -> Chart:
    """The chart that `paint` makes on an empty figure of `width` x `height` inches."""
    svg = io.BytesIO()
    with _style(name):
        figure = Figure(figsize=(width, height))
        paint(figure)
        for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
            patch.set(facecolor="none", edgecolor="none")
        # `savefig` would draw all twice
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return Chart(name, alt, width, _for_the_page(svg.getvalue().decode()), figure)


@contextmanager
def _style(name: str) -> Iterator[None]:
    with rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # in the PNG alone; browsers have more fonts
        yield


def _for_the_page(svg: str) -> str:
    """The <svg> element alone, in the page's colour and font, its size left to the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # matplotlib gives each chart's groups the same ids
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, system-ui, sans-serif")
    return svg.replace(INK, "currentColor")


def title(axes: Axes, text: str) -> None:
    """A heading that may be as wide as the figure, not only as the axes."""
    axes.set_title(text, x=0, pad=8)


def legend(figure: Figure, axes: Axes, columns: int) -> None:
    """What the marks and colours of `axes` stand for, below the figure."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=columns)


def stacked(axes: Axes, starts: np.ndarray, width: float, parts: Iterable[tuple[str, str, np.ndarray]]) -> None:
    """Bars one upon another, from `starts` (n,) to the right: (label, colour, heights (n,)) of each part that is
    not 0 everywhere."""
    floor = np.zeros(len(starts))
    for label, colour, heights in parts:
        if heights.any():
            axes.bar(starts, heights, width, floor, align="edge", color=colour, label=label)
            floor = floor + heights
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")


def percent(axis: Axis) -> None:
    """Shares from 0 to 1 shown as percent."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))


def fitted(name: str, width: int) -> str:
    """A name in at most `width` letters, its middle left out where it has more: both its ends tell it from others.

    A letter of Chinese or Japanese counts twice.
    """
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in name) / max(len(name), 1)
    most = int(width / (1 + wide))
    return name if len(name) <= most else f"{name[: most * 2 // 3]}…{name[-(most - most * 2 // 3 - 1) :]}"


def rows(axes: Axes, names: Iterable[str]) -> None:
    """One row per name, from top to bottom, the name above its row: long names take nothing from the data."""
    names = list(names)
    axes.set_ylim(len(names) - 0.45, -0.75)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    for row, name in enumerate(names):
        text = axes.annotate(
            fitted(name, _ROW_LETTERS),
            (0, row - 0.25),
            xycoords=("axes fraction", "data"),
            fontsize=8.5,
            va="bottom",
            annotation_clip=False,
        )
        text.set_in_layout(False)  # a name wider than the chart, of W alone, ends at its edge and squeezes nothing
