"""The charts that compare the variants of a sweep."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ray_birds.evaluation.metrics import Estimate
from ray_birds.report import charts
from ray_birds.report.charts import BLUE, INK, VERMILLION, WIDTH, Chart
from ray_birds.report.effects import Effect, Gap
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.outcome import Trial

ROW = 0.38  # inches


def comparison(
    names: Sequence[str], valid: Sequence[Estimate], test: Sequence[Estimate | None], on: str = "valid"
) -> Chart:
    """Accuracy of each variant with its 95 % interval, on valid or what `on` says; of the winner also on test."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        charts.rows(axes, names)
        scored = [(row, estimate) for row, estimate in enumerate(test) if estimate is not None]
        _estimates(axes, list(enumerate(valid)), "o", BLUE, on, -0.02)
        _estimates(axes, scored, "s", VERMILLION, "test, of the winner alone", 0.2)
        charts.percent(axes.xaxis)
        axes.set_xlabel("accuracy, with 95 % interval (Wilson)")
        charts.title(axes, "Accuracy of each variant")
        charts.legend(figure, axes, 2)

    return charts.draw(
        "variants", "Accuracy of each variant with its interval", WIDTH, 1.1 + ROW * len(names), paint
    )


def _estimates(
    axes: Axes, rows: Sequence[tuple[int, Estimate]], marker: str, colour: str, label: str, shift: float
) -> None:
    if not rows:
        return
    values = np.array([estimate for _, estimate in rows])
    uris = np.array([row + shift for row, _ in rows])
    arms = np.abs(values[:, 1:] - values[:, :1]).T
    axes.errorbar(
        values[:, 0],
        uris,
        xerr=arms,
        fmt=marker,
        color=colour,
        label=label,
        markersize=5,
        linewidth=1.6,
        capsize=2.5,
    )


def curves(trial: Trial, limits: tuple[float, float, float]) -> Chart:
    """Accuracy and loss by epoch, training and validation: with the start of fine-tuning and the kept epoch.

    `limits`: lowest accuracy, lowest and highest loss of all trials, so that charts can be compared.
    """

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, sharex=True)
        epochs = [row.epoch for row in trial.history]
        start = fine_tuning_starts(trial.history)
        for axes, measure in ((above, "accuracy"), (below, "loss")):
            train = [getattr(row, measure) for row in trial.history]
            valid = [getattr(row, f"valid_{measure}") for row in trial.history]
            axes.plot(epochs, train, "s--", color=VERMILLION, markersize=3.5, label="training")
            axes.plot(epochs, valid, "o-", color=BLUE, markersize=3.5, label="validation")
            if trial.kept:
                value = getattr(trial.kept, f"valid_{measure}")
                axes.plot(trial.kept.epoch, value, "o", color=BLUE, ms=9, fillstyle="none", mew=1.6, label="kept")
            axes.set_ylabel(measure)
            axes.grid(axis="y")
            if start is not None:
                axes.axvline(start - 0.5, color=INK, linestyle=":", linewidth=1.2)
        if start is not None:
            text = " fine-tuning starts"
            above.annotate(text, (start - 0.5, 0.05), xycoords=("data", "axes fraction"), fontsize=8.5)
        accuracy, low, high = limits
        above.set_ylim(max(0.0, accuracy - 0.05), 1.02)
        below.set_ylim(max(0.0, low - 0.05 * (high - low)), high + 0.05 * (high - low))
        charts.percent(above.yaxis)
        below.set_xlabel("epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.suptitle(trial.name, x=0.01, ha="left", fontsize=9, fontweight="bold")
        charts.legend(figure, below, 3)

    return charts.draw(f"curves-{trial.name}", f"Accuracy and loss of {trial.name} by epoch", WIDTH, 3.9, paint)


def curve_limits(trials: Sequence[Trial]) -> tuple[float, float, float]:
    rows = [row for trial in trials for row in trial.history]
    accuracies = [value for row in rows for value in (row.accuracy, row.valid_accuracy) if math.isfinite(value)]
    losses = [value for row in rows for value in (row.loss, row.valid_loss) if math.isfinite(value)]
    return min(accuracies, default=0.0), min(losses, default=0.0), max(losses, default=1.0) or 1.0


def fine_tuning_starts(history: Sequence[Epoch]) -> int | None:
    """The first epoch of the second phase; None where there is none."""
    return next((row.epoch for row in history if row.phase == "fine-tune"), None)


def effect_of(effects: Sequence[Effect]) -> Chart:
    """One row per step of a factor: a dot per pair, and their mean."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        charts.rows(axes, [f"{e.factor}: {e.before} → {e.after}  ({e.epochs} epochs)" for e in effects])
        axes.axvline(0, color=INK, linewidth=1, alpha=0.4)
        for row, effect in enumerate(effects):
            points = [100 * change for change in effect.changes]
            dots = axes.plot(points, [row] * len(points), "o", color=BLUE, alpha=0.75)
            mean = axes.plot([100 * effect.mean], [row], "D", color=VERMILLION, fillstyle="none", mew=1.8)
        axes.margins(x=0.12)
        axes.set_xlabel("change of valid accuracy at the best epoch, in points")
        charts.title(axes, "What one factor alone changes")
        figure.legend([dots[0], mean[0]], ["a pair of variants", "mean"], loc="outside lower left", ncols=2)

    return charts.draw("factors", "Change of valid accuracy by factor", WIDTH, 1.1 + ROW * len(effects), paint)


def over_fitting(gaps: Sequence[Gap]) -> Chart:
    """Training and validation accuracy of each trial in the epoch that is kept, joined by the gap."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        charts.rows(axes, [f"{gap.trial.name}: gap {100 * gap.gap:.1f} points" for gap in gaps])
        uris = np.arange(len(gaps))
        train, valid = [gap.train_accuracy for gap in gaps], [gap.valid_accuracy for gap in gaps]
        axes.hlines(uris, valid, train, color=INK, linewidth=3, alpha=0.3)
        axes.plot(train, uris, "s", color=VERMILLION, markersize=5.5, label="training")
        axes.plot(valid, uris, "o", color=BLUE, markersize=5.5, label="validation")
        charts.percent(axes.xaxis)
        axes.set_xlabel("accuracy in the epoch that is kept")
        charts.title(axes, "Over-fitting: training minus validation")
        charts.legend(figure, axes, 2)

    return charts.draw(
        "over-fitting", "Gap of training and validation accuracy", WIDTH, 1.1 + ROW * len(gaps), paint
    )
