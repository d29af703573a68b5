"""Batch prediction: file list -> read and decode -> predict -> Parquet, as one streaming Ray Data job.

Work goes in units of some hundred files. A unit becomes one part file, whole or not at all, whoever computes
it and however often: that makes a killed worker or a resumed job unable to lose or double a row.
"""

import dataclasses
import math
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import ray

from ray_birds import bundle, cluster, console, files, images, inputs, metrics, predictions
from ray_birds.backbone import use_threads
from ray_birds.bundle import Bundle
from ray_birds.config import PredictConfig
from ray_birds.errors import ModelError, OutputError
from ray_birds.inputs import Found
from ray_birds.predictions import JOB, Output, Summary

_ACTOR_CPUS = 4  # TensorFlow gains little from more threads on batches of 32
_DECODE_CPUS = 0.5  # of a task; decoding is a few percent of a forward pass on a CPU


@dataclasses.dataclass(frozen=True)
class Job:
    """What the workers are told. Unit k is files k*unit .. (k+1)*unit of the list."""

    config: PredictConfig
    model: Bundle
    output: Output
    files: tuple[tuple[str, str], ...]
    unit: int
    threads: int

    def part(self, number: int) -> tuple[tuple[str, str], ...]:
        return self.files[number * self.unit : (number + 1) * self.unit]


def predict(config: PredictConfig) -> None:
    """Score all inputs. The model is checked, and the output's place, before Ray starts."""
    started = time.monotonic()
    model = bundle.verify(config.model)
    if config.model_digest and model.digest != config.model_digest:
        raise ModelError(
            f"{model.place}: its digest is {model.digest}, not --model-digest {config.model_digest}"
        )
    output = Output(files.resolve(config.output))
    found = _open(config, output, model)
    console.say(
        f"{len(found.images):,} images to score, {len(found.ignored):,} other files; model {model.digest}"
    )
    have = cluster.connect(config.verbose)
    try:
        unit = min(512, max(64, math.ceil(len(found.images) / 64)))
        job = Job(config, model, output, found.images, unit, min(_ACTOR_CPUS, have.node_cpus))
        _run(job, have)
    finally:
        cluster.disconnect()
    summary = predictions.summarise(output, model.classes)
    if summary.rows != len(found.images):
        raise OutputError(
            f"{output.staging}: {summary.rows} rows for {len(found.images)} files; run again with --resume"
        )
    evaluation = _evaluate(output, model, summary)
    output.publish(_manifest(job, found, summary, time.monotonic() - started))
    _show(output, summary, evaluation)


def _open(config: PredictConfig, output: Output, model: Bundle) -> Found:
    """The files to score: found now, or with --resume those of the interrupted job."""
    note = files.join(output.staging, JOB)
    interrupted = files.exists(note)
    if config.resume and interrupted:
        job = files.read_json(note)
        if job["model"] != model.digest or job["input"] != list(config.input) or job["top_k"] != config.top_k:
            raise OutputError(
                f"{output.place}: the interrupted job had another --model, --input or --top-k; start anew"
            )
        return Found(*(tuple(tuple(pair) for pair in job[key]) for key in ("images", "ignored")))
    if output.exists() and not config.overwrite and not (interrupted and not files.is_local(output.place)):
        raise OutputError(f"{output.place}: exists; choose another --output, or --overwrite to replace it")
    if interrupted and not config.overwrite:
        raise OutputError(
            f"{output.place}: a job was interrupted; --resume goes on with it, --overwrite starts anew"
        )
    found = inputs.find(config.input)
    files.remove(output.staging)
    job = {"model": model.digest, "input": config.input, "top_k": config.top_k}
    files.write_json(note, job | {"images": found.images, "ignored": found.ignored})
    return found


def _run(job: Job, have: cluster.Resources) -> None:
    """Score the units that have no part yet."""
    units = range(math.ceil(len(job.files) / job.unit))
    done = set(job.output.parts())
    todo = [number for number in units if number not in done]
    if not todo:
        return
    shared = [ray.put(job)]  # in a list: fetched by the workers themselves
    actors = have.gpus or max(1, have.cpus // job.threads)
    rows = (
        ray.data.from_items([{"unit": number} for number in todo], override_num_blocks=len(todo))
        .map(_decode, fn_args=(shared,), num_cpus=_DECODE_CPUS)
        .map(
            Scorer,
            fn_constructor_args=(shared,),
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(todo))),
            num_cpus=1 if have.gpus else max(job.threads - _DECODE_CPUS, _DECODE_CPUS),
            num_gpus=1 if have.gpus else 0,
        )
    )
    failures = 0
    with (
        console.progress("Scoring", sum(len(job.part(number)) for number in todo), "images") as meter,
        cluster.user_errors(),
    ):
        for row in rows.iter_rows():
            failures += row["failed"]
            meter.advance(row["rows"], f"{failures:,} failures")


def _decode(row: dict[str, Any], shared: list["ray.ObjectRef"]) -> dict[str, Any]:
    """A unit's pictures: `pixels` (m, size, size, 3) uint8 of those that can be decoded, in order."""
    job: Job = ray.get(shared[0])
    size = job.model.variant.image_size
    pictures = [
        images.load(inputs.place(given, path), size, job.config.max_pixels)
        for given, path in job.part(row["unit"])
    ]
    good = [picture.pixels for picture in pictures if picture.pixels is not None]
    return {
        "unit": row["unit"],
        "pixels": np.stack(good) if good else np.zeros((0, size, size, 3), np.uint8),
        "width": np.array([picture.width for picture in pictures]),
        "height": np.array([picture.height for picture in pictures]),
        "error": [picture.error for picture in pictures],
    }


class Scorer:
    """Holds the model; scores a unit and writes its part."""

    def __init__(self, shared: list["ray.ObjectRef"]) -> None:
        self._job: Job = ray.get(shared[0])
        use_threads(self._job.threads)
        self._classifier = bundle.load(self._job.model, self._job.config.batch_size)
        self._classifier.warm_up()
        self._known = frozenset(self._job.model.classes)
        everything = len(self._job.model.classes) if self._job.config.probabilities else 0
        self._schema = predictions.schema(everything)

    def __call__(self, unit: dict[str, Any]) -> dict[str, int]:
        scores = iter(self._classifier(unit["pixels"]) if len(unit["pixels"]) else ())
        part = self._job.part(unit["unit"])
        rows = [
            self._row(given, path, None if error else next(scores), int(width), int(height), str(error))
            for (given, path), width, height, error in zip(
                part, unit["width"], unit["height"], unit["error"], strict=True
            )
        ]
        self._job.output.write_part(unit["unit"], rows, self._schema)
        return {"rows": len(rows), "failed": sum(bool(row["error"]) for row in rows)}

    def _row(
        self, given: str, path: str, scores: np.ndarray | None, width: int, height: int, error: str
    ) -> dict[str, Any]:
        """A row of the contract; `scores` (classes,) float32, None where the file could not be decoded."""
        label = inputs.label(given, path, self._known)
        row: dict[str, Any] = {
            "input": given,
            "path": path or given,
            "label": label,
            "width": width,
            "height": height,
        }
        row |= {"error": error, "model": self._job.model.digest}
        if scores is None:
            return row
        classes = self._job.model.classes
        order = np.argsort(-scores, kind="stable")[: self._job.config.top_k]
        row["prediction"], row["probability"] = classes[order[0]], float(scores[order[0]])
        row["top_k"] = [{"label": classes[number], "probability": float(scores[number])} for number in order]
        row["correct"] = None if label is None else label == row["prediction"]
        row["probabilities"] = scores.tolist()
        return row


def _evaluate(output: Output, model: Bundle, summary: Summary) -> metrics.Evaluation | None:
    """Scores against the folders' names, where they are class names; also written beside the parts."""
    if not len(summary.labels):
        return None
    evaluation = metrics.evaluate(summary.labels, summary.predictions, model.classes, summary.ranked)
    files.write_json(files.join(output.staging, "_evaluation", "metrics.json"), evaluation.to_json())
    files.write(
        files.join(output.staging, "_evaluation", "per_class.csv"), evaluation.per_class_csv().encode()
    )
    return evaluation


def _manifest(job: Job, found: Found, summary: Summary, seconds: float) -> dict[str, Any]:
    everything = len(job.model.classes) if job.config.probabilities else 0
    return {
        "files": len(found.images),
        "rows": summary.rows,
        "failed": sum(summary.failures.values()),
        "failures": dict(summary.failures.most_common()),
        "ignored": [{"path": path, "reason": reason} for path, reason in found.ignored],
        "schema": {field.name: str(field.type) for field in predictions.schema(everything)},
        "model": {"place": job.model.place, "digest": job.model.digest, "trial": job.model.variant.name()},
        "settings": dataclasses.asdict(job.config),
        "versions": bundle.versions(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
    }


def _show(output: Output, summary: Summary, evaluation: metrics.Evaluation | None) -> None:
    failed = sum(summary.failures.values())
    console.say(f"{summary.rows:,} rows, {failed:,} of them files that could not be decoded")
    for reason, count in summary.failures.most_common(5):
        console.say(f"  {count:,} x {reason}")
    if evaluation is not None:
        scores = evaluation.to_json()
        for name in [
            key for key in scores if key == "accuracy" or key.startswith("top_") or key == "macro_f1"
        ]:
            value = scores[name]
            console.say(
                f"{name:9} {value['value']:.4f}  (95 % interval {value['low']:.4f} to {value['high']:.4f})"
            )
    console.say(f"predictions  {output.place}")
