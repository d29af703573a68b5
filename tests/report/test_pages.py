"""Reports of synthetic results: seeded numbers, drawn JPEGs, real files."""

import csv
import dataclasses
import json
import math
import re
import shutil
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ray_birds.config import ARTICLE_RECIPE, TuneConfig
from ray_birds.core import storage
from ray_birds.data.dataset import scan
from ray_birds.evaluation import metrics
from ray_birds.evaluation.cost import Cost
from ray_birds.prediction import statistics
from ray_birds.prediction.output import Output, optional, read_part, schema, top_k
from ray_birds.prediction.result import Predictions
from ray_birds.report.effects import effects
from ray_birds.report.prediction import write_prediction_report
from ray_birds.report.scores import Scores
from ray_birds.report.sweep import winner_rows, winner_scores, write_sweep_report
from ray_birds.sweep import results, selection
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import Augment, Variant
from ray_birds.sweep.outcome import Trial

pytestmark = pytest.mark.integration  # each draws a whole page

ODD = ["<b>Bold & Co", "$Ruby\"s' Topaz$", "ÉTOURNEAU 鶯", "ABBOTTS --> BABBLER"]
Recipe = tuple[Augment, str, int, float, float]  # augment, unfreeze, seed, valid accuracy, seconds
COST = Cost(0, 12.5, 4_562_000, 385_800_000, 31.0)  # of each variant, beside its training
TTA = {
    "images": 200,
    "accuracy": {"value": 0.71, "low": 0.64, "high": 0.77},
    "tta": {"method": "flip", "accuracy": {"value": 0.725, "low": 0.66, "high": 0.78}},
}
FOUR: list[Recipe] = [
    ("off", "0", 0, 0.80, 57.0),
    ("on", "0", 0, 0.62, 80.0),
    ("on", "10", 0, 0.70, 120.0),
    ("off", "100", 0, 0.82, 219.0),
]


def draw_data(root: Path, classes: list[str], train: int, other: int, splits: tuple[str, ...]) -> Path:
    """A data set of JPEGs of 32 x 32 pixels, each class of another colour."""
    rng = np.random.default_rng(0)
    for split in splits:
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            colour = rng.integers(40, 216, 3)
            for number in range(train if split == "train" else other):
                pixels = np.clip(colour + rng.integers(-30, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return root


def _variant(recipe: Recipe) -> Variant:
    augment, unfreeze, seed = recipe[:3]
    return Variant(
        augment=augment,
        unfreeze="all" if unfreeze == "all" else int(unfreeze),
        seed=seed,
        fine_tune_epochs=5,
        **ARTICLE_RECIPE,
    )


def read(folder: Path) -> results.Results:
    return results.read(SweepDirectory(str(folder)))


class Writer:
    """Writes a results folder as the contract has it."""

    def __init__(self, uri: Path, data: Path, recipes: list[Recipe], *, failed: bool = False) -> None:
        self.uri, self.data = uri, scan(str(data))
        self.rng = np.random.default_rng(1)
        self.directory = SweepDirectory(str(uri))
        uri.mkdir(parents=True, exist_ok=True)
        self._dataset()
        variants = {self._name(recipe): _variant(recipe) for recipe in recipes}
        for (name, variant), recipe in zip(variants.items(), recipes, strict=True):
            self._history(name, variant, self._predict(name, "valid", recipe[3]), recipe[4])
        errors = {}
        if failed:
            variants |= {"aug-unfreezeall-lr0.001-seed0": _variant(("on", "all", 0, 0.0, 0.0))}
            errors["aug-unfreezeall-lr0.001-seed0"] = "out of memory <at> layer & more"
        best = selection.choose(results.trials(self.directory, variants, errors, 0.0))
        if best and "test" in self.data.splits:
            accuracies = {self._name(recipe): recipe[3] for recipe in recipes}
            self._predict(best, "test", accuracies[best])
        found = results.trials(self.directory, variants, errors, 0.0, dict.fromkeys(variants, COST))
        if best:
            storage.write_json(
                f"{self.directory.best}/metrics.json", {"temperature": {"value": 1.5, "images": 120}, "test": TTA}
            )
        self._facts(best, results.trial_facts(found))
        self.directory.write_trials([trial.row() for trial in found])

    @staticmethod
    def _name(recipe: Recipe) -> str:
        augment, unfreeze, seed = recipe[:3]
        return f"{'aug' if augment == 'on' else 'plain'}-unfreeze{unfreeze}-lr0.001-seed{seed}"

    def _predict(self, trial: str, split: str, accuracy: float) -> float:
        """Write predictions of about `accuracy`, mistakes among few neighbours; returns the exact one."""
        images, classes = self.data.splits[split], self.data.classes
        right = self.rng.random(len(images)) < accuracy
        shift = self.rng.integers(1, min(len(classes), 6), len(images))
        guess = np.where(right, images.labels, (images.labels + shift) % len(classes))
        probability = np.where(right, self.rng.beta(8, 2, len(images)), self.rng.beta(4, 4, len(images)))
        table = {
            "path": list(images.paths),
            "label": [classes[label] for label in images.labels],
            "prediction": [classes[label] for label in guess],
            "probability": pa.array(probability, pa.float32()),
            "correct": right,
        }
        folder = self.uri / "trials" / trial
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), folder / f"{split}_predictions.parquet")
        return float(right.mean())

    def _history(self, trial: str, variant: Variant, last: float, seconds: float) -> None:
        epochs = []
        for number in range(1, variant.epochs + 1):
            grown = 1 - math.exp(-number / 2)
            epochs.append(
                Epoch(
                    epoch=number,
                    phase="head" if number <= 5 else "fine-tune",
                    learning_rate=0.001,
                    loss=3 * (1 - grown) + 0.1,
                    accuracy=min(1.0, grown + 0.02),
                    valid_loss=3 * (1 - grown) + 0.6 + 0.05 * max(0, number - 6),
                    valid_accuracy=last if number == variant.epochs else last * grown,
                    seconds=seconds / variant.epochs,
                    images_per_second=100,
                    batch_size=32,
                    valid_macro_f1=last if number == variant.epochs else last * grown,
                    waited=0.25 if number == 1 else 0.05,
                )
            )
        self.directory.write_history(trial, [dataclasses.asdict(epoch) for epoch in epochs])

    def _facts(self, winner: str | None, trials: dict[str, Any]) -> None:
        config = TuneConfig(data=self.data.root, name="tried", unfreeze=(0, 10, 100))
        (self.uri / "config.json").write_text(config.to_json())
        about = {"layers": 238, "parameters": 4049571, "trainable": {"0": [], "10": ["block7a_se", "top_bn"]}}
        run = {
            "command": ["python", "jobs/tune.py", "--data", "with space"],
            "started": "2026-01-01T10:00:00", "finished": "2026-01-01T10:10:00", "seconds": 600.0,
            "versions": {"python": "3.11", "ray": "2.60.0"}, "machine": {"nodes": 1, "cpus": 2, "gpus": 0},
            "winner": winner, "backbones": {"EfficientNetB0": about}, "trials": trials, "gpus_per_trial": 0.0,
        }  # fmt: skip
        (self.uri / "run.json").write_text(json.dumps(run))
        _write_csv(
            self.uri / "bad_images.csv", [{"split": "train", "path": "train/x.jpg", "reason": "empty file"}]
        )

    def _dataset(self) -> None:
        splits = {name: len(split) for name, split in self.data.splits.items()}
        facts = {
            "root": self.data.root, "fingerprint": "abc", "classes": list(self.data.classes),
            "splits": splits, "notes": ["a <note>"], "bad_images": 1, "copies": {},
            "weights": "of the weights",
        }  # fmt: skip
        (self.uri / "dataset.json").write_text(json.dumps(facts))


def _write_csv(uri: Path, rows: list[dict[str, Any]]) -> None:
    uri.parent.mkdir(parents=True, exist_ok=True)
    with uri.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


class Page(HTMLParser):
    """Tables by id (rows of cells: attributes and text), text, headings with the text below them, images."""

    VOID = frozenset({"img", "meta", "br", "link", "input"})

    def __init__(self, uri: str) -> None:
        super().__init__()
        self.tables: dict[str, list[tuple[dict[str, str], list[tuple[dict[str, str], str]]]]] = {}
        self.sections: dict[str, str] = {}
        self.by_id: dict[str, str] = {}
        self.images: list[str] = []
        self.links: list[str] = []
        self.stack: list[tuple[str, dict[str, str]]] = []
        self.uri = Path(uri)
        self.source = self.uri.read_text()
        self.heading = self.table = ""
        self.feed(self.source)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.links += [found[key] for key in ("src", "href", "xlink:href") if key in found]
        if tag not in self.VOID:
            self.stack.append((tag, found))
        if tag == "img":
            self.images.append(found["src"])
            self.sections[self.heading] += "[image]"
        elif tag == "svg":
            self.sections[self.heading] += "[chart]"
        elif tag == "h2":
            self.heading = ""
        elif tag == "table":
            self.table = found.get("id", "")
            self.tables[self.table] = []
        elif tag == "tr":
            self.tables[self.table].append((found, []))
        elif tag in ("td", "th"):
            self.tables[self.table][-1][1].append((found, ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self.stack]
        for _, found in self.stack:
            if "id" in found:
                self.by_id[found["id"]] = self.by_id.get(found["id"], "") + data
        if "h2" in tags:
            self.heading += data
            self.sections[self.heading] = ""
        elif "style" not in tags and "script" not in tags:
            self.sections[self.heading] = self.sections.get(self.heading, "") + data
        if "td" in tags or "th" in tags:
            cells = self.tables[self.table][-1][1]
            cells[-1] = (cells[-1][0], cells[-1][1] + data)

    def rows(self, table: str) -> list[tuple[dict[str, str], list[tuple[dict[str, str], str]]]]:
        """Rows below the heading of a table."""
        return self.tables[table][1:]


def check_page(page: Page, folder: Path | None = None) -> None:
    """What holds for every page: no network, no empty section, not too large; in `folder` its charts."""
    assert all(link.startswith(("data:", "#")) for link in page.links), page.links
    assert all(text.strip() for text in page.sections.values()), page.sections
    assert len(page.source) < 15e6
    if folder is None:
        return
    charts = page.source.count("<svg")
    assert len(list(folder.glob("*.png"))) >= charts
    assert all(Image.open(file).size[0] > 100 for file in folder.glob("*.png"))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    """A sweep of five trials, two of them replicates, and one that failed; and its page."""
    folder = tmp_path_factory.mktemp("sweep")
    data = draw_data(folder / "data", ODD, train=4, other=25, splits=("train", "valid", "test"))
    Writer(folder / "results", data, [*FOUR, ("off", "0", 1, 0.75, 55.0)], failed=True)
    page = Page(write_sweep_report(read(folder / "results")))
    check_page(page, folder / "results" / "report")
    return folder / "results", page


def test_sweep_sections_come_in_the_order_that_was_asked_for(sweep: tuple[Path, Page]) -> None:
    assert list(sweep[1].sections)[1:] == [
        "The variants",
        "The variants compared",
        "Loss and accuracy by epoch",
        "What each factor does",
        "Over-fitting",
        "What is confused with what",
        "Each class, worst first",
        "How far its certainty can be believed",
        "The most confident mistakes",
        "The data as the models see them",
        "Which layers were trained",
        "The data set",
        "To run it again",
    ]
    assert "recalls" not in sweep[1].tables  # as where classes are even


def test_copies_of_training_images_are_in_no_figure_of_the_winner(sweep: tuple[Path, Page]) -> None:
    found = read(sweep[0])
    split, rows = winner_rows(found)
    assert rows is not None
    new = np.arange(len(rows)) >= 30

    def shown(copies: np.ndarray) -> Scores:
        told = dataclasses.replace(found, dataset=found.dataset | {"copies": {split: tuple(rows.path[copies])}})
        return winner_scores(told, rows, split)[0]

    apart, whole = shown(~new), shown(np.ones(len(rows), bool))
    assert apart.split == "test, copies left out" and whole.split == "test"
    assert apart.evaluation.accuracy.value == rows.correct[new].mean() != whole.evaluation.accuracy.value
    assert apart.evaluation.images == new.sum() and whole.evaluation.images == len(rows)  # there are no others


def test_nor_in_what_trials_csv_and_trackers_say_of_its_test_accuracy(
    sweep: tuple[Path, Page], tmp_path: Path
) -> None:
    directory = SweepDirectory(str(shutil.copytree(sweep[0], tmp_path / "copied")))
    winner = read(sweep[0]).winner
    assert winner is not None and winner.test is not None
    new = np.arange(len(winner.test)) >= 30

    paths = winner.test.path

    def told(copies: np.ndarray) -> Trial:
        facts = {"copies": {"test": paths[copies].tolist()}}
        storage.write_json(directory.path("dataset.json"), directory.dataset() | facts)
        found = read(Path(directory.uri))
        assert found.winner is not None and found.significance is not None
        assert found.significance.test == found.winner.tested
        return found.winner

    apart = told(~new)
    assert apart.test_accuracy == winner.test.correct[new].mean() != winner.test_accuracy
    assert apart.row()["test_accuracy"] == apart.test_accuracy
    assert told(np.ones(len(new), bool)).row()["test_accuracy"] is None  # says nothing of new images


def test_where_classes_are_uneven_the_winner_s_recall_is_beside_the_plain_head_s(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ODD, train=4, other=25, splits=("train", "valid"))
    Writer(tmp_path / "results", data, FOUR)
    directory = SweepDirectory(str(tmp_path / "results"))

    def trained_on(train_images: list[int]) -> results.Results:
        storage.write_json(directory.path("dataset.json"), directory.dataset() | {"train_images": train_images})
        return read(tmp_path / "results")

    assert trained_on([4, 4, 4, 4]).recalls is None
    found = trained_on([9, 3, 5, 4])
    shown = Page(write_sweep_report(found))
    assert found.winner is not None and found.winner.name == "plain-unfreeze100-lr0.001-seed0"
    assert found.recalls is not None and found.recalls.before == "plain-unfreeze0-lr0.001-seed0"
    assert shown.by_id["uneven"] == found.recalls.sentence
    names = found.dataset["classes"]
    assert [attributes["data-class"] for attributes, _ in shown.rows("recalls")] == [
        names[n] for n in (1, 3, 2, 0)
    ]
    trials = {trial.name: trial.valid for trial in found.trials}
    for attributes, cells in shown.rows("recalls"):
        for cell, name in ((cells[3], found.recalls.before), (cells[4], found.recalls.after)):
            rows = trials[name]
            assert rows is not None
            own = rows.label == attributes["data-class"]
            assert float(cell[0]["data-value"]) == pytest.approx(rows.correct[own].mean())


def test_sweep_numbers_equal_trials_csv(sweep: tuple[Path, Page]) -> None:
    folder, page = sweep
    with (folder / "trials.csv").open(encoding="utf-8-sig") as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    shown = page.rows("variants")
    assert len(shown) == len(rows) == 6
    columns = {
        1: "valid_accuracy",
        2: "test_accuracy",
        4: "epochs",
        5: "seconds",
        6: "images_per_second",
        7: "waited",
    }
    for attributes, cells in shown:
        row = rows[attributes["data-trial"]]
        for column, name in columns.items():
            value = float(cells[column][0]["data-value"])
            assert value == float(row[name]) if row[name] else math.isnan(value)
        for column, split in ((1, "valid"), (2, "test")):
            if row[f"{split}_accuracy"]:
                share = float(row[f"{split}_accuracy"])
                estimate = metrics.wilson(round(100 * share), 100)
                cell, text = cells[column]
                assert float(cell["data-low"]) == pytest.approx(estimate.low)
                assert text.startswith(f"{100 * share:.2f} %")
                assert text.endswith(f"{100 * estimate.low:.2f} to {100 * estimate.high:.2f} %")
        assert cells[4][1] == row["epochs"] and cells[11][1] == row["status"]
        assert float(cells[8][0]["data-value"]) == pytest.approx(float(row["seconds"]) + COST.total)
        assert [cells[9][1], cells[10][1]] == ["386 M", "4.56 M"]
    assert shown[0][0]["data-trial"] == json.loads((folder / "run.json").read_text())["winner"]
    accuracies = [float(cells[1][0]["data-value"]) for _, cells in shown]
    assert accuracies[:5] == sorted(accuracies[:5], reverse=True) and math.isnan(accuracies[5])


def test_sweep_says_who_won_and_what_it_means(sweep: tuple[Path, Page]) -> None:
    folder, page = sweep
    winner = json.loads((folder / "run.json").read_text())["winner"]
    test = pq.read_table(folder / "trials" / winner / "test_predictions.parquet")["correct"].to_numpy()
    results = read(folder)
    said = results.significance
    assert said is not None and said.test is not None and said.test.of_all == metrics.accuracy(test)
    assert page.by_id["winner"] == said.sentences[0] and winner.removesuffix("-seed0") in said.sentences[0]
    assert page.by_id["significance"] == "".join(said.sentences[1:])
    shown = {attributes["data-trial"]: cells[3] for attributes, cells in page.rows("variants")}
    against = {one.recipe: one.difference for one in said.comparisons}
    for trial in results.trials:
        if trial.recipe in against and trial.status == "finished":
            attributes, text = shown[trial.name]
            value, low, high = against[trial.recipe]
            assert (float(attributes["data-value"]), float(attributes["data-low"])) == (value, low)
            assert text.startswith(f"{100 * value + 0.0:.2f}{100 * low + 0.0:.2f} to {100 * high + 0.0:.2f}, p ")
    assert "not for choosing" in page.source


def test_sweep_scores_by_class_and_confusions_equal_metrics(sweep: tuple[Path, Page]) -> None:
    folder, page = sweep
    winner = json.loads((folder / "run.json").read_text())["winner"]
    rows = pq.read_table(folder / "trials" / winner / "test_predictions.parquet").to_pylist()
    classes = sorted(ODD)
    labels, predictions = (np.array([classes.index(row[key]) for row in rows]) for key in ("label", "prediction"))
    evaluation = metrics.evaluate(labels, predictions, classes)
    scores = {score.name: score for score in evaluation.per_class}
    shown = page.rows("classes")
    assert [attributes["data-class"] for attributes, _ in shown] == sorted(
        scores, key=lambda n: scores[n].f1.value
    )
    for attributes, cells in shown:
        score = scores[attributes["data-class"]]
        values = [float(cell["data-value"]) for cell, _ in cells[1:]]
        assert values == [score.support, score.f1.value, score.precision.value, score.recall.value]
    pairs = [(cells[0][1], cells[1][1], int(cells[2][1])) for _, cells in page.rows("confused")]
    assert pairs == [pair[:3] for pair in evaluation.confused]
    assert evaluation.macro_f1_text in page.sections["Each class, worst first"]


def test_sweep_effects_and_gaps_equal_the_files(sweep: tuple[Path, Page]) -> None:
    folder, page = sweep
    valid = {}
    for history in folder.glob("trials/*/history.csv"):
        with history.open(encoding="utf-8-sig") as file:
            best = min(csv.DictReader(file), key=lambda row: float(row["valid_loss"]))
        valid[history.parent.name] = float(best["valid_accuracy"])  # trained for too long is no effect
    plain, aug = "plain-unfreeze{}-lr0.001-seed0", "aug-unfreeze{}-lr0.001-seed0"
    shown = {(cells[0][1], cells[1][1]): cells for _, cells in page.rows("effects")}
    expected = {
        ("augmentation", "off to on"): (valid[aug.format(0)] - valid[plain.format(0)], "5"),
        ("unfrozen layers", "0 to 10"): (valid[aug.format(10)] - valid[aug.format(0)], "5 to 10"),
    }
    assert {key: cells[6][1] for key, cells in shown.items()} == {key: pair[1] for key, pair in expected.items()}
    for key, cells in shown.items():
        assert float(cells[3][0]["data-value"]) == pytest.approx(expected[key][0])
    for attributes, cells in page.rows("gaps"):
        with (folder / "trials" / attributes["data-trial"] / "history.csv").open(encoding="utf-8-sig") as file:
            last = list(csv.DictReader(file))[-1]
        train, validation = float(last["accuracy"]), float(last["valid_accuracy"])
        assert [float(cell["data-value"]) for cell, _ in cells[1:4]] == [
            train,
            validation,
            train - validation,
        ]


def test_odd_names_are_text_and_never_markup(sweep: tuple[Path, Page]) -> None:
    page = sweep[1]
    assert "<b>" not in page.source and "<at>" not in page.source and "<note>" not in page.source
    shown = page.source.split("<h2>Each class")[1]
    for name in ODD:
        assert any(attributes["data-class"] == name for attributes, _ in page.rows("classes"))
    assert "&lt;b&gt;Bold &amp; Co" in shown
    assert "out of memory <at> layer & more" in page.sections["The variants"]
    assert "python jobs/tune.py --data 'with space'" in page.by_id["command"]


def test_sweep_shows_mistakes_beside_training_images_and_views(sweep: tuple[Path, Page]) -> None:
    folder, page = sweep
    mistakes = page.sections["The most confident mistakes"]
    winner = json.loads((folder / "run.json").read_text())["winner"]
    rows = pq.read_table(folder / "trials" / winner / "test_predictions.parquet").to_pylist()
    wrong = sorted((row for row in rows if not row["correct"]), key=lambda row: -row["probability"])[:12]
    assert mistakes.count("[image]") == 2 * len(wrong) == 2 * mistakes.count("a training image") - 2
    for row in wrong:
        assert f"taken for {row['prediction']}, {row['probability']:.0%} sure" in mistakes
    views = page.sections["The data as the models see them"]
    assert views.count("[image]") == 6 * 5 and views.count("view 4 of light") == 6
    assert len(set(page.images)) > 6 * 5
    assert "seed" in page.sections["To run it again"] and "train/x.jpg" in page.sections["The data set"]


def test_replicates_show_their_spread(sweep: tuple[Path, Page]) -> None:
    folder, page = sweep
    ((attributes, cells),) = page.rows("spreads")
    assert attributes["data-recipe"] == "plain-unfreeze0-lr0.001"
    trials = read(folder).trials
    values = [trial.valid_accuracy for trial in trials if trial.recipe == "plain-unfreeze0-lr0.001"]
    shown = [float(cell["data-value"]) for cell, _ in cells[2:]]
    assert shown == pytest.approx([np.mean(values), np.std(values, ddof=1), min(values), max(values)])


def test_effects_pair_replicates_of_one_seed(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["a", "b"], 1, 5, ("train", "valid"))
    recipes: list[Recipe] = [("off", depth, seed, 0.7, 10.0) for depth in ("10", "0") for seed in (0, 1, 2)]
    Writer(tmp_path / "results", data, recipes)
    (effect,) = effects(read(tmp_path / "results").trials)
    assert (effect.before, effect.after, effect.epochs) == ("0", "10", "5 to 10")
    assert len(effect.pairs) == 3
    assert all(before.variant.seed == after.variant.seed for before, after in effect.pairs)


def test_one_variant_two_classes_and_no_test_split(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["x", "y"], 1, 4, ("train", "valid"))
    Writer(tmp_path / "results", data, FOUR[:1])
    page = Page(write_sweep_report(read(tmp_path / "results")))
    check_page(page, tmp_path / "results" / "report")
    assert "valid images" in page.by_id["winner"]
    assert "Scored on valid" in page.sections["What is confused with what"]
    said = "has an accuracy of 72.5 % (95 % interval 66.0 to 78.0 %) on test, 71.0 % without. All other scores"
    assert said in page.by_id["tta"]
    assert re.search("temperature of 1.5, .*less certain. What follows is of the model", page.by_id["temperature"])
    assert "No two finished variants differ" in page.sections["What each factor does"]
    assert (
        "No variant of this sweep was trained on changed views" in page.sections["The data as the models see them"]
    )
    (row,) = page.rows("variants")
    assert row[1][2][1] == "––"


def test_all_trials_failed(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["x", "y"], 1, 1, ("train", "valid"))
    Writer(tmp_path / "results", data, [], failed=True)
    page = Page(write_sweep_report(read(tmp_path / "results")))
    check_page(page, tmp_path / "results" / "report")
    assert "no winner" in page.by_id["winner"]
    assert "No variant has an accuracy." in page.sections["The variants compared"]


@pytest.mark.slow
def test_a_data_set_that_is_gone_leaves_the_numbers(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["x", "y"], 1, 30, ("train", "valid", "test"))
    Writer(tmp_path / "results", data, FOUR[:1])
    data.rename(tmp_path / "moved")
    page = Page(write_sweep_report(read(tmp_path / "results")))
    check_page(page, tmp_path / "results" / "report")
    assert "cannot be shown" in page.sections["The data as the models see them"]
    assert "cannot be shown" in page.sections["The most confident mistakes"]
    assert page.images == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [60, 61, 263, 525])
def test_many_classes(tmp_path: Path, number: int) -> None:
    classes = [f"SPECIES NUMBER {index:03d}" for index in range(number)]
    data = draw_data(tmp_path / "data", classes, 1, 2, ("train", "valid", "test"))
    Writer(tmp_path / "results", data, FOUR)
    page = Page(write_sweep_report(read(tmp_path / "results")))
    check_page(page, tmp_path / "results" / "report")
    assert len(page.rows("classes")) == number
    matrix = page.sections["What is confused with what"].split("images.")[1]
    assert ("SPECIES NUMBER 059" in matrix.split("taken for")[0]) == (number == 60)


def run_job(
    uri: Path,
    data: Path,
    *,
    labelled: bool,
    failed: int,
    scored: bool = True,
    seen: int = 0,
    threshold: float | None = None,
    dated: int = 0,
) -> Page:
    """The page of a job on the test split of `data`, and that there is nothing else; its manifest and scores too.

    The model has seen the first `seen` files; of the first `dated` it is known when and where they were taken.
    The input is the folder, or, where labels are not known, each file by itself.
    """
    dataset = scan(str(data))
    split, classes = dataset.splits["test"], dataset.classes
    rng = np.random.default_rng(2)
    scores = rng.dirichlet(np.full(len(classes), 0.3), len(split))
    scores[np.arange(len(split)), split.labels] += rng.random(len(split)) < 0.7
    scores /= scores.sum(axis=1, keepdims=True)
    rows: list[dict[str, Any]] = []
    for number, path in enumerate(split.paths if scored else ()):
        top = top_k(scores[number], classes, 3)
        label = classes[split.labels[number]] if labelled else None
        given = (str(data), path) if labelled else (dataset.uri(path), Path(path).name)
        row = {"input": given[0], "path": given[1], "label": label, "prediction": top[0]["label"]}
        row |= {"probability": top[0]["probability"], "top_k": top, "width": 32, "height": 32, "error": ""}
        row |= {"correct": label == top[0]["label"] if labelled else None, "seen": number < seen}
        rows.append(row | {"model": "abc"})
    for number in range(failed):
        reason = "empty file" if number % 3 else "damaged: <broken> & cut"
        row = {"input": str(data), "path": f"bad {number}.jpg", "width": 0, "height": 0}
        rows.append(row | {"error": reason, "model": "abc"})
    output, more = Output(str(uri)), [pa.field("accepted", pa.bool_()), pa.field("ood_score", pa.float32())]
    more = more if threshold else []
    for row in rows if threshold else ():
        row |= {"accepted": row.get("probability", 0) >= threshold, "ood_score": 50 + len(row["path"]) % 50}
    for number, row in enumerate(rows[:dated]):
        row |= {"taken": datetime(2026, 5, 1, 6 + number % 2, 30), "latitude": -1.04, "longitude": 36.96}
    for number, part in enumerate(np.array_split(np.arange(len(rows)), 3)):
        output.write_part(number, [rows[row] for row in part], schema(answer=more, metadata=bool(dated)))
    asked = optional(schema(answer=more, metadata=bool(dated)))
    parts = (read_part(part, asked) for part in output.parts().values())
    counts = statistics.count(parts, classes)
    evaluation = counts.evaluation()
    held = counts.accepted_held_out()
    about: dict[str, Any] = {"accepted": counts.accepted, "labelled": held and held.unseen, "target_accuracy": 0.9}
    about |= {"threshold": threshold, "reject_unknown": None, "accuracy": held and held.accuracy.to_json()}
    about |= {"seen": held and {"images": held.seen, "accuracy": held.of_seen.to_json()}}
    manifest = {
        "rows": counts.rows,
        "failed": failed,
        "answer": about if threshold else None,
        "failures": dict(counts.failures),
        "ignored": [{"path": f"{number}.txt", "reason": "not an image"} for number in range(20)],
        "seen": counts.seen,
        "notes": ["2 files lie in folders that are no class: <OWLS> (nearest 'OWL')"],
        "roots": {row["input"]: str(data) if labelled else str(Path(row["input"]).parent) for row in rows},
        "model": {"uri": "results/first/best", "digest": "abc"},
        "settings": {"input": [str(data)], "batch_size": 32, "model": "best", "tta": "flip"},
        "versions": {"keras": "3.15.1"},
        "started": "2026-01-01T10:00:00",
        "seconds": 12.5,
        "images_per_second": None,
    }
    output.publish(manifest)
    if evaluation:
        (uri / "_evaluation").mkdir()
        (uri / "_evaluation/metrics.json").write_text(json.dumps(evaluation.to_json()))
        (uri / "_evaluation/per_class.csv").write_text(evaluation.per_class_csv())
    said = Predictions(str(uri), manifest, evaluation, counts.held_out()).answer
    page = Page(write_prediction_report(str(uri), counts, evaluation, manifest, said))
    check_page(page)
    assert page.uri == uri / "_report.html"
    assert pq.read_table(uri).num_rows == len(rows)  # the page is no obstacle to readers of the folder
    return page


def test_prediction_report_equals_the_files_beside_it(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ODD, 1, 20, ("train", "valid", "test"))
    page = run_job(tmp_path / "out", data, labelled=True, failed=7)
    manifest = json.loads((tmp_path / "out/_manifest.json").read_text())
    expected = json.loads((tmp_path / "out/_evaluation/metrics.json").read_text())
    numbers = [int(cells[1][0]["data-value"]) for _, cells in page.rows("counts")]
    assert "<p>2 files lie in folders that are no class: &lt;OWLS&gt; (nearest &#39;OWL&#39;).</p>" in page.source
    assert numbers == [80, 7, 0, manifest["rows"], len(manifest["ignored"])] == [80, 7, 0, 87, 20]
    failures = {cells[0][1]: int(cells[1][1]) for _, cells in page.rows("failures")}
    assert failures == manifest["failures"] == {"empty file": 4, "damaged": 3}
    assert "bad 0.jpg (<broken> & cut)" in page.sections["Files that could not be scored"]
    shown = {attributes["data-score"]: cells[1][0] for attributes, cells in page.rows("scores")}
    for name in ("accuracy", "top_3", "macro_f1"):
        assert [float(shown[name][f"data-{part}"]) for part in ("value", "low", "high")] == list(
            expected[name].values()
        )
    pairs = [[cells[0][1], cells[1][1], int(cells[2][1])] for _, cells in page.rows("confused")]
    assert pairs == [[one["label"], one["prediction"], one["images"]] for one in expected["most_confused"]]
    with (tmp_path / "out/_evaluation/per_class.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert {attributes["data-class"] for attributes, _ in page.rows("classes")} == set(rows)
    for attributes, cells in page.rows("classes"):
        for (cell, _), name in zip(cells[1:], ("support", "f1", "precision", "recall"), strict=True):
            assert float(cell["data-value"]) == float(rows[attributes["data-class"]][name])


def test_prediction_report_shows_images(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ODD, 1, 20, ("train", "valid", "test"))
    page = run_job(tmp_path / "out", data, labelled=True, failed=0)
    assert page.sections["A sample of the predictions"].count("[image]") == 24
    assert page.sections["The least certain"].count("[image]") == 12
    rows = pq.read_table(tmp_path / "out").to_pylist()
    wrong = sorted((row for row in rows if not row["correct"]), key=lambda row: -row["probability"])[:12]
    mistakes = page.sections["The most confident mistakes"]
    assert mistakes.count("[image]") == 2 * len(wrong) == 2 * mistakes.count("one it named right")
    for row in wrong:
        assert f"taken for {row['prediction']}, {row['probability']:.0%} sure" in mistakes


def test_prediction_report_of_images_that_the_model_has_seen(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["x", "y"], 1, 10, ("train", "valid", "test"))
    page = run_job(tmp_path / "out", data, labelled=True, failed=0, seen=8)
    rows = pq.read_table(tmp_path / "out").to_pylist()
    new = [row["correct"] for row in rows if not row["seen"]]
    assert "Of the 12 labelled images that have no byte-for-byte copy among" in page.source
    assert "8 of 20 have one and do not count" in page.source
    shown = {
        attributes["data-score"]: float(cells[1][0]["data-value"]) for attributes, cells in page.rows("scores")
    }
    assert shown["accuracy"] == np.mean(new) and shown["seen"] == np.mean(
        [r["correct"] for r in rows if r["seen"]]
    )
    assert sum(int(cells[1][1]) for _, cells in page.rows("classes")) == 12
    everything = run_job(tmp_path / "all", data, labelled=True, failed=0, seen=20)
    assert "says nothing of new images" in everything.source and "scores" not in everything.tables
    assert everything.sections["The most confident mistakes"].count("though it has seen it") == sum(
        not row["correct"] for row in rows
    )


def test_prediction_report_of_what_is_accepted_and_what_is_unknown(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["x", "y"], 1, 10, ("train", "valid", "test"))
    page = run_job(tmp_path / "out", data, labelled=True, failed=2, seen=3, threshold=0.8)
    rows = pq.read_table(tmp_path / "out").to_pylist()
    accepted = [row for row in rows if row["accepted"]]
    new = [row["correct"] for row in accepted if not row["seen"]]
    assert 3 < len(new) < len(accepted) < 20
    again = sum(row["seen"] for row in accepted)
    said = f"{len(accepted)} of 20 predictions are accepted; of {len(new)} that have a label, {again} that it has"
    assert said in page.sections["What is accepted"] and f"{np.mean(new):.1%}".replace("%", " %") in page.source
    assert "probability of at least 0.8: by its valid images" in page.sections["What is accepted"]
    taken, left = page.sections["What is accepted"].split("Not accepted, at random")
    assert taken.count("[image]") == min(len(accepted), 12) and left.count("[image]") == min(
        20 - len(accepted), 12
    )
    furthest = max(row["ood_score"] for row in rows if not row["error"])
    assert f"further than {furthest:.0f} % of valid" in page.sections["The most unknown"]
    assert "coverage: share of the images" in page.sections["Coverage against accuracy"]
    none = run_job(tmp_path / "none", data, labelled=False, failed=0, threshold=1.1)
    assert "0 of 20 predictions are accepted." in none.source and "None is." in none.source


def test_prediction_report_of_when_and_where(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["x", "y"], 1, 10, ("train", "valid", "test"))
    page = run_job(tmp_path / "out", data, labelled=True, failed=1, dated=9)
    said = page.sections["When and where"]
    assert "Of the 20 scored files 9 say when they were taken and 9 where." in said
    assert "Predictions by hour" in said and "Images by place: 9 at the largest mark" in said
    undated = run_job(tmp_path / "undated", data, labelled=True, failed=1)
    assert "When and where" not in undated.sections


def test_prediction_report_without_labels(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["x", "y"], 1, 3, ("train", "valid", "test"))
    page = run_job(tmp_path / "out", data, labelled=False, failed=0)
    assert "scores" not in page.tables and "No label is known" in page.source
    assert page.sections["A sample of the predictions"].count("[image]") == 6
    assert "There are none" in page.sections["Files that could not be scored"]


def test_prediction_report_where_every_file_failed(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["x", "y"], 1, 1, ("train", "valid", "test"))
    page = run_job(tmp_path / "out", data, labelled=True, failed=4, scored=False)
    assert "No file was scored" in page.sections["Certainty, and what was found"]
    assert "No file was scored" in page.sections["The least certain"]


def test_prediction_report_where_the_images_are_gone(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data", ["x", "y"], 1, 3, ("train", "valid", "test"))
    for image in (data / "test").rglob("*.jpg"):
        image.write_bytes(b"")  # found, but no longer an image
    page = run_job(tmp_path / "out", data, labelled=True, failed=0)
    assert "no longer where they were" in page.sections["A sample of the predictions"] and page.images == []
    assert "6 of 6 files scored" in page.source
