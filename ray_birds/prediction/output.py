"""What a prediction job writes: one row per file in parts with one schema, then a manifest, then _SUCCESS.

Parts are made in a staging folder beside the output. On a local disk the finished folder takes the output's
place by a rename; on an object store it is copied there, _SUCCESS last, and readers wait for that file.
Names that begin with _ are passed over by pandas, pyarrow and Spark when they read the folder.
"""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from ray_birds.core import storage
from ray_birds.core.errors import OutputError, first_line
from ray_birds.prediction import listing
from ray_birds.prediction.listing import Listing

SUCCESS = "_SUCCESS"
MANIFEST = "_manifest.json"
JOB = "_job.json"  # of a job under way: settings and what was found, for --resume
FILES = "_files"  # of a job under way: its list of files
_PART = re.compile(r"part-(\d{6})\.parquet")


_METADATA = [  # see exif.Facts
    ("taken", pa.timestamp("us")),
    ("taken_offset", pa.int16()),
    ("latitude", pa.float64()),
    ("longitude", pa.float64()),
    ("camera", pa.string()),
]
_SEQUENCES = [
    ("sequence", pa.int32()),
    ("sequence_prediction", pa.string()),
    ("sequence_probability", pa.float32()),
]


def schema(
    *,
    probabilities: bool = False,
    embeddings: bool = False,
    metadata: bool = False,
    sequences: bool = False,
    answer: Iterable[pa.Field] = (),
) -> pa.Schema:
    """The columns of every part, those of the options that are given too; `answer` are those of answer.fields."""
    choice = pa.struct([("label", pa.string()), ("probability", pa.float32())])
    fields = [
        ("input", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("probability", pa.float32()),
        ("top_k", pa.list_(choice)),
        ("correct", pa.bool_()),
        ("seen", pa.bool_()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("size", pa.int64()),
        ("modified", pa.timestamp("us", "UTC")),
        ("error", pa.string()),
        ("model", pa.string()),
        *answer,
    ]
    if metadata:
        fields += _METADATA
    if sequences:
        fields += _SEQUENCES
    if probabilities:  # not as lists of one size: pyarrow before 26 cannot read those where one is null
        fields.append(("probabilities", pa.list_(pa.float32())))
    if embeddings:
        fields.append(("embeddings", pa.list_(pa.float32())))
    return pa.schema(fields)


def optional(columns: pa.Schema) -> list[str]:
    """Of the columns of some parts those that not all parts have."""
    return [name for name in columns.names if name not in schema().names]


def top_k(scores: np.ndarray, classes: Sequence[str], k: int) -> list[dict[str, Any]]:
    """The `k` most probable classes, the first one first, as the column of this name; `scores` (classes,)."""
    order = np.argsort(-scores, kind="stable")[:k]
    return [{"label": classes[number], "probability": float(scores[number])} for number in order]


@dataclass(frozen=True)
class Output:
    """An output folder at an absolute URI or path, and the folder beside it in which its parts are made."""

    uri: str

    @property
    def staging(self) -> str:
        return storage.beside(self.uri, ".partial")

    @property
    def _old(self) -> str:
        return storage.beside(self.uri, ".old")

    def exists(self) -> bool:
        """Whether there is anything at the URI; an empty folder is nothing."""
        return storage.kind(self.uri) == fs.FileType.File or bool(storage.find(self.uri))

    def complete(self) -> bool:
        return storage.exists(storage.join(self.uri, SUCCESS))

    def manifest(self) -> dict[str, Any] | None:
        """What an earlier job said of the output; None where it is no output of such a job."""
        uri = storage.join(self.uri, MANIFEST)
        return dict(storage.read_json(uri)) if storage.exists(uri) else None

    def interrupted(self) -> dict[str, Any] | None:
        """The note of a job that has not ended; an output that it had set aside is back in its place."""
        if storage.is_local(self.uri) and not storage.exists(self.uri) and storage.exists(self._old):
            storage.local(self._old).rename(storage.local(self.uri))
        note = storage.join(self.staging, JOB)
        return dict(storage.read_json(note)) if storage.exists(note) else None

    def start(self, note: dict[str, Any], files: Iterable[pa.Table] = (), unit: int = 1) -> Listing:
        """Empty the staging folder and put a job's list of files and, when that is whole, its note into it."""
        with self._writing():
            storage.remove(self.staging)
            made = listing.write(storage.join(self.staging, FILES), files, unit)
            storage.write_json(storage.join(self.staging, JOB), note | {"files": made.count, "unit": unit})
        return made

    def listing(self, note: dict[str, Any]) -> Listing:
        """The list of files of a job under way, by its note."""
        return Listing(storage.join(self.staging, FILES), note["files"], note["unit"])

    def write(self, name: str, data: bytes) -> None:
        """Write a file into the staging folder, whole or not at all."""
        with self._writing():
            storage.write(storage.join(self.staging, name), data)

    def write_part(self, number: int, rows: list[dict[str, Any]], columns: pa.Schema) -> None:
        self.write_table(number, pa.Table.from_pylist(rows, schema=columns))

    def write_table(self, number: int, part: pa.Table) -> None:
        buffer = io.BytesIO()
        pq.write_table(part, buffer)
        self.write(f"part-{number:06d}.parquet", buffer.getvalue())

    def parts(self) -> dict[int, str]:
        """Number -> URI of the parts in staging; a part under its final name is whole."""
        return _parts(self.staging)

    def published(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The parts of a complete output, one at a time, with all columns or these."""
        for uri in _parts(self.uri).values():
            yield pq.read_table(io.BytesIO(storage.read(uri)), columns=columns)

    def publish(self, manifest: dict[str, Any]) -> None:
        """Complete the output and put it in its place; an existing one is removed only then.

        The job's note goes last: whenever this is cut short, --resume does it again.
        """
        with self._writing():
            for info in storage.find(self.staging):
                if info.base_name.startswith("."):  # what a killed worker did not finish
                    storage.remove_file(storage.join(self.staging, storage.relative(info, self.staging)))
            storage.write_json(storage.join(self.staging, MANIFEST), manifest)
            if storage.is_local(self.uri):
                self._rename()
            else:
                self._copy()

    def _rename(self) -> None:
        storage.write(storage.join(self.staging, SUCCESS), b"")
        if self.exists():
            storage.remove(self._old)
            storage.local(self.uri).rename(storage.local(self._old))
        storage.publish(self.staging, self.uri)
        storage.remove(self._old)
        self._end_job()

    def _copy(self) -> None:
        storage.remove_file(storage.join(self.uri, SUCCESS))
        storage.remove(self.uri)
        storage.copy(self.staging, self.uri)
        self._end_job()
        storage.write(storage.join(self.uri, SUCCESS), b"")
        storage.remove(self.staging)

    def _end_job(self) -> None:
        storage.remove(storage.join(self.uri, FILES))
        storage.remove_file(storage.join(self.uri, JOB))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self.staging}: cannot write predictions ({first_line(error)}); an earlier "
                "output is untouched; when this is mended, --resume continues"
            ) from error


def _parts(folder: str) -> dict[int, str]:
    found = {}
    for info in storage.find(folder):
        match = _PART.fullmatch(storage.relative(info, folder))
        if match:
            found[int(match[1])] = storage.join(folder, match[0])
    return dict(sorted(found.items()))


def checked(output: Output, files: Iterable[pa.Table], model: str, more: Iterable[str] = ()) -> Iterator[pa.Table]:
    """The parts in staging, each compared with the files that it should hold, in order.

    They have the columns of `read_part`.

    Raises OutputError where a part is missing, damaged or holds something else.
    """
    uris = output.parts()
    for number, expected in enumerate(files):
        try:
            table = read_part(uris[number], more)
        except (KeyError, OSError, pa.ArrowException) as error:
            raise OutputError(
                f"{output.staging}: part {number} is missing or damaged; remove it and run again with --resume"
            ) from error
        same = all(table[name].to_pylist() == expected[name].to_pylist() for name in ("input", "path"))
        if not same or table["model"].unique().to_pylist() != [model]:
            raise OutputError(
                f"{uris[number]}: {len(table)} rows that are not those of its {len(expected)} files; "
                "remove it and run again with --resume"
            )
        yield table


def read_part(uri: str, more: Iterable[str] = ()) -> pa.Table:
    """A part's rows, with the columns that all parts have and, of the others, those named in `more`."""
    names = [*schema().names, *more]
    return pq.read_table(io.BytesIO(storage.read(uri)), columns=names)


def scored(scores: np.ndarray, classes: Sequence[str], label: str | None, k: int) -> dict[str, Any]:
    """The columns that a row has of an image's probabilities `scores` (classes,)."""
    ranked = top_k(scores, classes, k)
    return {
        "prediction": ranked[0]["label"],
        "probability": ranked[0]["probability"],
        "top_k": ranked,
        "correct": None if label is None else label == ranked[0]["label"],
    }
