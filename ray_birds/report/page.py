"""From a template and its values to one self-contained HTML file."""

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from ray_birds.core import storage
from ray_birds.evaluation.cost import millions
from ray_birds.evaluation.metrics import Estimate

if TYPE_CHECKING:
    from ray_birds.report.charts import Chart

NOTHING = "–"


def write_page(uri: str, template: str, values: dict[str, Any]) -> None:
    """Render `template`, a file beside this one, to `uri`. All texts in `values` are escaped."""
    storage.write(uri, _environment().get_template(template).render(values).encode())


@cache
def _environment() -> jinja2.Environment:
    """It keeps the templates that it has compiled: a live page is rendered again and again."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        interval=interval,
        count=count,
        fixed=fixed,
        p_value=p_value,
        points=points,
        svg=svg,
        millions=lambda number: millions(number) if number else NOTHING,
    )
    return environment


def write_charts(folder: str, charts: Iterable["Chart"]) -> None:
    for chart in charts:
        storage.write(storage.join(folder, f"{chart.name}.png"), chart.png())


def percent(share: float) -> str:
    return NOTHING if math.isnan(share) else f"{100 * share:.2f} %"


def interval(estimate: Estimate) -> str:
    return NOTHING if math.isnan(estimate.low) else f"{100 * estimate.low:.2f} to {100 * estimate.high:.2f} %"


def count(number: float) -> str:
    """A number to the nearest whole one, thousands parted."""
    return NOTHING if math.isnan(number) else f"{number:,.0f}"


def fixed(number: float, digits: int = 3) -> str:
    return NOTHING if math.isnan(number) else f"{number:.{digits}f}"


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share + 0.0:.2f}"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def svg(chart: "Chart") -> Markup:
    """The chart as an element that fills the width there is, up to half more than it was drawn for.

    Drawn wider than a phone it keeps its size, and its frame scrolls.
    """
    from ray_birds.report.charts import WIDTH  # a live page has no charts, and does without matplotlib

    wide = f"min-width:{chart.width * 88:.0f}px;" if chart.width > WIDTH else ""
    style = f"{wide}max-width:{max(chart.width * 100, chart.width * 50 + 260):.0f}px"
    tag = Markup('<svg role="img" aria-label="{}" style="{}"').format(chart.alt, style)
    return Markup(chart.svg).replace(Markup("<svg"), tag, 1)
