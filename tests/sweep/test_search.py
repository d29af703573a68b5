"""Variants as points of Tune's search space; Optuna's suggestions, each variant once."""

import json
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.logger import JsonLoggerCallback

from ray_birds.config import TuneConfig
from ray_birds.core.errors import SettingsError
from ray_birds.data.dataset import Dataset
from ray_birds.sweep import search
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.plan import Plan, Point, settled, variants
from ray_birds.sweep.search import SCORE, Untried


def plan(folder: Path, **options: Any) -> Plan:
    config = TuneConfig(data="d", augment=("off",), **options)
    directory, data = SweepDirectory(str(folder)), Dataset("d", ("a", "b"), {})
    return Plan(config, directory, "", data, {}, {}, variants(config), frozenset(), threads=1, alone=1, gpus=0.0)


GRID: dict[str, Any] = {  # 1 + 3 x 3 x 2 variants: with nothing unfrozen, rate and dropout change nothing
    "unfreeze": (0, 10, 20, "all"),
    "learning_rate": (1e-4, 1e-3, 1e-2),
    "dropout": (0.0, 0.2),
}


def score(point: Point) -> float:
    """The best is 20 layers, 0.01 and no dropout."""
    return {0: 0.5, 10: 0.6, 20: 0.9, "all": 0.7}[point["unfreeze"]] + point["learning_rate"] - point["dropout"]


def tried(made: Untried, one: Plan) -> list[str]:
    """The variants that a search tries one after the other, by name."""
    assert made.set_search_properties("valid_accuracy", "max", search.space(one))
    names = []
    for number in range(one.trials):
        point = made.suggest(str(number))
        names.append(one.name(point))
        made.on_trial_complete(str(number), {SCORE: score(point), "valid_accuracy": 0.0})
    return names


def trials_of(made: Untried) -> Any:
    """What Optuna knows of trials."""
    study: Any = made._optuna._ot_study
    return study.trials


def test_a_space_has_each_factor_by_name_with_all_that_variants_have_of_it(tmp_path: Path) -> None:
    found = search.space(plan(tmp_path, **GRID))
    assert list(found) == list(Variant().values)
    assert found["unfreeze"].categories == [0, 10, 20, "all"] and found["dropout"].categories == [0.0, 0.2]
    assert found["learning_rate"].categories == [1e-4, 1e-3, 1e-2] and found["augment"] == "off"


def test_optuna_tries_each_variant_once_and_finds_a_good_one(tmp_path: Path) -> None:
    one = plan(tmp_path, search="optuna", samples=15, **GRID)
    names = tried(Untried(one), one)
    assert len(set(names)) == 15 and set(names) <= one.variants.keys() and len(one.variants) == 19
    scores = sorted((score(variant.values) for variant in one.variants.values()), reverse=True)
    assert max(score(one.variants[name].values) for name in names) in scores[:2]
    again = plan(tmp_path, search="optuna", samples=15, **GRID)
    assert tried(Untried(again), again) == names  # as the seed says


def test_optuna_learns_from_what_it_did_not_suggest_too(tmp_path: Path) -> None:
    one = plan(tmp_path, search="optuna", samples=18, **GRID)
    made = Untried(one)
    tried(made, one)
    told = [trial for trial in trials_of(made) if trial.state.name == "COMPLETE"]
    assert len(told) == 18
    for trial in told:
        point = settled(one.config, next(iter(one.variants.values())).values | trial.params)
        assert trial.value == pytest.approx(score(point))


def test_a_trial_that_failed_teaches_optuna_nothing(tmp_path: Path) -> None:
    one = plan(tmp_path, search="optuna", samples=18, **GRID)
    made = Untried(one)
    assert made.set_search_properties("valid_accuracy", "max", search.space(one))
    for number in range(18):
        made.suggest(str(number))
        made.on_trial_complete(str(number), error=True)
    assert {trial.state.name for trial in trials_of(made)} == {"FAIL"}


def test_a_sweep_that_is_resumed_begins_with_what_it_had(tmp_path: Path) -> None:
    one = plan(tmp_path, search="optuna", samples=5, name="n", resume=True, **GRID)
    had = list(one.variants)[3:5]
    for name in had:
        one.directory.write_history(name, [{"epoch": 1}])
    names = tried(Untried(one), one)
    assert names[:2] == had and len(set(names)) == 5


def test_where_all_are_tried_there_is_nothing_to_search(tmp_path: Path) -> None:
    for options in ({}, {"search": "optuna", "samples": 19}, {"search": "random", "samples": 3}):
        assert not isinstance(search.algorithm(plan(tmp_path, **options, **GRID)), Untried)
    assert isinstance(search.algorithm(plan(tmp_path, search="optuna", samples=18, **GRID)), Untried)
    with pytest.raises(SettingsError, match=r"^--samples 20: only 19 different variants; give fewer samples$"):
        plan(tmp_path, search="optuna", samples=20, **GRID)


def test_a_search_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    search.require(TuneConfig(search="optuna", samples=2))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    search.require(TuneConfig())
    with pytest.raises(SettingsError, match=r"^--search optuna needs optuna.*pip install 'ray-birds\[optuna\]'$"):
        search.require(TuneConfig(search="optuna", samples=2))


@pytest.mark.ray
@pytest.mark.parametrize("options", [{}, {"search": "optuna", "samples": 5}], ids=["grid", "optuna"])
def test_tune_s_own_results_have_the_factors_as_columns(
    tmp_path: Path, local_ray: None, options: dict[str, Any]
) -> None:
    one = plan(tmp_path, **options, **GRID)
    how = tune.TuneConfig(
        search_alg=search.algorithm(one),
        num_samples=one.trials,
        metric="valid_accuracy",
        mode="max",
        reuse_actors=True,
    )
    where = tune.RunConfig(storage_path=str(tmp_path), name="tune", verbose=0, callbacks=[JsonLoggerCallback()])
    tuner = tune.Tuner(_scored, param_space=search.space(one), tune_config=how, run_config=where)
    ended = tuner.fit()
    assert not ended.errors
    found = ended.get_dataframe()
    assert len(found) == one.trials
    rows = found[[f"config/{name}" for name in Variant().values]].to_dict("records")
    names = [one.name({str(key).partition("/")[2]: value for key, value in row.items()}) for row in rows]
    assert len(set(names)) == one.trials
    if not options:
        assert names == list(one.variants)
    written = [json.loads(path.read_text()) for path in (tmp_path / "tune").glob("*/params.json")]
    assert {one.name(point) for point in written} == set(names)  # what loggers see


def _scored(config: dict[str, Any]) -> dict[str, float]:
    return {SCORE: float(config["learning_rate"]), "valid_accuracy": 0.5}
