"""The files that a job is to score: those its inputs lead to or, where there is a table of labels, its rows."""

from collections.abc import Sequence

import pyarrow as pa

from ray_birds.config import PredictConfig
from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.data import labels, table_file
from ray_birds.data.table import Labels
from ray_birds.data.table_file import Row
from ray_birds.prediction import inputs
from ray_birds.prediction.inputs import Found, Run


def find(config: PredictConfig, classes: Sequence[str]) -> Found:
    """The files, of which those of a table have the labels that it gives them, as the model's `classes` have them.

    Raises DataError as `inputs.find` does; of a table for the first row that is wrong, with its line.
    """
    if not config.labels:
        return inputs.find(config.input)
    (given,) = config.input
    root = storage.resolve(given)
    table = Labels(config.labels, config.columns)
    rows, notes = table_file.images(root, table)
    if not rows:
        raise DataError(f"{storage.resolve(table.file)}: has no rows; expected one for each image to score")
    known = frozenset(classes)
    class_of = {row.label: labels.class_of(row.label, known) for row in rows.values()}
    paths = sorted(rows)
    run = Run(given, "", pa.array(paths, pa.string()), {}, tuple(class_of[rows[path].label] for path in paths))
    return Found((run,), (), {given: root}, (*notes, *_unknown(list(rows.values()), class_of, table, classes)))


def _unknown(rows: list[Row], class_of: dict[str, str | None], table: Labels, classes: Sequence[str]) -> list[str]:
    """What to say of labels that are no class of the model."""
    lost = [row for row in rows if row.label and class_of[row.label] is None]
    if not lost:
        return []
    first, uri = lost[0], storage.resolve(table.file)
    line, near = table_file.line(uri, first.number), labels.nearest(first.label, classes)
    return [
        f"{len(lost):,} rows of {uri} have a {table.column('label')} that is no class of the model, the first in "
        f"{line}: {first.label!r} (nearest {near!r}); they are scored without a label"
    ]
