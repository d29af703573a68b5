"""What is counted of a prediction job's parts, against the rows themselves; and that it stays small."""

import pickle
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ray_birds.evaluation import metrics
from ray_birds.prediction import statistics
from ray_birds.prediction.output import Output, read_part, schema
from ray_birds.prediction.statistics import EXAMPLES, EXTREMES, SAMPLE, Tally
from tests.conftest import CLASSES
from tests.prediction.test_output import FAILED, SCORED, UNLABELLED, output, row


def counted(made: Output) -> Tally:
    return statistics.count(map(read_part, made.parts().values()), CLASSES)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Output:
    """700 rows in 7 parts: two thirds labelled, one in ten failed."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(700):
        path = f"{number:03}.jpg"
        label = CLASSES[random.integers(3)] if random.random() < 0.67 else None
        if random.random() < 0.1:
            rows.append(row(path, label=label, error=f"damaged: byte {number}"))
        else:
            rows.append(row(path, tuple(random.dirichlet((1, 1, 1)).tolist()), label))
    parts = {number: rows[100 * number : 100 * number + 100] for number in range(7)}
    return output(tmp_path_factory.mktemp("many") / "out", parts)


@pytest.fixture(scope="module")
def frame(many: Output) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(uri) for uri in many.parts().values()], ignore_index=True)


def test_counts_are_those_of_the_rows(many: Output, frame: pd.DataFrame) -> None:
    counts = counted(many)
    scored = frame[frame["error"] == ""]
    assert counts.rows == 700 and counts.scored == len(scored)
    assert counts.failures == {"damaged": 700 - len(scored)}
    assert [found["path"] for found in counts.failed["damaged"]] == frame[frame["error"] != ""]["path"].tolist()[
        :EXAMPLES
    ]
    assert counts.found.tolist() == [(scored["prediction"] == name).sum() for name in CLASSES]
    known = scored[scored["label"].notna()]
    assert counts.labelled.images.sum() == len(known) and counts.labelled.right.sum() == known["correct"].sum()
    assert counts.unlabelled.images.sum() == len(scored) - len(known)


def test_evaluation_equals_that_of_all_rows_at_once(many: Output, frame: pd.DataFrame) -> None:
    known = frame[frame["label"].notna() & (frame["error"] == "")]
    labels = known["label"].map(CLASSES.index).to_numpy()
    ranked = np.array([[CLASSES.index(choice["label"]) for choice in top] for top in known["top_k"]])
    expected = metrics.evaluate(labels, ranked[:, 0], CLASSES, ranked)
    assert counted(many).evaluation() == expected and expected.k == 2


def test_the_rows_kept_are_the_right_ones(many: Output, frame: pd.DataFrame) -> None:
    counts = counted(many)
    scored = frame[frame["error"] == ""]
    assert paths(counts.unsure.rows) == scored.nsmallest(EXTREMES, "probability")["path"].tolist()
    wrong = scored[scored["correct"].eq(False)]
    assert paths(counts.mistakes.rows) == wrong.nlargest(EXTREMES, "probability")["path"].tolist()
    sample = paths(counts.sample.rows)
    assert len(set(sample)) == SAMPLE and set(sample) <= set(scored["path"])
    assert np.ptp([int(path[:3]) for path in sample]) > 350  # from all over the job
    assert paths(counted(many).sample.rows) == sample
    for name, kept in counts.named_right.items():
        assert kept["path"] == scored[scored["correct"].eq(True) & scored["label"].eq(name)]["path"].iloc[0]


def paths(rows: Iterable[dict[str, str]]) -> list[str]:
    return [kept["path"] for kept in rows]


def test_its_size_does_not_grow_with_the_number_of_parts(many: Output) -> None:
    parts = list(many.parts().values())
    small, large = (
        len(pickle.dumps(statistics.count(map(read_part, parts * times), CLASSES))) for times in (1, 20)
    )
    assert large < 1.1 * small


def test_failures_are_counted_by_their_first_words(tmp_path: Path) -> None:
    counts = counted(output(tmp_path / "out", {0: SCORED, 1: FAILED, 3: UNLABELLED}))
    assert counts.rows == 8 and counts.failures == {"empty file": 2, "damaged": 1}
    evaluation = counts.evaluation()
    assert evaluation is not None and evaluation.matrix.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert evaluation.top_k == metrics.wilson(2, 2)


@pytest.mark.parametrize(
    "parts",
    [{}, {0: UNLABELLED}, {0: FAILED}, {0: UNLABELLED, 1: FAILED}],
    ids=["nothing", "unlabelled", "failed", "unlabelled and failed"],
)
def test_where_nothing_is_labelled_and_scored(tmp_path: Path, parts: dict[int, list[dict[str, object]]]) -> None:
    counts = counted(output(tmp_path / "out", parts))
    assert counts.rows == sum(map(len, parts.values()))
    assert counts.evaluation() is None and counts.mistakes.rows == []


def test_images_that_the_model_has_seen_are_no_part_of_the_scores(tmp_path: Path) -> None:
    new = [row("1.jpg", (0.7, 0.2, 0.1), CLASSES[0]), row("2.jpg", (0.7, 0.2, 0.1), CLASSES[1])]
    known = [row(f"{n}.jpg", (0.2, 0.7, 0.1), CLASSES[1]) | {"seen": True} for n in range(3, 7)]
    wrong = row("7.jpg", (0.2, 0.7, 0.1), CLASSES[2]) | {"seen": True}
    counts = counted(output(tmp_path / "both", {0: [*new, *known], 1: [wrong, UNLABELLED[0] | {"seen": True}]}))
    held, evaluation = counts.held_out(), counts.evaluation()
    assert held is not None and evaluation is not None and counts.seen == 6
    assert (held.images, held.right, held.seen, held.seen_right) == (7, 5, 5, 4)
    assert evaluation.accuracy == held.accuracy == metrics.wilson(1, 2) and evaluation.images == 2
    assert "Of the 2 labelled images that have no byte-for-byte copy" in held.sentence
    assert paths(counts.mistakes.rows) == ["2.jpg", "7.jpg"]
    only = counted(output(tmp_path / "seen", {0: known}))
    assert only.evaluation() is None and "says nothing of new images" in getattr(only.held_out(), "sentence", "")


def test_hours_and_places_are_those_of_the_rows_that_know_them() -> None:
    times = [datetime(2026, 5, 1, 6, 59), datetime(2026, 6, 2, 6, 0), None, datetime(1999, 1, 1, 23, 5)]
    rows = [row(f"{number}.jpg", (0.7, 0.2, 0.1)) | {"taken": taken} for number, taken in enumerate(times)]
    rows[0] |= {"latitude": -1.04, "longitude": 36.96}
    rows[2] |= {"latitude": -0.96, "longitude": 37.04}
    rows.append(row("5.jpg", error="damaged") | {"taken": times[0], "latitude": 1.0, "longitude": 1.0})
    counts = statistics.count([pa.Table.from_pylist(rows, schema=schema(metadata=True))], CLASSES)
    assert counts.hours.sum() == 3 and counts.hours[0, [6, 23]].tolist() == [2, 1]
    assert counts.places == {(-1.0, 37.0): 2}
