"""How a sweep ends: run.json for whoever runs it again, and on the terminal the table and what it means."""

import sys
from datetime import UTC, datetime
from typing import Any

from ray_birds.core import storage, terminal
from ray_birds.core.errors import TrialsFailed
from ray_birds.evaluation.significance import Run, state
from ray_birds.model import bundle
from ray_birds.sweep import tensorboard
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Results, rank


def write_run(plan: Plan, best: str | None, started: datetime, nodes: int, cpus: int, gpus: int) -> None:
    """What is needed to run it again, beside the settings: command, versions, machine, what was trained."""
    finished = datetime.now(UTC)
    facts = {
        "command": ["python", *sys.argv],
        "started": started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": round((finished - started).total_seconds(), 1),
        "versions": bundle.versions(),
        "machine": {"nodes": nodes, "cpus": cpus, "gpus": gpus},
        "cpus_per_trial": plan.threads,
        "gpus_per_trial": plan.gpus,
        "from_features": sorted(plan.stored),
        "winner": best,
        "backbones": {
            name: {
                "layers": about.layers,
                "parameters": about.parameters,
                "trainable": {str(depth): names for depth, names in about.trainable.items()},
                "cut points": {
                    str(depth): [cut_point.name, *cut_point.shape] for depth, cut_point in about.cut_points.items()
                },
            }
            for name, about in plan.backbones.items()
        },
    }
    storage.write_json(plan.results.path("run.json"), facts)


def significance(plan: Plan, best: str) -> str:
    """How the other variants compare with the winner, tested on valid; see `statement.state`."""
    runs = []
    for name, variant in plan.variants.items():
        table = plan.results.predictions(name, "valid")
        history = plan.results.history(name)
        if table is not None and len(history) == variant.epochs:
            recipe = variant.name(with_backbone=len(plan.backbones) > 1)
            seconds = sum(float(epoch["seconds"]) for epoch in history)
            runs.append(Run(name, recipe, variant.seed, seconds, table["correct"].to_numpy()))
    return state(runs, best).text


def show(plan: Plan, rows: list[dict[str, Any]], best: str | None) -> None:
    """The table, the statement, the report and where everything lies. Raises TrialsFailed where trials failed."""
    scores = ("valid_accuracy", "valid_loss", "test_accuracy")
    seen = [name for name in ("gpus", "failures") if any(str(row[name]) != "0" for row in rows)]
    columns = ("trial", "status", "epochs", *scores, "seconds", "images_per_second", *seen)
    ranked = sorted(rows, key=rank)
    terminal.show(
        terminal.table("Results", columns, [[_short(row[column]) for column in columns] for row in ranked])
    )
    if best:
        terminal.say(significance(plan, best))
        terminal.say(f"best model   {plan.results.best}")
    terminal.say(f"results      {plan.results.uri}")
    _report(plan.results, best)
    terminal.say(f"TensorBoard  tensorboard --logdir '{plan.results.path('tensorboard')}'")
    terminal.say(
        f"logs         {plan.results.path('tune')}; Ray's own in /tmp/ray/session_latest/logs of each node"
    )
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        reasons = "; ".join(f"{row['trial']}: {row['error']}" for row in failed)
        raise TrialsFailed(
            f"{len(failed)} of {len(rows)} trials failed: {reasons} (logs: {plan.results.path('tune')}); --resume "
            "tries them again"
        )


def _report(results: Results, best: str | None) -> None:
    """Write the report, and its confusion image to TensorBoard's files too. The results are complete by now."""
    try:
        from ray_birds.report.sweep import write_sweep_report  # drawing is of no use before

        terminal.say(f"report       {write_sweep_report(results.uri)}")
        if best:
            image = storage.read(results.path("report", "confusion.png"))
            tensorboard.add_image(results.path("tensorboard", best), "confusion", image)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        terminal.say(f"warning: the results are complete, but their report could not be made ({reason})")


def _short(value: object) -> str:
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    return str(value) if number.is_integer() else f"{number:.4f}"
