"""What the parts of a prediction job hold, counted part by part: its size does not grow with their number."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_birds.evaluation import calibration, metrics
from ray_birds.evaluation.leakage import HeldOut
from ray_birds.evaluation.metrics import Evaluation

SAMPLE = 24  # rows drawn at random
EXTREMES = 12  # of the least certain, and of the most confident mistakes
EXAMPLES = 3  # files of each reason
COPY = "byte-for-byte copy among the images that the model was trained on or chosen by"

_COLUMNS = ["input", "path", "label", "prediction", "probability", "top_k", "error", "seen"]
ASKED = ("accepted", "ood_score", "taken", "latitude", "longitude")  # columns that are counted where there are any
_SEED = 0


class Lowest:
    """Of all rows that were added the `size` with the lowest keys; of equal ones the first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._keys = np.zeros(0)
        self._rows = pa.table({})

    def add(self, keys: np.ndarray, rows: pa.Table) -> None:
        """`keys` (n,) float64 are those of the n rows."""
        keys = np.concatenate([self._keys, keys])
        order = np.argsort(keys, kind="stable")[: self._size]
        rows = pa.concat_tables([self._rows, rows]) if len(self._rows) else rows
        self._keys, self._rows = keys[order], rows.take(order)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, the lowest key first; those of _COLUMNS by name."""
        return list(self._rows.to_pylist())


class Tally:
    """Counts of all rows, and a few of the rows themselves. `classes` are those of the model, in its order.

    Labelled images that the model has seen are counted apart: scores are of the others alone. What is accepted,
    what lies far away, and when and where images were taken, is counted where the rows say it.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.rows = 0
        self.failures = Counter[str]()  # by the first words: what stands behind a colon differs from file to file
        self.failed: dict[str, list[dict[str, Any]]] = {}  # the first EXAMPLES rows of each reason
        self.found = np.zeros(len(classes), np.int64)  # images by their prediction
        self.seen = 0  # files, labelled or not
        nothing = calibration.certainty(np.zeros(0), np.zeros(0, bool))
        self.labelled = self.labelled_seen = self.unlabelled = nothing
        self.sample, self.unsure, self.mistakes = Lowest(SAMPLE), Lowest(EXTREMES), Lowest(EXTREMES)
        self.accepted = 0
        self.accepted_sample, self.other_sample = Lowest(EXTREMES), Lowest(EXTREMES)
        self.unknown = Lowest(EXTREMES)
        self._accepted = np.zeros((2, 2), np.int64)  # labelled ones by whether they were seen, and named right
        self.hours = np.zeros((len(classes), 24), np.int64)  # images by prediction and hour of the day
        self.places = Counter[tuple[float, float]]()  # images by latitude and longitude, to a tenth of a degree
        self.named_right: dict[str, dict[str, Any]] = {}  # the first row of each class that was
        self._matrix = np.zeros((len(classes), len(classes)), np.int64)
        self._hits, self._k = 0, 1
        self._index = pa.array(classes)
        self._random = np.random.default_rng(_SEED)

    @property
    def scored(self) -> int:
        return int(self.found.sum())

    def evaluation(self) -> Evaluation | None:
        """Scores of the rows that have a label, without those seen; None where there are none."""
        if not self.labelled.images.any():
            return None
        return metrics.evaluate_counts(self._matrix, self.classes, self._hits, self._k)

    def held_out(self) -> HeldOut | None:
        """How many of the labelled images are named right, seen ones apart; None where no row has a label."""
        everything, seen = self.labelled + self.labelled_seen, self.labelled_seen
        counts = (everything.images, everything.right, seen.images, seen.right)
        images, right, again, again_right = (int(one.sum()) for one in counts)
        return HeldOut("labelled", images, right, again, again_right, COPY) if images else None

    def accepted_held_out(self) -> HeldOut | None:
        """As `held_out`, of what is accepted; None where nothing accepted has a label."""
        if not self._accepted.any():
            return None
        (new, seen), right = self._accepted.sum(axis=1).tolist(), self._accepted[:, 1]
        return HeldOut("accepted labelled", new + seen, int(right.sum()), seen, int(right[1]), COPY)

    def add(self, part: pa.Table) -> None:
        """Count the rows of a part; `part` has _COLUMNS."""
        self.rows += len(part)
        self.seen += pc.sum(part["seen"]).as_py() or 0
        fine = pc.equal(part["error"], "")
        for row in part.filter(pc.invert(fine)).to_pylist():
            reason = row["error"].partition(":")[0]
            self.failures[reason] += 1
            if self.failures[reason] <= EXAMPLES:
                self.failed.setdefault(reason, []).append(row)
        if pc.any(fine).as_py():
            self._add_scored(part.filter(fine))

    def _add_scored(self, rows: pa.Table) -> None:
        prediction = pc.index_in(rows["prediction"], self._index).to_numpy()
        label = pc.fill_null(pc.index_in(rows["label"], self._index, skip_nulls=True), -1).to_numpy()
        probability = rows["probability"].to_numpy().astype(np.float64)
        names = pc.struct_field(pc.list_flatten(rows["top_k"]), "label")
        ranked = pc.index_in(names, self._index).to_numpy().reshape(len(rows), -1)
        seen = pc.fill_null(rows["seen"], False).to_numpy()
        right, wrong = label == prediction, (label >= 0) & (label != prediction)
        known, again = (label >= 0) & ~seen, (label >= 0) & seen

        self.found += np.bincount(prediction, minlength=len(self.classes))
        self.labelled += calibration.certainty(probability[known], right[known])
        self.labelled_seen += calibration.certainty(probability[again], right[again])
        self.unlabelled += calibration.certainty(probability[label < 0], right[label < 0])
        np.add.at(self._matrix, (label[known], prediction[known]), 1)
        self._hits, self._k = self._hits + metrics.in_top_k(label[known], ranked[known]), ranked.shape[1]

        keys = self._random.random(len(rows))
        self.sample.add(keys, rows)
        if "accepted" in rows.column_names:
            accepted = rows["accepted"].to_numpy()
            self.accepted += int(accepted.sum())
            chosen = accepted & (label >= 0)
            np.add.at(self._accepted, (seen[chosen].astype(int), right[chosen].astype(int)), 1)
            self.accepted_sample.add(keys[accepted], rows.filter(accepted))
            self.other_sample.add(keys[~accepted], rows.filter(~accepted))
        if "ood_score" in rows.column_names:
            self.unknown.add(-rows["ood_score"].to_numpy().astype(np.float64), rows)
        if "taken" in rows.column_names:
            self._add_facts(prediction, rows)
        self.unsure.add(probability, rows)
        self.mistakes.add(-probability[wrong], rows.filter(wrong))
        for number, first in zip(*np.unique(prediction[right], return_index=True), strict=True):
            if self.classes[number] not in self.named_right:
                self.named_right[self.classes[number]] = rows.slice(np.flatnonzero(right)[first], 1).to_pylist()[0]

    def _add_facts(self, prediction: np.ndarray, rows: pa.Table) -> None:
        """When and where, of those rows that know it."""
        known = pc.is_valid(rows["taken"]).to_numpy()
        hours = pc.hour(rows["taken"].filter(pc.is_valid(rows["taken"]))).to_numpy()
        np.add.at(self.hours, (prediction[known], hours), 1)
        placed = rows.filter(pc.is_valid(rows["latitude"]))
        found = (pc.round(placed[name].cast(pa.float64()), 1).to_pylist() for name in ("latitude", "longitude"))
        self.places.update(zip(*found, strict=True))


def count(parts: Iterable[pa.Table], classes: tuple[str, ...]) -> Tally:
    """Count the rows of these parts, one at a time."""
    tally = Tally(classes)
    for part in parts:
        tally.add(part.select([*_COLUMNS, *(name for name in ASKED if name in part.column_names)]))
    return tally
