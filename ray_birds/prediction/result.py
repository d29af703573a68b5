"""What a prediction gives: one row per input file, with scores where labels are known; and how it is shown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ray_birds.config import PredictConfig
from ray_birds.core import storage, terminal
from ray_birds.core.errors import DataError
from ray_birds.core.text import have
from ray_birds.data import decode
from ray_birds.evaluation.leakage import HeldOut
from ray_birds.evaluation.leakage import said as held
from ray_birds.evaluation.metrics import Estimate, Evaluation
from ray_birds.prediction.output import Output

if TYPE_CHECKING:
    import pandas as pd

_SIDE = 512  # pixels of a saved photo, before it gets its own shape again


@dataclass(frozen=True)
class Predictions:
    """One row per input file. `uri` is the output's folder, "" for a photo that was only looked at.

    `manifest` is what the folder's _manifest.json says. `evaluation` holds the scores where labels are known,
    without images that the model was trained on or chosen by; `held_out` counts both.
    """

    uri: str
    manifest: dict[str, Any]
    evaluation: Evaluation | None
    held_out: HeldOut | None
    table: pa.Table | None = None  # the rows of a photo without an output

    def to_pandas(self) -> "pd.DataFrame":
        """All rows, with the columns of docs/predictions.md; they are read from the output."""
        import pandas as pd

        if self.table is not None:
            return self.table.to_pandas()
        return pd.concat([part.to_pandas() for part in Output(self.uri).published()], ignore_index=True)

    @property
    def answer(self) -> str:
        """How many predictions were accepted and, where labels are known, how many are right; or empty."""
        answer = self.manifest.get("answer") or {}
        if answer.get("accepted") is None:
            return ""
        scored = self.manifest["rows"] - self.manifest["failed"]
        said = f"{answer['accepted']:,} of {scored:,} predictions are accepted"
        if not answer["labelled"]:
            return f"{said}."
        images = answer["labelled"]
        accuracy, one = held(Estimate.from_json(answer["accuracy"]), images), images == 1
        label = f"{said}; of {images:,} that {have(images)} a label"
        without = f", {again:,} that it has seen left out" if (again := answer["seen"]["images"]) else ""
        return f"{label}{without}, {accuracy} {'is' if one else 'are'} right."

    @property
    def failures(self) -> "pd.DataFrame":
        """The rows of files that could not be scored: `input`, `path` and `error`."""
        rows = self.to_pandas()
        return rows.loc[rows["error"] != "", ["input", "path", "error"]].reset_index(drop=True)

    @property
    def report(self) -> str:
        return storage.join(self.uri, "_report.html") if self.uri else ""

    def __repr__(self) -> str:
        scores = f", accuracy {self.evaluation.accuracy.value:.4f}" if self.evaluation else ""
        rows, failed = self.manifest["rows"], self.manifest["failed"]
        return f"<Predictions: {rows:,} rows, {failed:,} failed{scores}, {self.uri!r}>"


def show(predictions: Predictions, config: PredictConfig) -> None:
    """Print what was scored and how well; of a single photo its most probable classes."""
    manifest = predictions.manifest
    if predictions.uri:
        terminal.say(f"{manifest['rows']:,} rows, {manifest['failed']:,} of them files that could not be decoded")
        if counts := manifest.get("update"):
            terminal.say(", ".join(f"{count:,} {name}" for name, count in counts.items()))
        for reason, count in list(manifest["failures"].items())[:5]:
            terminal.say(f"  {count:,} x {reason}")
        if made := manifest.get("sequences"):
            timed, rest = made["images"], manifest["rows"] - made["images"]
            terminal.say(f"{made['number']:,} sequences of {timed:,} images; {rest:,} have no time")
        if predictions.held_out and predictions.held_out.seen:
            terminal.say(predictions.held_out.sentence)
        _show_scores(predictions.evaluation)
        if predictions.answer:
            terminal.say(predictions.answer)
        terminal.say(f"predictions  {predictions.uri}")
        if storage.exists(predictions.report):
            terminal.say(f"report       {predictions.report}")
        if storage.exists(storage.join(predictions.uri, "_map.html")):
            terminal.say(f"map          {storage.join(predictions.uri, '_map.html')}")
    if manifest["rows"] == 1 and not manifest["failed"]:
        _show_photo(predictions, config)
    elif config.show:
        terminal.say(f"--show is for a single photo: of {manifest['rows']:,} none was saved")


def _show_scores(evaluation: Evaluation | None) -> None:
    for name, value in (evaluation.to_json() if evaluation else {}).items():
        if isinstance(value, dict):
            known = value["low"] is not None
            interval = f"95 % interval {value['low']:.4f} to {value['high']:.4f}" if known else "too few images"
            terminal.say(f"{name:9} {value['value']:.4f}  ({interval})")


def _show_photo(predictions: Predictions, config: PredictConfig) -> None:
    row = predictions.to_pandas().iloc[0]
    uri = storage.at(predictions.manifest["roots"][row["input"]], row["path"])
    show_photo(config, uri, row["label"], list(row["top_k"]))
    for line in _answered(row.to_dict()):
        terminal.say(line)


def _answered(row: Mapping[Any, Any]) -> Iterator[str]:
    """What else a row says of a photo, where that was asked for."""
    if "accepted" in row:
        yield "accepted" if row["accepted"] else "not accepted"
    if "ood_score" in row:
        yield f"{row['ood_score']:.0f} % of valid's images lie no further from the training images"
    if row.get("taxon"):
        yield f"{row['taxon']} ({row['rank']}), {row['taxon_probability']:.1%}"


def show_photo(config: PredictConfig, uri: str, label: str | None, choices: list[dict[str, Any]]) -> None:
    """Print the most probable classes of the photo at `uri`, and with --show save it with the first of them.

    `choices` are those of the column top_k; `label` is None where it is not known.
    """
    first = choices[0]
    known = isinstance(label, str)
    judged = (": right" if first["label"] == label else f": wrong, it is {label}") if known else ""
    terminal.say(f"{uri}{judged}")
    terminal.bars([(choice["label"], choice["probability"]) for choice in choices])
    if config.show:
        from ray_birds.report.photo import write_photo  # matplotlib

        image = decode.load(uri, _SIDE, config.max_pixels, config.max_bytes)
        if image.pixels is None:
            raise DataError(f"{uri}: {image.error}")
        title = f"{first['label']}, {first['probability']:.0%}{judged}"
        target = storage.resolve(f"{PurePath(uri).stem}-prediction.png")
        right = first["label"] == label if known else None
        write_photo(target, image.pixels, (image.width, image.height), title, right)
        terminal.say(f"image        {target}")
