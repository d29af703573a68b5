"""What a prediction job has to do: its files, those of now or of the run that it continues."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pyarrow as pa

from ray_birds.config import PredictConfig
from ray_birds.core import terminal
from ray_birds.core.errors import OutputError, RayBirdsError
from ray_birds.core.settings import option
from ray_birds.data import decode
from ray_birds.model.bundle import Bundle
from ray_birds.prediction import answer, inputs, labelled, steps, update
from ray_birds.prediction.inputs import Found
from ray_birds.prediction.listing import Listing
from ray_birds.prediction.output import Output
from ray_birds.prediction.update import Changes

_UNIT = 512  # files, fewer where a job is small or its images are large
_UNIT_BYTES = 80_000_000  # of decoded pixels


@dataclasses.dataclass(frozen=True)
class Work:
    """The files of a job, and what is to be said of them; `changes` where the job brings an output up to date.

    `ignored` are those that are no image, with the reason; `roots` is where the paths of each input begin.
    """

    files: Listing
    roots: dict[str, str]
    ignored: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    changes: Changes | None = None


def begin(config: PredictConfig, output: Output, model: Bundle) -> Work | None:
    """The files to score: found now, or those of the interrupted job; None where the output is complete."""
    decides = settings(config, model)
    note = output.interrupted()
    if note is not None and config.resume:
        _compare(output, note["settings"], decides)
        return _work(output, note)
    if note is not None and not config.overwrite:
        raise OutputError(f"{output.uri}: a job was interrupted; --resume continues it, --overwrite starts anew")
    if note is None and output.exists():
        manifest = output.manifest()
        if (config.resume or config.update) and manifest is not None and output.complete():
            _compare(output, manifest["job"], decides)
            return _open_complete(config, output, model, manifest)
        if not config.overwrite:
            raise OutputError(
                f"{output.uri}: exists; choose another --output, --update to bring it up to date, or --overwrite "
                "to replace it"
            )
        if manifest is None:
            raise OutputError(
                f"{output.uri}: holds other things than predictions; choose another --output, or empty it"
            )
    return _start(config, output, model, labelled.find(config, model.classes))


def _work(output: Output, note: dict[str, Any]) -> Work:
    """What a job that was interrupted has to do, by its note. Raises OutputError where that lacks its list."""
    if "files" not in note:
        raise OutputError(f"{output.uri}: an older ray-birds began its job; --overwrite starts anew")
    changes = Changes(**note["changes"]) if note["changes"] else None
    ignored = tuple((path, reason) for path, reason in note["ignored"])
    return Work(output.listing(note), note["roots"], ignored, tuple(note["notes"]), changes)


def _open_complete(config: PredictConfig, output: Output, model: Bundle, manifest: dict[str, Any]) -> Work | None:
    """What has changed since the output was made, with --update as work; None where nothing is to be done."""
    try:
        found = labelled.find(config, model.classes)
        _check_same(output, manifest, found.roots, steps.columns(config))
    except RayBirdsError:
        if config.update:
            raise
        terminal.say(f"{output.uri} is complete already; nothing to do")
        return None
    changes, kept = update.compare(output, found, model.classes)
    if changes and config.update:
        return _start(config, output, model, found, changes, kept)
    if changes:
        terminal.say(
            f"{output.uri} is complete, but its images are no longer the same: {changes}; --update scores these"
        )
    else:
        terminal.say(f"{output.uri} is complete already; nothing to do")
    return None


def _check_same(output: Output, manifest: dict[str, Any], roots: dict[str, str], columns: pa.Schema) -> None:
    """Raises OutputError where rows of an earlier job cannot stand beside those of this one."""
    if manifest["roots"] != roots:
        had, now = next((had, roots[given]) for given, had in manifest["roots"].items() if roots[given] != had)
        raise OutputError(f"{output.uri}: its --input led to {had}, not {now}; --overwrite starts anew")
    if (manifest["schema"], manifest.get("decoder")) != (types(columns), decode.VERSION):
        raise OutputError(
            f"{output.uri}: another version of ray-birds made its rows, which --update cannot keep; "
            "--overwrite starts anew"
        )


def _start(
    config: PredictConfig,
    output: Output,
    model: Bundle,
    found: Found,
    changes: Changes | None = None,
    kept: np.ndarray | None = None,
) -> Work:
    notes = tuple(inputs.notes(found, model.classes))
    note = {
        "settings": settings(config, model),
        "roots": found.roots,
        "ignored": found.ignored,
        "notes": notes,
        "changes": changes and changes._asdict(),
    }
    files = found.tables(model.classes)
    if kept is not None:
        files = update.marked(files, kept)
    unit = unit_size(len(found), model.variant.image_size, config.batch_size)
    made = output.start(note, files, unit)
    return Work(made, found.roots, found.ignored, notes, changes)


def settings(config: PredictConfig, model: Bundle) -> dict[str, Any]:
    """What decides the rows, as JSON gives it back."""
    names = ["input", "batch_size", "tta", "top_k", "probabilities", "embeddings", "metadata", "sequence_seconds"]
    names += ["max_pixels", "max_bytes", "labels", "columns"]
    values: dict[str, Any] = json.loads(config.to_json())
    return {"model": model.digest} | {name: values[name] for name in names} | answer.settings(config)


def _compare(output: Output, before: dict[str, Any], now: dict[str, Any]) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(PredictConfig)} | {"columns": []}
    for name, value in now.items():
        had = before.get(name, defaults[name])  # an option that is younger than the job was off
        if had != value:
            raise OutputError(
                f"{output.uri}: its job had another {option(name)} ({had}, not {value}); "
                "--resume and --update need the same, --overwrite starts anew"
            )


def unit_size(count: int, size: int, batch: int) -> int:
    """Files in a unit: full batches, and enough units for a small job to be spread and its progress seen."""
    most = min(_UNIT, _UNIT_BYTES // (size * size * 3))
    return max(1, min(most, max(64, math.ceil(count / 64))) // batch) * batch


def types(columns: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in columns}
