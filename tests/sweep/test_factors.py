"""Factors: a toy one, declared once, shows up everywhere; names tell variants apart; samples differ."""

import dataclasses
import math
import shutil
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
import tyro

from ray_birds import config
from ray_birds.config import TuneConfig
from ray_birds.core.errors import SettingsError
from ray_birds.model import card
from ray_birds.report.effects import effects
from ray_birds.report.sweep import write_sweep_report
from ray_birds.sweep import factors, plan, results
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.factors import Variant, factor, number
from ray_birds.sweep.results import Results
from ray_birds.sweep.tensorboard import Logs
from tests.model.test_card import DATA, evaluation
from tests.report.test_pages import Page, Writer, draw_data
from tests.sweep.test_tensorboard import KEYS, events, hparams


@dataclass(frozen=True)
class Toy(Variant):
    """A variant with one factor more, the one that docs/extending.md adds."""

    focal_gamma: float = factor(
        0.0,
        label="focal gamma",
        help="Gammas of the focal loss; 0: cross-entropy.",
        tried=(0.0, 2.0),
        short=lambda gamma: f"focal{number(gamma)}",
        accepts=lambda gamma: gamma >= 0,
        expected="0 or more",
    )


Toys = config.with_factors(Toy)
PAIR = ("plain-unfreeze0-lr0.001-focal0", "plain-unfreeze0-lr0.001-focal2")


def pair() -> TuneConfig:
    """The settings of a sweep that varies the toy factor alone."""
    return Toys(name="toys", augment=("off",), unfreeze=(0,), head=("adam",))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A finished sweep of `pair`, read from its directory; both of its trials did the same."""
    folder = tmp_path_factory.mktemp("toys")
    data = draw_data(folder / "data", ["a", "b"], 1, 5, ("train", "valid"))
    Writer(folder / "results", data, [("off", "0", 0, 0.6, 10.0)])
    directory = SweepDirectory(str(folder / "results"))
    (done,) = results.read(directory).trials
    for name in PAIR:
        shutil.copytree(directory.path("trials", done.name), directory.path("trials", name))
    found = results.trials(directory, plan.variants(pair()), {}, 0.0)
    directory.write_config(pair())
    directory.write_trials([trial.row() for trial in found])
    directory.write_run(directory.run() | {"winner": PAIR[0], "trials": results.trial_facts(found)})
    return results.read(directory, Toys)


def test_a_toy_is_an_option_with_its_help_and_its_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        tyro.cli(Toys, args=["--help"])
    helped = capsys.readouterr().out
    assert "--focal-gamma" in helped and "Gammas of the focal loss; 0: cross-entropy." in helped
    assert tyro.cli(Toys, args=["--focal-gamma", "1", "3"]).focal_gamma == (1.0, 3.0)
    assert Toys.from_options({"focal_gamma": 1.5}).focal_gamma == (1.5,)
    with pytest.raises(SettingsError, match=r"^--focal-gamma -1\.0: expected 0 or more$"):
        Toys(focal_gamma=(-1.0,))
    assert Toys.from_json(pair().to_json()) == pair()


def test_a_toy_is_an_axis_of_the_grid_and_of_samples() -> None:
    made = plan.variants(Toys()).values()
    points = {(one.augment, one.unfreeze, one.values["focal_gamma"]) for one in made}
    assert len(made) == len(points) == len(plan.variants(TuneConfig())) * 2
    assert len(plan.variants(Toys(preset="article"))) == 4 * 2
    drawn = plan.variants(Toys(search="random", samples=8, focal_gamma=(0.0, 1.0, 2.0)))
    assert {one.values["focal_gamma"] for one in drawn.values()} == {0.0, 1.0, 2.0}


def test_a_trials_name_tells_a_toy_where_it_varies() -> None:
    assert tuple(plan.variants(pair())) == PAIR
    assert tuple(plan.variants(pair().replace(focal_gamma=(2.0,)))) == ("plain-unfreeze0-lr0.001",)


def test_a_toy_is_a_column_of_the_trials(sweep: Results) -> None:
    rows = {trial.name: trial.row() for trial in sweep.trials}
    assert {name: row["focal_gamma"] for name, row in rows.items()} == dict(zip(PAIR, (0.0, 2.0), strict=True))
    table = pd.read_csv(sweep.directory.path("trials.csv")).set_index("trial")
    assert table.focal_gamma.to_dict() == dict(zip(PAIR, (0.0, 2.0), strict=True))
    assert all(isinstance(trial.variant, Toy) for trial in sweep.trials)


def test_a_toy_is_a_column_of_the_hparams_table(tmp_path: Path) -> None:
    logs = Logs(str(tmp_path), plan.variants(pair()))
    for name in PAIR:
        logs.epoch(name, {"epoch": 1} | dict.fromkeys(KEYS, 0.5))
    logs.close()
    assert [hparams(events(tmp_path / name))[0]["focal_gamma"] for name in PAIR] == [0.0, 2.0]


@pytest.mark.integration
def test_a_toy_has_its_effect_in_the_report(sweep: Results) -> None:
    (effect,) = effects(sweep.trials)
    assert (effect.factor, effect.before, effect.after) == ("focal gamma", "0.0", "2.0")
    assert effect.changes == (0.0,)
    page = Page(write_sweep_report(sweep))
    ((_, cells),) = page.rows("effects")
    assert [cell[1] for cell in cells[:2]] == ["focal gamma", "0.0 to 2.0"]
    assert [attributes["data-trial"] for attributes, _ in page.rows("variants")] == list(PAIR)
    assert "focal_gamma" in page.sections["To run it again"]


def test_a_toy_has_its_line_in_the_card() -> None:
    text = card.markdown(Toy(focal_gamma=2.0), "imagenet", DATA, {"valid": evaluation()}, ["It won."], {}, 1)
    assert "- Focal gamma: 2.0\n" in text


def values(kind: Any) -> list[Any]:
    """Some values of a type."""
    inside = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return list(inside)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [value for one in inside for value in values(one)]
    some: dict[Any, list[Any]] = {int: [0, 1, 2], float: [0.0, 0.5, 1.0, 2.0]}
    return some[kind]


@pytest.mark.parametrize("name", factors.factors())
def test_a_name_tells_each_value_of_what_varies(name: str) -> None:
    about = factors.factors()[name]
    some = [value for value in values(factors.types()[name]) if about.accepts(value)]
    names = [Variant(**{name: value}).name([name]) for value in some]
    assert len(set(names)) == len(some) >= 2
    for value, told in zip(some, names, strict=True):
        assert about.short(value) in told
        assert (about.short(value) in Variant(**{name: value}).name()) == about.always


@pytest.mark.parametrize("value", [0.001, 0.0010000001, 1e-05, 0.1 + 0.2, 3.0, math.pi, 1e22])
def test_a_number_in_a_name_gives_it_back(value: float) -> None:
    assert float(number(value)) == value
    assert len(number(value)) <= len(repr(value))


def test_rates_that_hardly_differ_are_two_variants() -> None:
    made = plan.variants(pair().replace(focal_gamma=(0.0,), learning_rate=(0.001, 0.0010000001)))
    assert {name: one.learning_rate for name, one in made.items()} == {
        "plain-unfreeze0-lr0.001": 0.001,
        "plain-unfreeze0-lr0.0010000001": 0.0010000001,
    }


def test_two_variants_of_one_name_are_refused() -> None:
    @dataclass(frozen=True)
    class Vague(Variant):
        gamma: float = factor(0.0, label="gamma", help="Gammas.", tried=(0.0, 2.0), short=lambda gamma: "gamma")

    with pytest.raises(SettingsError, match=r"called plain-unfreeze0-lr0\.001-gamma; give"):
        plan.variants(config.with_factors(Vague)(augment=("off",), unfreeze=(0,)))


def test_samples_are_distinct_and_each_has_every_seed() -> None:
    chosen = TuneConfig(search="random", samples=40, learning_rate=(1e-4, 1e-2), seed=(3, 5))
    made = plan.variants(chosen).values()
    points = {(one.augment, one.unfreeze, one.learning_rate) for one in made}
    assert len(made) == 80 and len(points) == 40
    assert {(*point, seed) for point in points for seed in (3, 5)} == {
        (one.augment, one.unfreeze, one.learning_rate, one.seed) for one in made
    }
    assert all(1e-4 <= one.learning_rate <= 1e-2 for one in made)
    assert plan.variants(chosen) == plan.variants(chosen)


def test_more_samples_than_there_are_variants_are_refused() -> None:
    assert len(plan.variants(TuneConfig(search="random", samples=6))) == 6  # all there are
    with pytest.raises(SettingsError, match=r"^--samples 7: only 6 different variants"):
        plan.variants(TuneConfig(search="random", samples=7))


def test_what_varies_is_told_from_the_variants() -> None:
    some = [Variant(), Variant(unfreeze=10), Variant(seed=1)]
    assert factors.varied(some) == ("unfreeze", "seed")
    assert factors.varied([]) == factors.varied(some[:1]) == ()
    assert some[2].recipe(["seed"]) == some[0].recipe(["seed"])  # replicates share a recipe


def test_every_factor_says_what_it_is() -> None:
    for name, about in factors.factors().items():
        assert about.label and about.help.endswith(".") and about.tried, name
        assert all(about.accepts(value) for value in about.tried), name
        assert dataclasses.replace(Variant(), **{name: about.tried[0]}).values[name] == about.tried[0]
