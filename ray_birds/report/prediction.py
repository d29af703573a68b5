"""The report of a prediction job: _report.html in its output folder, the pictures also in _report/.

The names begin with `_` because readers of Parquet take every other file of the folder for a part.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_birds import files
from ray_birds.errors import DataError
from ray_birds.inputs import root
from ray_birds.report import score_charts
from ray_birds.report.gallery import Tile, load, loadable, write_sheet
from ray_birds.report.page import write_charts, write_page
from ray_birds.report.results import Predictions
from ray_birds.report.scores import Scores, score

COLUMNS = ["input", "path", "label", "prediction", "probability", "top_k", "correct", "error"]
SHEET = 24  # sampled predictions with their pictures
UNSURE = 12  # least certain predictions, and most confident mistakes
FOUND = 20  # classes in the chart of those found most often
SEED = 0  # of the sample


@dataclass(frozen=True)
class Job:
    """All rows of a job: `failed` those with an error, `rows` the others; texts as (n,) object arrays.

    `place` (n,) is the file of each row; `labelled` (n,) bool says which rows know their label, the label
    and `correct` of the others mean nothing. `top_k` (n, k) are the most probable classes.
    """

    rows: Predictions
    place: np.ndarray
    labelled: np.ndarray
    top_k: np.ndarray
    failed: list[dict[str, str]]


def write_prediction_report(output: str) -> str:
    """Write <output>/_report.html and the PNG files in <output>/_report/; returns the page's place.

    Reads the part files and _manifest.json of `output`, and the pictures they name.
    """
    output = files.resolve(output)
    job = read_job(output)
    scores = job_scores(job)
    correct = job.rows.correct if job.labelled.all() else None
    found = Counter(job.rows.prediction.tolist()).most_common(FOUND)
    values: dict[str, Any] = {
        "output": output,
        "job": job,
        "total": len(job.rows) + len(job.failed),
        "reasons": _reasons(job.failed),
        "certainty": score_charts.certainty(job.rows.probability, correct) if len(job.rows) else None,
        "found": found,
        "most_found": score_charts.most_found(*zip(*found, strict=True)) if found else None,
        "sample": sampled(job),
        "unsure": loadable(_captions(job, np.argsort(job.rows.probability, kind="stable")), UNSURE),
        "scores": scores,
        "mistakes": mistakes(job) if scores else [],
        "manifest": _facts(files.read_json(files.join(output, "_manifest.json"))),
    }
    folder = files.join(output, "_report")
    single = [values[key] for key in ("certainty", "most_found") if values[key]]
    write_charts(folder, [*single, *(scores.charts if scores else [])])
    for name in ("sample", "unsure", "mistakes"):
        if values[name]:
            tiles = values[name]
            lines = tiles if name == "mistakes" else [tiles[row : row + 6] for row in range(0, len(tiles), 6)]
            write_sheet(files.join(folder, f"{name}.png"), lines)
    page = files.join(output, "_report.html")
    write_page(page, "prediction.html.j2", values)
    return page


def read_job(output: str) -> Job:
    """The rows of all part files, in the order of their input and path."""
    parts = [info.path for info in files.find(output) if info.base_name.endswith(".parquet")]
    system, _ = files.filesystem(output)
    table = pa.concat_tables([pq.read_table(name, columns=COLUMNS, filesystem=system) for name in parts])
    table = table.sort_by([("input", "ascending"), ("path", "ascending")])
    fine = np.array([error == "" for error in table["error"].to_pylist()], dtype=bool)
    rows = table.filter(pa.array(fine))
    label = rows["label"].to_numpy()
    names = rows["input"].to_pylist(), rows["path"].to_pylist()
    roots = {given: _root(given) for given in set(names[0])}
    top_k = [[entry["label"] for entry in entries] for entries in rows["top_k"].to_pylist()]
    return Job(
        rows=Predictions(
            path=rows["path"].to_numpy(),
            label=label,
            prediction=rows["prediction"].to_numpy(),
            probability=rows["probability"].to_numpy().astype(np.float64),
            correct=np.array([value is True for value in rows["correct"].to_pylist()], dtype=bool),
        ),
        place=np.array([files.join(roots[given], path) for given, path in zip(*names, strict=True)], dtype=object),
        labelled=np.array([value is not None for value in label], dtype=bool),
        top_k=np.array(top_k, dtype=object),
        failed=table.filter(pa.array(~fine)).select(["input", "path", "error"]).to_pylist(),
    )


def _root(given: str) -> str:
    """The folder of an input's paths; the input itself where it is no longer there, and nor are its pictures."""
    try:
        return root(given)
    except DataError:
        return given


def job_scores(job: Job) -> Scores | None:
    """Scores of the rows that have a label; None where none has."""
    known = job.labelled
    if not known.any():
        return None
    rows = _take(job.rows, known)
    names = sorted({*rows.label, *rows.prediction, *job.top_k[known].ravel()})
    numbers = {name: number for number, name in enumerate(names)}
    ranked = np.array([[numbers[name] for name in entries] for entries in job.top_k[known]])
    return score(rows, names, "the labelled images", ranked)


def _take(rows: Predictions, keep: np.ndarray) -> Predictions:
    return Predictions(
        rows.path[keep], rows.label[keep], rows.prediction[keep], rows.probability[keep], rows.correct[keep]
    )


def sampled(job: Job) -> list[Tile]:
    """A seeded sample of the predictions that have a readable picture, in the order of the rows."""
    order = np.random.default_rng(SEED).permutation(len(job.rows))
    return loadable(_captions(job, order), SHEET)


def _captions(job: Job, order: np.ndarray) -> Iterator[tuple[str, str, str, str]]:
    """(place, caption, note, mark) of the rows numbered in `order`, one at a time."""
    for row in order:
        prediction, probability = job.rows.prediction[row], job.rows.probability[row]
        if not job.labelled[row]:
            yield job.place[row], prediction, f"{probability:.0%} sure", ""
        elif job.rows.correct[row]:
            yield job.place[row], prediction, f"right, {probability:.0%} sure", "right"
        else:
            note = f"wrong, {probability:.0%} sure: it is {job.rows.label[row]}"
            yield job.place[row], prediction, note, "wrong"


def mistakes(job: Job) -> list[tuple[Tile, Tile | None]]:
    """The most confident mistakes, each with a picture of the class taken for that was named right."""
    known = np.flatnonzero(job.labelled)
    rows = _take(job.rows, known)
    pairs: list[tuple[Tile, Tile | None]] = []
    for row in rows.mistakes():
        pixels = load(job.place[known[row]])
        if pixels is None:
            continue
        taken_for = rows.prediction[row]
        note = f"taken for {taken_for}, {rows.probability[row]:.0%} sure"
        right = np.flatnonzero(rows.correct & (rows.prediction == taken_for))
        examples = ((job.place[known[one]], taken_for, "one it named right", "right") for one in right)
        beside = loadable(examples, 1)
        pairs.append((Tile(pixels, rows.label[row], note, "wrong"), beside[0] if beside else None))
        if len(pairs) == UNSURE:
            break
    return pairs


def _reasons(failed: list[dict[str, str]]) -> list[tuple[str, int, list[str]]]:
    """Each reason with the number of its files and the first of them, the most frequent first."""
    counts = Counter(row["error"] for row in failed)
    return [
        (reason, number, [row["path"] or row["input"] for row in failed if row["error"] == reason][:3])
        for reason, number in counts.most_common()
    ]


def _facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """The manifest as name and text; lists of more than a few entries by their number."""
    facts = []
    for name, value in manifest.items():
        if isinstance(value, list) and len(value) > 8:
            text = f"{len(value):,} entries"
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        facts.append((name.replace("_", " "), text))
    return facts
