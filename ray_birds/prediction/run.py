"""Batch prediction: one Parquet row for every file, published when complete; here all but the scoring itself."""

import dataclasses
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ray_birds.config import PredictConfig
from ray_birds.core import cluster, lock, storage, tables, terminal
from ray_birds.core.errors import ModelError, SettingsError, first_line, resumable
from ray_birds.data import decode
from ray_birds.evaluation import metrics
from ray_birds.model import bundle, repository
from ray_birds.model.bundle import Bundle
from ray_birds.prediction import (
    answer,
    embedding_map,
    explain,
    inputs,
    local,
    pipeline,
    sequences,
    single,
    statistics,
    steps,
    update,
    workload,
)
from ray_birds.prediction.answer import Answer
from ray_birds.prediction.explain import Explained
from ray_birds.prediction.output import Output, checked, optional
from ray_birds.prediction.result import Predictions
from ray_birds.prediction.statistics import Tally
from ray_birds.prediction.steps import Job
from ray_birds.prediction.workload import Work

_LOCAL = 4_096  # images that one process scores by itself: more of them than a Ray's start would repay


def predict(config: PredictConfig) -> Predictions:
    """Score all inputs. The model and the output are checked before Ray starts.

    Without an output a single photo is scored, and nothing is written.

    Raises ModelError, DataError or OutputError, one line each, where the job cannot be done; an output that
    is there already stays as it is until the new one is complete.
    """
    model = bundle.verify(config.model)
    if config.model_digest and model.digest != config.model_digest:
        raise ModelError(f"{model.uri}: its digest is {model.digest}, not --model-digest {config.model_digest}")
    asked = answer.answer(config, model)
    if config.show:
        storage.check_writable(storage.resolve("."), "--show", "change to one that can be written")
    if not config.output:
        return single.predict(config, model, asked)
    output = Output(storage.resolve(config.output))
    if config.sequence_seconds:
        config = config.replace(metadata=True, probabilities=True)
    if config.map:
        embedding_map.check_installed()
        config = config.replace(embeddings=True)
    with lock.held(output.uri), resumable(f"--output {config.output} --resume continues"):
        return _predict(config, model, output, asked)


def _predict(config: PredictConfig, model: Bundle, output: Output, asked: Answer) -> Predictions:
    started, clock = datetime.now(UTC), time.monotonic()
    work = workload.begin(config, output, model)
    if work is None:
        tally = statistics.count(output.published(), model.classes)
        return Predictions(output.uri, output.manifest() or {}, tally.evaluation(), tally.held_out())
    count, also = work.files.count, f"{len(work.ignored):,} other files; model {model.digest}"
    if work.changes:
        kept = work.changes.kept
        terminal.say(f"{count - kept:,} images to score, {kept:,} rows stay ({work.changes}); {also}")
    else:
        terminal.say(f"{count:,} images to score, {also}")
    for line in inputs.reasons(work.ignored):
        terminal.say(f"  {line}")
    for line in work.notes:
        terminal.say(f"note: {line}")
    for line in asked.sentences:
        terminal.say(line)
    score = _update if work.changes else _score
    rate = score(config, output, model, work, asked)
    parts = partial(checked, output, work.files, model.digest)
    found, columns = None, steps.columns(config)
    if config.sequence_seconds:
        found = sequences.fill(output, parts, columns, model.classes, config.sequence_seconds)
    tally = statistics.count(parts([name for name in statistics.ASKED if name in columns.names]), model.classes)
    evaluation = _evaluate(output, tally)
    manifest = {
        **_manifest(config, model, work, tally),
        "answer": _answer(config, asked, tally),
        "sequences": found and found._asdict(),
        "update": work.changes and work.changes._asdict(),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "images_per_second": rate,  # of this run, from the first unit on; null where there was no second one
    }
    output.publish(manifest)
    done = Predictions(output.uri, manifest, evaluation, tally.held_out())
    _report(done, tally, _explained(config, model, tally, work.roots))
    if config.map:
        _map(output, config.map, work.roots)
    return done


def _update(config: PredictConfig, output: Output, model: Bundle, work: Work, asked: Answer) -> float | None:
    """Score what is new or changed, beside the parts, and then write these; as `_score`."""
    assert work.changes is not None
    fresh, rate = update.fresh(output), None
    if len(output.parts()) < work.files.parts:  # else it was cut short after this
        note = fresh.interrupted()
        if note is None:
            count = work.files.count - work.changes.kept
            unit = workload.unit_size(count, model.variant.image_size, config.batch_size)
            files = fresh.start({}, update.todo(work.files), unit)
        else:
            files = fresh.listing(note)
        rate = _score(config, fresh, model, Work(files, work.roots), asked)
        made = checked(fresh, files, model.digest, optional(steps.columns(config)))
        update.merge(output, made, work.files)
    storage.remove(fresh.staging)
    return rate


def _score(config: PredictConfig, output: Output, model: Bundle, work: Work, asked: Answer) -> float | None:
    """Make the parts that are missing; images per second once the actors are at work."""
    done, files = output.parts(), work.files
    todo = [unit for unit in range(files.parts) if unit not in done]
    if not todo:
        return None
    left, total = sum(map(files.size, todo)), files.count
    job = Job(config, model, output, files, work.roots, asked)
    if _is_local(config, left):
        return _follow(local.score(job, todo), total, left)
    with cluster.session(config.verbose) as resources, cluster.user_errors():
        first = files.read(todo[0]).slice(0, 1).to_pylist()[0]
        read = {"--input": storage.at(work.roots[first["input"]], first["path"])}
        if not repository.is_address(model.uri):  # which each node fetches for itself
            read["--model"] = storage.join(model.uri, "versions.json")
        cluster.check_reachable({"--output": output.staging}, read)
        return _follow(pipeline.score(job, todo, _with_gpus(config, resources)), total, left)


def _is_local(config: PredictConfig, images: int) -> bool:
    """Whether the steps run in this process; says which and why where that was for us to choose."""
    if config.engine != "auto":
        return config.engine == "local"
    if images > _LOCAL or config.gpus is not None or cluster.is_running():
        return False
    terminal.say(f"Scoring in this process, for {images:,} images and no Ray that runs; --engine ray starts one")
    return True


def _with_gpus(config: PredictConfig, resources: cluster.Resources) -> cluster.Resources:
    if config.gpus is None:
        return resources
    if config.gpus > resources.gpus:
        if resources.own:
            raise SettingsError(f"--gpus {config.gpus}: Ray finds {resources.gpus} on this machine")
        terminal.say(
            f"{resources.gpus} of {config.gpus} GPUs are there: more of them join when an autoscaler starts nodes"
        )
    return dataclasses.replace(resources, gpus=config.gpus)


def _follow(units: Iterator[dict[str, int]], total: int, left: int) -> float | None:
    """Show progress; the clock starts with the first unit's end, so that loading the model is not in the rate."""
    terminal.say("Loading the model")
    first = next(units)
    failures, scored, start = first["failed"], 0, time.monotonic()
    with terminal.progress("Scoring", total, "images", total - left + first["rows"]) as meter:
        for unit in units:
            failures += unit["failed"]
            scored += unit["rows"]
            meter.advance(unit["rows"], f"{failures:,} failures")
    return round(scored / (time.monotonic() - start), 1) if scored else None


def _evaluate(output: Output, tally: Tally) -> metrics.Evaluation | None:
    """Scores against the folders' names, where they are class names; also written beside the parts."""
    evaluation, held = tally.evaluation(), tally.held_out()
    if held is None:
        return None
    values = (evaluation.to_json() if evaluation else {"images": 0}) | held.to_json()
    output.write("_evaluation/metrics.json", (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())
    if evaluation:
        output.write("_evaluation/per_class.csv", evaluation.per_class_csv().encode(tables.ENCODING))
    return evaluation


def _manifest(config: PredictConfig, model: Bundle, work: Work, tally: Tally) -> dict[str, Any]:
    return {
        "files": work.files.count,
        "rows": tally.rows,
        "failed": tally.failures.total(),
        "failures": dict(tally.failures.most_common()),
        "seen": tally.seen if len(model.seen) else None,
        "ignored": [{"path": path, "reason": reason} for path, reason in work.ignored],
        "notes": list(work.notes),
        "roots": work.roots,
        "schema": workload.types(steps.columns(config)),
        "decoder": decode.VERSION,
        "model": {"uri": model.uri, "digest": model.digest, "trial": model.variant.name()},
        "job": workload.settings(config, model),
        "settings": dataclasses.asdict(config),
        "versions": bundle.versions(),
    }


def _answer(config: PredictConfig, asked: Answer, tally: Tally) -> dict[str, Any]:
    """What was accepted and by what rule; accuracy of images that the model has seen stands apart."""
    held = tally.accepted_held_out()
    return {
        "threshold": asked.threshold,
        "target_accuracy": config.target_accuracy,
        "reject_unknown": asked.reject_unknown,
        "only_classes": list(asked.only),
        "accepted": tally.accepted if asked.accepts else None,
        "labelled": held and held.unseen,
        "accuracy": held and held.accuracy.to_json(),
        "seen": held and {"images": held.seen, "accuracy": held.of_seen.to_json()},
    }


def _explained(
    config: PredictConfig, model: Bundle, tally: Tally, roots: dict[str, str]
) -> dict[str, list[Explained]]:
    """What --explain asks for; as with the report, whatever goes wrong must not lose the predictions."""
    try:
        return explain.explain(config, model, tally, roots) if config.explain else {}
    except Exception as error:
        terminal.say(f"warning: the predictions are complete, but --explain failed ({first_line(error)})")
        return {}


def _map(output: Output, count: int, roots: dict[str, str]) -> None:
    """Write the page of --map; as with the report, whatever goes wrong must not lose the predictions."""
    try:
        from ray_birds.report.embedding_map import write_map

        points = embedding_map.points(output.published(embedding_map.COLUMNS), count)
        write_map(output.uri, points, roots)
    except Exception as error:
        reason = first_line(error)
        terminal.say(f"warning: the predictions are complete, but their map could not be made ({reason})")


def _report(done: Predictions, tally: Tally, explained: dict[str, list[Explained]]) -> None:
    """Write the page. The predictions are in place by now: whatever goes wrong here must not lose them."""
    try:
        from ray_birds.report.prediction import write_prediction_report  # drawing is of no use before

        write_prediction_report(done.uri, tally, done.evaluation, done.manifest, done.answer, explained)
    except Exception as error:
        reason = first_line(error)
        terminal.say(f"warning: the predictions are complete, but their report could not be made ({reason})")
