"""The charts of one model's predictions: confusion, scores by class, certainty."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ray_birds.evaluation.calibration import Certainty
from ray_birds.evaluation.metrics import ClassScore, wilson
from ray_birds.report import charts
from ray_birds.report.charts import BLUE, GREY, INK, VERMILLION, WIDTH, Chart

NAMED = 60  # classes whose names still fit the side of a confusion matrix
COUNTED = 20  # classes up to which the cells also show their numbers
BINS = 20


def confusion(matrix: np.ndarray, names: Sequence[str], split: str) -> Chart:
    """The whole matrix: with names to 60 classes, beyond as an image of where its mistakes lie."""
    alt = f"Confusion matrix of {split}, {len(names)} classes"
    if len(names) > NAMED:
        return charts.draw("confusion", alt, WIDTH, 4.6, lambda figure: _confusion_chart(figure, matrix, split))
    longest = max(len(name) for name in names)
    margin = 0.6 + 0.073 * min(longest, 32)
    side = max(0.19 * len(names), 1.9)
    return charts.draw(
        "confusion",
        alt,
        max(margin + side, WIDTH),
        margin + side + 0.5,
        lambda figure: _confusion_table(figure, matrix, names, split),
    )


def _confusion_table(figure: Figure, matrix: np.ndarray, names: Sequence[str], split: str) -> None:
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    right = np.where(np.eye(len(matrix), dtype=bool), share, np.nan)
    wrong = np.where(~np.eye(len(matrix), dtype=bool) & (matrix > 0), share, np.nan)
    for part, colour in ((right, BLUE), (wrong, VERMILLION)):
        rgb = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        # Opacity is the share of the class; it starts at 15 % so that a single image is seen.
        alpha = np.where(part > 0, 0.15 + 0.85 * np.nan_to_num(part), 0.0)
        pixels = np.dstack([np.broadcast_to(value, matrix.shape) for value in rgb] + [alpha])
        axes.pcolormesh(pixels, edgecolors="none")
    if len(names) <= COUNTED:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if share[row, column] > 0.6 else INK
            number = f"{matrix[row, column]}"
            axes.text(column + 0.5, row + 0.5, number, ha="center", va="center", fontsize=7.5, color=colour)
    labels = [charts.fitted(name, 32) for name in names]
    uris = np.arange(len(names)) + 0.5
    axes.set_xticks(uris, labels, rotation=90, fontsize=8)
    axes.set_yticks(uris, labels, fontsize=8)
    axes.tick_params(length=0)
    axes.set_ylim(len(names), 0)
    axes.set_aspect("equal")
    axes.grid(False)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    figure.suptitle(
        f"Confusion ({split}): right blue, wrong orange", x=0.01, ha="left", fontsize=9.5, weight="bold"
    )


def _confusion_chart(figure: Figure, matrix: np.ndarray, split: str) -> None:
    axes = figure.subplots()
    rows, columns = np.nonzero(matrix)
    counts = matrix[rows, columns]
    on = rows == columns
    for chosen, colour, label in ((on, BLUE, "right"), (~on, VERMILLION, "wrong")):
        size = 5 + 40 * counts[chosen] / counts.max(initial=1)
        axes.scatter(
            columns[chosen],
            rows[chosen],
            s=size,
            color=colour,
            alpha=0.6,
            linewidths=0,
            label=label,
            rasterized=True,
        )
    axes.set_xlim(-3, len(matrix) + 2)
    axes.set_ylim(len(matrix) + 2, -3)
    axes.set_aspect("equal")
    axes.set_xlabel("taken for (number of the class, by name)")
    axes.set_ylabel("class (number, by name)")
    charts.title(axes, f"Confusion ({split}), {len(matrix)} classes")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, title="area: number of images")


def worst_classes(scores: Sequence[ClassScore], split: str) -> Chart:
    """F1 with its interval of the classes given, in their order."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        charts.rows(axes, [f"{score.name}  ({score.support})" for score in scores])
        values = np.array([score.f1 for score in scores])
        arms = np.abs(values[:, 1:] - values[:, :1]).T
        axes.errorbar(
            values[:, 0], np.arange(len(scores)), xerr=arms, fmt="o", color=BLUE, markersize=4.5, capsize=2.5
        )
        axes.set_xlim(-0.02, 1.02)
        charts.percent(axes.xaxis)
        axes.set_xlabel("F1, with 95 % interval; in brackets: images")
        charts.title(axes, f"Classes with the lowest F1 ({split})")

    return charts.draw("f1", "F1 of the weakest classes", WIDTH, 0.9 + 0.38 * len(scores), paint)


def certainty(labelled: Certainty, unlabelled: Certainty | None = None) -> Chart:
    """How sure the model is: images by the probability of their prediction; right and wrong where known."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        known = labelled.bins(BINS)
        parts = [("right", BLUE, known.right), ("wrong", VERMILLION, known.images - known.right)]
        if unlabelled is not None:
            parts.append(("no label", GREY, unlabelled.bins(BINS).images))
        charts.stacked(axes, np.arange(BINS) / BINS, 0.9 / BINS, parts)
        axes.set_xlim(0, 1)
        charts.percent(axes.xaxis)
        axes.set_xlabel("probability of the prediction")
        axes.set_ylabel("images")
        charts.title(axes, "How certain the predictions are")
        charts.legend(figure, axes, 3)

    return charts.draw("certainty", "Number of images by certainty", WIDTH, 2.9, paint)


def reliability(seen: Certainty) -> Chart:
    """Accuracy against certainty, by tenths of certainty, with intervals and the numbers of images.

    On the diagonal the certainty can be believed.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        tenths = seen.bins(10)
        filled = tenths.images > 0
        images = tenths.images[filled]
        axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=1.2, label="certainty = accuracy")
        sure = tenths.probability[filled] / images
        right = np.array([wilson(*pair) for pair in zip(tenths.right[filled], images, strict=True)]).reshape(-1, 3)
        arms = np.abs(right[:, 1:] - right[:, :1]).T
        axes.errorbar(
            sure, right[:, 0], arms, fmt="o", color=BLUE, markersize=4.5, capsize=2.5, label="this model, 95 %"
        )
        for x, top, number in zip(sure, right[:, 2], images, strict=True):
            axes.annotate(f"{number:,}", (x, top), (0, 2), textcoords="offset points", ha="center", fontsize=7)
        charts.percent(axes.xaxis)
        charts.percent(axes.yaxis)
        axes.grid()
        axes.set_xlabel("mean probability of the prediction")
        axes.set_ylabel("share that is right; above: images")
        charts.title(axes, "Can its certainty be believed?")
        charts.legend(figure, axes, 2)

    return charts.draw("reliability", "Accuracy by certainty", WIDTH, 3.2, paint)


def coverage(labelled: Certainty, threshold: float | None) -> Chart:
    """Accuracy among the most certain predictions against their share of all, with intervals; where the job's
    threshold lies on it, to the nearest sixtieth of certainty."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        images, right = (np.cumsum(column[::-1]) for column in (labelled.images, labelled.right))
        filled = images > 0
        share = images[filled] / images[-1]
        found = np.array([wilson(*pair) for pair in zip(right[filled], images[filled], strict=True)])
        axes.plot(share, found[:, 0], color=BLUE, label="accuracy")
        axes.fill_between(share, found[:, 1], found[:, 2], color=BLUE, alpha=0.2, linewidth=0, label="95 %")
        if threshold is not None:
            bins = len(labelled.images)
            accepted = images[max(bins - 1 - round(threshold * bins), 0)] / images[-1]
            axes.axvline(accepted, color=VERMILLION, linestyle="--", label=f"probability {threshold:g}")
        axes.set_xlim(0, 1)
        charts.percent(axes.xaxis)
        charts.percent(axes.yaxis)
        axes.grid()
        axes.set_xlabel("coverage: share of the images, the most certain first")
        axes.set_ylabel("accuracy among them")
        charts.title(axes, "Coverage against accuracy")
        charts.legend(figure, axes, 3)

    return charts.draw("coverage", "Accuracy by coverage", WIDTH, 2.9, paint)


def most_found(names: Sequence[str], counts: Sequence[int]) -> Chart:
    """The classes that were predicted most often."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        charts.rows(axes, [f"{name}: {count:,}" for name, count in zip(names, counts, strict=True)])
        axes.barh(np.arange(len(names)), counts, height=0.22, color=BLUE, align="center")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("images")
        charts.title(axes, "Classes found most often")

    return charts.draw("classes", "Number of images by predicted class", WIDTH, 0.9 + 0.38 * len(names), paint)
