"""The page of a sweep that runs: its trials and how far they are, until the sweep's report takes its place."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ray_birds.report.page import write_page

if TYPE_CHECKING:
    from ray_birds.sweep.live import Line, View

CURVE = (120.0, 26.0)  # pixels
_ORDER = ("running", "finished", "stopped", "failed", "waiting")


def write_live_page(uri: str, view: "View", state: str, refresh: int) -> None:
    """Write the page to `uri`; a browser loads it again every `refresh` seconds, not by itself where that is 0.

    `state` is a sentence on what is done now, empty while trials run.
    """
    lines = sorted(view.lines, key=_rank)
    values = {
        "view": view,
        "state": state,
        "refresh": refresh,
        "lines": [(line, curve) for line, curve in zip(lines, curves(lines), strict=True)],
        "size": CURVE,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_page(uri, "live.html.j2", values)


def _rank(line: "Line") -> tuple[int, float]:
    """What runs first, then what has ended, each the best first."""
    return _ORDER.index(line.state), -line.kept.valid_accuracy if line.kept else 0.0


def curves(lines: Sequence["Line"]) -> list[str]:
    """Valid accuracy by epoch as points of an SVG polyline, "" without epochs; all lines on one scale."""
    width, height = CURVE
    seen = [epoch.valid_accuracy for line in lines for epoch in line.history]
    low = min(seen, default=0.0)
    span = max(seen, default=1.0) - low or 1.0
    return [
        " ".join(
            f"{2 + (width - 4) * (epoch.epoch - 0.5) / line.epochs:.1f},"
            f"{height - 3 - (height - 6) * (epoch.valid_accuracy - low) / span:.1f}"
            for epoch in line.history
        )
        for line in lines
    ]
