"""Sequences: photographs of one folder and camera taken close together, and what they show together.

They are found in finished parts, in three passes: which row belongs to which sequence, by the times of all rows;
the mean of the probabilities of each sequence's rows; and the parts again, with both. What is held meanwhile is a
few numbers a row, and the sums of sequences that go on in a later part.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_birds.prediction.output import Output, optional

Parts = Callable[[Iterable[str]], Iterator[pa.Table]]  # all parts in order, with the columns that are named too

_UNKNOWN = np.iinfo(np.int64).min


class Sequences(NamedTuple):
    """How many there are, and of how many `images`; the others have no time."""

    number: int
    images: int


def fill(output: Output, parts: Parts, columns: pa.Schema, classes: tuple[str, ...], seconds: float) -> Sequences:
    """Write the parts in staging, which have `columns`, again: with the columns of sequences.

    All other columns stay: when this is cut short, doing it again gives the same.
    """
    numbers = find(parts(("taken", "taken_offset", "camera")), seconds)
    prediction, probability = _means(parts(("probabilities",)), numbers, len(classes))
    start = 0
    for number, part in enumerate(parts(optional(columns))):
        here = numbers[start : start + len(part)]
        start += len(part)
        nothing = prediction[here] < 0  # no time, or no image of the sequence could be scored
        names = pa.array(prediction[here], mask=nothing)
        part = _set(part, columns, "sequence", pa.array(here, mask=here == 0))
        part = _set(part, columns, "sequence_prediction", pa.array(classes).take(names))
        part = _set(part, columns, "sequence_probability", pa.array(probability[here], mask=nothing))
        output.write_table(number, part.select(columns.names))
    return Sequences(int(numbers.max(initial=0)), int(np.count_nonzero(numbers)))


def find(parts: Iterable[pa.Table], seconds: float) -> np.ndarray:
    """(rows,) int32: the sequence of each row, 0 where its time is not known.

    Each photograph is at most `seconds` later than the one before it, of the same folder, camera and zone. Numbers
    run from 1, by folder and camera in the order of the files, then by time; the parts' sizes do not matter.
    """
    codes: dict[tuple[Any, ...], int] = {}
    groups, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for part in parts:
        columns = (part[name].to_pylist() for name in ("input", "path", "camera", "taken_offset"))
        keys = ((given, path.rpartition("/")[0], *more) for given, path, *more in zip(*columns, strict=True))
        groups.append(np.array([codes.setdefault(key, len(codes)) for key in keys], np.int64))
        times.append(pc.fill_null(part["taken"].cast(pa.int64()), _UNKNOWN).to_numpy())
    group, taken = np.concatenate(groups), np.concatenate(times)
    order = np.lexsort((taken, group))  # stable: of the same time in the order of the files
    order = order[taken[order] != _UNKNOWN]
    begins = np.ones(len(order), bool)
    begins[1:] = (np.diff(group[order]) != 0) | (np.diff(taken[order]) > seconds * 1e6)
    numbers = np.zeros(len(taken), np.int32)
    numbers[order] = np.cumsum(begins)
    return numbers


def _means(parts: Iterable[pa.Table], numbers: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """By number of a sequence the class of the highest mean probability, -1 for none, and that mean."""
    prediction = np.full(numbers.max(initial=0) + 1, -1, np.int32)
    probability = np.zeros(len(prediction), np.float32)
    last = np.zeros(len(prediction), np.int64)
    np.maximum.at(last, numbers, np.arange(len(numbers)))
    sums: dict[int, np.ndarray] = {}  # of those that are not over; the last value of each counts the images
    end = 0
    for part in parts:
        here = numbers[end : end + len(part)]
        end += len(part)
        for number, total in _sums(part["probabilities"], here, classes):
            sums[number] = sums[number] + total if number in sums else total
        for number in [one for one in sums if last[one] < end]:
            mean = sums[number][:-1] / sums.pop(number)[-1]
            prediction[number], probability[number] = mean.argmax(), mean.max()
    return prediction, probability


def _sums(probabilities: pa.ChunkedArray, here: np.ndarray, classes: int) -> Iterator[tuple[int, np.ndarray]]:
    """Of each sequence among the rows `here` the sums (classes + 1,) of probabilities and of scored images."""
    scored = probabilities.is_valid().to_numpy()
    scores = pc.list_flatten(probabilities).to_numpy().reshape(-1, classes)[here[scored] > 0]
    members, place = np.unique(here[scored & (here > 0)], return_inverse=True)
    sums = np.zeros((len(members), classes + 1))
    np.add.at(sums, place, np.column_stack([scores, np.ones(len(scores))]))
    yield from zip(members.tolist(), sums, strict=True)


def _set(part: pa.Table, columns: pa.Schema, name: str, values: pa.Array) -> pa.Table:
    field = columns.field(name)
    return part.set_column(part.schema.get_field_index(name), field, values.cast(field.type))
