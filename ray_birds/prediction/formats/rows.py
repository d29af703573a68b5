"""Finished predictions as other formats take them: read part by part, flat, and each file under one short path."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.prediction.output import Output

Row = dict[str, Any]

_LARGE = ("probabilities", "embeddings")


@dataclass(frozen=True)
class Finished:
    """The output of a prediction job, and what its manifest says."""

    output: Output
    manifest: dict[str, Any]

    @classmethod
    def at(cls, uri: str) -> "Finished":
        """Raises DataError where there are no finished predictions."""
        output = Output(storage.resolve(uri))
        manifest = output.manifest() if output.complete() else None
        if manifest is None:
            raise DataError(f"--predictions {uri}: no finished predictions there; give an --output of predict")
        return cls(output, manifest)

    @property
    def columns(self) -> list[str]:
        """Those of one value a row, and top_k."""
        return [name for name in self.manifest["schema"] if name not in _LARGE]

    @property
    def model(self) -> str:
        about = self.manifest["model"]
        return f"{about['trial']} {about['digest']}"

    def rows(self, columns: list[str] | None = None) -> Iterator[Row]:
        """All rows, in order; numbers have the fewest digits that tell them from their neighbours."""
        for part in self.output.published(columns or self.columns):
            yield from (dict(zip(part.column_names, row, strict=True)) for row in zip(*_values(part), strict=True))

    @cached_property
    def choices(self) -> int:
        """The most classes that a row lists in top_k."""
        lengths = (
            pc.max(pc.list_value_length(part["top_k"])).as_py() for part in self.output.published(["top_k"])
        )
        return max((length for length in lengths if length), default=0)

    @property
    def flat_columns(self) -> list[str]:
        names = [name for number in range(1, self.choices + 1) for name in (f"top_{number}", _of(number))]
        at = self.columns.index("top_k")
        return [*self.columns[:at], *names, *self.columns[at + 1 :]]

    def flat_rows(self) -> Iterator[Row]:
        """All rows with `flat_columns`: the n-th class of top_k is `top_n`, with `top_n_probability`."""
        for row in self.rows():
            for number, choice in enumerate(row.pop("top_k") or (), 1):
                row |= {f"top_{number}": choice["label"], _of(number): choice["probability"]}
            yield row

    @cached_property
    def _folders(self) -> dict[str, str]:
        """Input -> its root below the folder that all inputs lie in."""
        roots: dict[str, str] = self.manifest["roots"]
        try:
            above = os.path.commonpath(roots.values())
        except ValueError:  # some are on an object store
            return {given: f"{root}/" for given, root in roots.items()}
        below = {given: storage.from_os(os.path.relpath(root, above)) for given, root in roots.items()}
        return {given: "" if folder == "." else f"{folder}/" for given, folder in below.items()}

    def file(self, row: Row) -> str:
        """Path of a row's file below the folder that all inputs lie in: of one input, the column `path`."""
        return f"{self._folders[row['input']]}{row['path']}"


def _of(number: int) -> str:
    return f"top_{number}_probability"


def _values(part: pa.Table) -> Iterator[list[Any]]:
    for name in part.column_names:
        values = part[name].to_pylist()
        if name == "top_k":
            yield [
                row and [choice | {"probability": _short(choice["probability"])} for choice in row]
                for row in values
            ]
        elif part[name].type == pa.float32():
            yield [None if value is None else _short(value) for value in values]
        else:
            yield values


def _short(value: float) -> float:
    """A float32 without the digits that float64 adds to it."""
    return float(str(np.float32(value)))
