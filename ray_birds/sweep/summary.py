"""How a sweep ends: its report, and on the terminal the table and what it means."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ray_birds.core import storage, terminal
from ray_birds.core.errors import first_line
from ray_birds.evaluation.cost import millions
from ray_birds.sweep import tensorboard
from ray_birds.sweep.results import Results


def report(results: Results) -> None:
    """Write the report, and its confusion matrix to TensorBoard's files too. The results are complete by now."""
    try:
        from ray_birds.report.sweep import write_sweep_report  # drawing is of no use before

        write_sweep_report(results)
        if results.winner:
            chart = storage.read(results.directory.path("report", "confusion.png"))
            tensorboard.add_image(results.directory.path("tensorboard", results.winner.name), "confusion", chart)
    except Exception as error:
        reason = first_line(error)
        terminal.say(f"warning: the results are complete, but their report could not be made ({reason})")
        with suppress(OSError):
            storage.remove_file(results.directory.report)  # the live page: nothing is live any more


def show(results: Results) -> None:
    """The table, what it means, and where everything lies."""
    rows = [trial.row() for trial in results.trials]
    scores = ("valid_accuracy", "valid_loss", "test_accuracy")
    usual = {"workers": "1", "gpus": "0", "failures": "0"}
    seen = [name for name, value in usual.items() if any(str(row[name]) != value for row in rows)]
    differ = [name for name in ("feature_seconds", "multiply_adds") if len({row[name] for row in rows}) > 1]
    columns = ("trial", "status", "epochs", *scores, "seconds", "images_per_second", "waited", *differ, *seen)
    cells = [[_cell(column, row[column]) for column in columns] for row in rows]
    folds = results.config.folds
    title = f"Results; valid is the mean over {folds} folds" if folds else "Results"
    terminal.show(terminal.table(title, headings(columns, rows), cells))
    directory = results.directory
    if results.left_out:
        terminal.say(f"note: {results.left_out} --resume with a longer --time-limit goes on")
    if results.significance:
        terminal.say(results.significance.text)
        if results.tta:
            terminal.say(results.tta)
        terminal.say(f"best model   {directory.best}")
        if (cheaper := results.significance.recommended) and not folds:
            terminal.say(f"the cheaper  ray-birds bundle --sweep '{directory.uri}' --trial {cheaper.run}")
    terminal.say(f"results      {directory.uri}")
    if storage.exists(directory.report):
        terminal.say(f"report       {directory.report}")
    terminal.say(f"TensorBoard  tensorboard --logdir '{directory.path('tensorboard')}'")
    terminal.say(f"logs         {directory.path('tune')}; Ray's own in {results.run['ray_logs']} of each node")


def headings(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns' names; that of test accuracies that could be compared says that they must not be."""
    several = sum(row["test_accuracy"] is not None for row in rows) > 1
    return [f"{name}, not for choosing" if several and name == "test_accuracy" else name for name in columns]


def failures(results: Results) -> str:
    """One line on the trials that failed, or on none having ended; empty where all is well."""
    if not results.failed:
        if results.winner is None and results.left_out:
            limit = results.config.time_limit
            return f"no variant ended within --time-limit {limit}; --resume with a longer one goes on"
        return ""
    reasons = "; ".join(f"{trial.name}: {trial.error}" for trial in results.failed)
    return (
        f"{len(results.failed)} of {len(results.trials)} trials failed: {reasons} (logs: "
        f"{results.directory.path('tune')}); --resume tries them again"
    )


def _cell(column: str, value: Any) -> str:
    return millions(value) if column == "multiply_adds" and value else _short(value)


def _short(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:,.0f}" if value >= 100 else f"{value:.4f}" if value <= 1 else f"{value:.1f}"
    return str(value)
