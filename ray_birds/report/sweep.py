"""The report of a sweep: report.html in its results folder, the images also in report/."""

import dataclasses
import math
import shlex
from typing import Any

import numpy as np

from ray_birds.core import storage
from ray_birds.data.table import Labels
from ray_birds.evaluation import calibration, metrics
from ray_birds.evaluation.leakage import copied, counted
from ray_birds.evaluation.metrics import Estimate
from ray_birds.report import effects, score_charts, sweep_charts
from ray_birds.report.charts import Chart
from ray_birds.report.gallery import VIEWS, Album, write_sheet
from ray_birds.report.page import write_charts, write_page
from ray_birds.report.scores import Scores, score
from ray_birds.sweep import factors
from ray_birds.sweep.outcome import Predictions, Trial
from ray_birds.sweep.results import Results


def write_sweep_report(sweep: Results) -> str:
    """Write report.html and the PNG files in report/ into the sweep's directory; returns the page's URI.

    Of the data set only some images are read; where these are gone the page says so.
    """
    trials = sweep.trials
    drawn = [trial for trial in trials if trial.history]
    limits = sweep_charts.curve_limits(drawn)
    significance = sweep.significance
    estimates = {trial.name: (valid_estimate(sweep, trial), test_estimate(trial)) for trial in trials}
    scored = [trial for trial in trials if not math.isnan(trial.valid_accuracy)]
    found = effects.effects(sweep.trials)
    gaps = effects.gaps(sweep.trials)
    config = sweep.config
    album = Album(sweep.dataset["root"], config.exclude_class, sweep.splits, Labels.of(config))
    split, rows = winner_rows(sweep)
    scores, certainty = winner_scores(sweep, rows, split) if rows else (None, None)
    values: dict[str, Any] = {
        "sweep": sweep,
        "trials": trials,
        "estimates": estimates,
        "significance": significance,
        "against": {c.recipe: c for c in significance.comparisons} if significance else {},
        "variants": _variants_chart(scored, estimates, sweep.winner, _on(sweep)),
        "recipe": _recipe(sweep),
        "on": _on(sweep),
        "curves": [sweep_charts.curves(trial, limits) for trial in drawn],
        "effects": found,
        "factors": sweep_charts.effect_of(found) if found else None,
        "gaps": gaps,
        "unfinished": sum(1 < one.best_epoch == one.trial.epochs for one in gaps),
        "over_fitting": sweep_charts.over_fitting(gaps) if gaps else None,
        "scores": scores,
        "split": split,
        "certainty": certainty,
        "missing": album.missing,
        "mistakes": album.mistakes(rows) if rows else [],
        "samples": album.samples(sweep.config.seed[0], _views(sweep), _policy(sweep)),
        "augmented": _views(sweep) > 0,
        "command": shlex.join(sweep.run["command"]),
        "splits": ", ".join(f"{name} {images:,}" for name, images in sweep.dataset["splits"].items()),
        "run_facts": _run_facts(sweep),
        "settings": [(name, _text(value)) for name, value in dataclasses.asdict(sweep.config).items()],
    }
    folder = storage.join(sweep.directory.uri, "report")
    single = [values[key] for key in ("variants", "factors", "over_fitting", "certainty") if values[key]]
    write_charts(folder, [*single, *values["curves"], *(scores.charts if scores else [])])
    for name in ("mistakes", "samples"):
        if values[name]:
            write_sheet(storage.join(folder, f"{name}.png"), values[name])
    uri = storage.join(sweep.directory.uri, "report.html")
    write_page(uri, "sweep.html.j2", values)
    return uri


def valid_estimate(sweep: Results, trial: Trial) -> Estimate:
    """Valid accuracy as trials.csv has it, with Wilson's interval for its number of images, or of groups."""
    if trial.valid and trial.valid.group is not None:
        return metrics.accuracy(trial.valid.correct, trial.valid.group)._replace(value=trial.valid_accuracy)
    if math.isnan(trial.valid_accuracy):
        return Estimate(math.nan, math.nan, math.nan)
    total = len(trial.valid) if trial.valid is not None else sweep.dataset["splits"].get("valid", 0)
    if not total:  # folds that have not all ended
        return Estimate(trial.valid_accuracy, math.nan, math.nan)
    return metrics.wilson(round(trial.valid_accuracy * total), total)._replace(value=trial.valid_accuracy)


def test_estimate(trial: Trial) -> Estimate:
    """Test accuracy as trials.csv has it, with Wilson's interval for the images without a copy."""
    return trial.tested.accuracy if trial.tested else Estimate(math.nan, math.nan, math.nan)


def _on(sweep: Results) -> str:
    """What variants are compared on."""
    return f"{sweep.config.folds} folds" if sweep.config.folds else "valid"


def winner_rows(sweep: Results) -> tuple[str, Predictions | None]:
    """The winner's predictions on test, or on valid where there is no test split; and which these are."""
    if sweep.winner is None or sweep.winner.test is None:
        return _on(sweep), sweep.winner.valid if sweep.winner else None
    return "test", sweep.winner.test


def winner_scores(sweep: Results, rows: Predictions, split: str) -> tuple[Scores, Chart]:
    """Scores of `rows` that are no copies, and the chart of their certainty."""
    classes = sweep.dataset["classes"]
    index = {name: number for number, name in enumerate(classes)}
    copies = sweep.dataset["copies"].get("test" if split == "test" else "valid", ())
    new = counted(copied(rows.path.tolist(), copies))
    columns = rows.label[new], rows.prediction[new]
    labels, predictions = (np.array([index[name] for name in names]) for names in columns)
    seen = calibration.certainty(rows.probability[new], rows.correct[new])
    evaluation = metrics.evaluate(labels, predictions, classes)
    return score(evaluation, seen, split + ", copies left out" * (not new.all())), score_charts.certainty(seen)


def _variants_chart(
    trials: list[Trial], estimates: dict[str, tuple[Estimate, Estimate]], winner: Trial | None, on: str
) -> Chart | None:
    """Test accuracies of others, which --score-all makes, are no part of it: they would invite a choice."""
    if not trials:
        return None
    pairs = [estimates[trial.name] for trial in trials]
    tests = [
        test if trial is winner and not math.isnan(test.value) else None
        for trial, (_, test) in zip(trials, pairs, strict=True)
    ]
    return sweep_charts.comparison([trial.name for trial in trials], [valid for valid, _ in pairs], tests, on)


def _views(sweep: Results) -> int:
    """How many different views of an image the sweep trained on, at most VIEWS; 0 without augmentation."""
    if not any(trial.variant.augmented for trial in sweep.trials):
        return 0
    return min(sweep.config.augment_views or VIEWS, VIEWS)


def _recipe(sweep: Results) -> str:
    """How the variants were trained, in a sentence; what they differ in, their names say."""
    variants = [trial.variant for trial in sweep.trials]
    named = [
        f"{about.label} {', '.join(dict.fromkeys(str(one.values[name]) for one in variants))}"
        for name, about in factors.factors(sweep.config.variant).items()
        if name not in ("backbone", "seed")
    ]
    kept = "last" if sweep.config.preset == "article" else sweep.config.keep
    preset = "The article's recipe" if sweep.config.preset == "article" else "The recipe"
    folds = f" of its {sweep.config.folds} folds together" if sweep.config.folds else ""
    return f"{preset}: {'; '.join(named)}. Of each variant the {kept} epoch{folds} is kept."


def _policy(sweep: Results) -> str:
    """The first policy that the sweep drew its views by; "" without augmentation."""
    return next((trial.variant.policy for trial in sweep.trials if trial.variant.augmented), "")


def _run_facts(sweep: Results) -> list[tuple[str, str]]:
    run, machine = sweep.run, sweep.run["machine"]
    return [
        ("started", run["started"]),
        ("took", f"{run['seconds']:,.0f} s"),
        ("machine", ", ".join(f"{value} {name}" for name, value in machine.items())),
        *((name, str(version)) for name, version in run["versions"].items()),
    ]


def _text(value: object) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, (list, tuple)) else str(value)
