"""The report of a prediction job: _report.html in its output folder.

Its name begins with `_` because readers of Parquet take every other file of the folder for a part.
"""

from typing import Any

import numpy as np

from ray_birds.core import storage
from ray_birds.evaluation.metrics import Evaluation
from ray_birds.prediction.explain import Explained
from ray_birds.prediction.statistics import Tally
from ray_birds.report import outdoor_charts, score_charts
from ray_birds.report.gallery import Tile, overlay, square, tiles
from ray_birds.report.page import NOTHING, write_page
from ray_birds.report.scores import score

NAME = "_report.html"
FOUND = 20  # classes in the chart of those found most often

Row = dict[str, Any]  # of a part


def write_prediction_report(
    output: str,
    tally: Tally,
    evaluation: Evaluation | None,
    manifest: dict[str, Any],
    answered: str = "",
    explained: dict[str, list[Explained]] | None = None,
) -> str:
    """Write <output>/_report.html; returns its place.

    All numbers are those of `tally`, `evaluation` and the job's `manifest`; `answered` says what was accepted,
    `explained` are images by why they were chosen. Only the images are read again, and those that are gone by now
    are left out. Raises OSError where the page cannot be written.
    """
    roots: dict[str, str] = manifest["roots"]
    uri = storage.join(output, NAME)
    values = {
        "output": output,
        "tally": tally,
        "failed": tally.failures.total(),
        "ignored": len(manifest["ignored"]),
        "notes": manifest["notes"],
        "reasons": [
            (reason, number, [_example(row) for row in tally.failed[reason]])
            for reason, number in tally.failures.most_common()
        ],
        "held": tally.held_out(),
        "seen": manifest["seen"],
        "sequences": manifest.get("sequences"),
        "certainty": score_charts.certainty(tally.labelled + tally.labelled_seen, tally.unlabelled),
        "most_found": score_charts.most_found(*zip(*_found(tally), strict=True)) if tally.scored else None,
        "outdoors": [
            *([outdoor_charts.by_hour(tally.classes, tally.hours)] if tally.hours.any() else []),
            *([outdoor_charts.by_place(tally.places)] if tally.places else []),
        ],
        "answer": manifest.get("answer") or {},
        "answered": answered,
        "coverage": score_charts.coverage(tally.labelled, (manifest.get("answer") or {}).get("threshold"))
        if evaluation
        else None,
        "accepted": _tiles(tally.accepted_sample.rows, roots),
        "others": _tiles(tally.other_sample.rows, roots),
        "unknown": _tiles(tally.unknown.rows, roots),
        "sample": _tiles(tally.sample.rows, roots),
        "unsure": _tiles(tally.unsure.rows, roots),
        "scores": score(
            evaluation, tally.labelled, "labelled images" + ", byte-for-byte copies left out" * (tally.seen > 0)
        )
        if evaluation
        else None,
        "mistakes": _mistakes(tally, roots),
        "explained": {name: [_looked(one) for one in group] for name, group in (explained or {}).items()},
        "tta": manifest["settings"]["tta"],
        "facts": _facts(manifest),
    }
    write_page(uri, "prediction.html.j2", values)
    return uri


def _example(row: Row) -> str:
    """A file that failed, with what its error says beyond the reason that it is counted under."""
    detail = row["error"].partition(":")[2].strip()
    return f"{row['path']} ({detail})" if detail else str(row["path"])


def _found(tally: Tally) -> list[tuple[str, int]]:
    order = np.argsort(-tally.found, kind="stable")[:FOUND]
    return [(tally.classes[number], int(tally.found[number])) for number in order if tally.found[number]]


def _tiles(rows: list[Row], roots: dict[str, str]) -> list[Tile]:
    """The rows' images, of those that can be read."""
    return [tile for tile in tiles((_uri(row, roots), *_caption(row)) for row in rows) if tile]


def _uri(row: Row, roots: dict[str, str]) -> str:
    return storage.at(roots[row["input"]], row["path"])


def _caption(row: Row) -> tuple[str, str, str]:
    """(caption, note, mark)."""
    prediction, label, sure = row["prediction"], row["label"], f"{row['probability']:.0%} sure"
    if row.get("ood_score") is not None:
        sure += f", further than {row['ood_score']:.0f} % of valid"
    if label is None:
        return prediction, sure, ""
    right = label == prediction
    return (
        prediction,
        f"right, {sure}" if right else f"wrong, {sure}: it is {label}",
        "right" if right else "wrong",
    )


def _mistakes(tally: Tally, roots: dict[str, str]) -> list[tuple[Tile, Tile | None]]:
    """The most confident mistakes, each with an image of the class taken for that was named right."""
    wrong = tally.mistakes.rows
    notes = [f"taken for {row['prediction']}, {row['probability']:.0%} sure{_again(row)}" for row in wrong]
    shown = tiles((_uri(row, roots), row["label"], note, "wrong") for row, note in zip(wrong, notes, strict=True))
    known = {row["prediction"] for row in wrong} & set(tally.named_right)
    examples = {name: tally.named_right[name] for name in sorted(known)}
    found = tiles((_uri(row, roots), name, "one it named right", "right") for name, row in examples.items())
    beside = dict(zip(examples, found, strict=True))
    return [
        (tile, beside.get(row["prediction"])) for row, tile in zip(wrong, shown, strict=True) if tile is not None
    ]


def _looked(one: Explained) -> tuple[Tile, Tile]:
    """The image as the model sees it, and what in it speaks for the prediction."""
    pixels, (caption, note, mark) = square(one.pixels), _caption(one.row)
    return Tile(pixels, caption, note, mark), Tile(overlay(pixels, one.heat), f"what speaks for {caption}")


def _again(row: Row) -> str:
    return ", though it has seen it" if row["seen"] else ""


def _facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """What is needed to run it again, and how long it took."""
    rate = manifest["images_per_second"]
    facts = {
        "model": manifest["model"]["uri"],
        "model's digest": manifest["model"]["digest"],
        "started": manifest["started"],
        "took": f"{manifest['seconds']:,} s",
        "images per second": NOTHING if rate is None else f"{rate:,}",
        **{name.replace("_", " "): value for name, value in manifest["settings"].items() if name != "model"},
        **manifest["versions"],
    }
    return [
        (name, ", ".join(value) if isinstance(value, (list, tuple)) else str(value))
        for name, value in facts.items()
    ]
