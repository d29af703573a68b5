"""What a prediction job writes: one row per file in parts with one schema, then a manifest, then _SUCCESS.

Parts are made in a staging folder beside the output, which appears by one rename when it is complete. On an
object store, where nothing can be renamed, parts lie in the output itself: a reader waits for _SUCCESS.
Names that begin with _ are passed over by pandas, pyarrow, Spark and DuckDB when they read the folder.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_birds import files
from ray_birds.errors import OutputError

SUCCESS = "_SUCCESS"
MANIFEST = "_manifest.json"
JOB = "_job.json"  # of a job under way: settings and file list, for --resume
_PART = re.compile(r"part-(\d{6})\.parquet$")


def schema(classes: int = 0) -> pa.Schema:
    """The columns of every part; with `classes` above 0 also the probabilities of all of them."""
    choice = pa.struct([("label", pa.string()), ("probability", pa.float32())])
    fields = [
        ("input", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("probability", pa.float32()),
        ("top_k", pa.list_(choice)),
        ("correct", pa.bool_()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("error", pa.string()),
        ("model", pa.string()),
    ]
    return pa.schema(fields + ([("probabilities", pa.list_(pa.float32(), classes))] if classes else []))


@dataclass(frozen=True)
class Output:
    """An output folder at an absolute place, and the folder in which its parts are made."""

    place: str

    @property
    def staging(self) -> str:
        return f"{self.place}.partial" if files.is_local(self.place) else self.place

    def exists(self) -> bool:
        """Whether there is anything at the place that a new output would replace."""
        return files.exists(self.place) if files.is_local(self.place) else bool(files.find(self.place))

    def write_part(self, number: int, rows: list[dict[str, Any]], columns: pa.Schema) -> None:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=columns), buffer)
        try:
            files.write(files.join(self.staging, f"part-{number:06d}.parquet"), buffer.getvalue())
        except OSError as error:
            raise OutputError(
                f"{self.staging}: cannot write predictions ({error}); --resume goes on later"
            ) from error

    def parts(self) -> dict[int, str]:
        """Number -> place of the parts in staging; a part under its final name is whole."""
        found = {}
        for info in files.find(self.staging):
            match = _PART.search(info.path)
            if match:
                found[int(match[1])] = files.join(self.staging, match[0])
        return dict(sorted(found.items()))

    def publish(self, manifest: dict[str, Any]) -> None:
        """Complete the output: manifest, _SUCCESS, then the rename that a reader sees.

        An existing output is set aside, and removed when the new one is in its place.
        """
        files.remove_file(files.join(self.staging, JOB))
        files.write_json(files.join(self.staging, MANIFEST), manifest)
        files.write(files.join(self.staging, SUCCESS), b"")
        if not files.is_local(self.place):
            return
        old = Path(f"{self.place}.old")
        if Path(self.place).exists():
            files.remove(str(old))
            Path(self.place).rename(old)
        files.publish(self.staging, self.place)
        files.remove(str(old))


@dataclass
class Summary:
    """What the parts hold, read back from them one at a time."""

    rows: int
    failures: Counter[str]
    labels: np.ndarray  # (n,) int32 of the labelled and scored rows, indices into the classes
    predictions: np.ndarray  # (n,) int32
    ranked: np.ndarray  # (n, top k) int32


def summarise(output: Output, classes: tuple[str, ...]) -> Summary:
    """Count the rows of all parts and collect what an evaluation needs."""
    rows, failures = 0, Counter[str]()
    index = {name: number for number, name in enumerate(classes)}
    labels: list[int] = []
    ranked: list[list[int]] = []
    for table in _tables(output):
        rows += len(table)
        for label, choices, error in zip(
            *(table[name].to_pylist() for name in table.column_names), strict=True
        ):
            if error:
                failures[error] += 1
            elif label is not None:
                labels.append(index[label])
                ranked.append([index[choice["label"]] for choice in choices])
    order = np.array(ranked, dtype=np.int32).reshape(len(labels), -1)
    return Summary(
        rows, failures, np.array(labels, np.int32), order[:, 0] if len(labels) else order[:, :0], order
    )


def _tables(output: Output) -> Iterator[pa.Table]:
    for place in output.parts().values():
        yield pq.read_table(io.BytesIO(files.read(place)), columns=["label", "top_k", "error"])
