"""The variants of a sweep as points of Ray Tune's search space, and what takes them: all in order, or Optuna."""

import importlib.util
from typing import Any

from ray import tune
from ray.tune.search import ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator

from ray_birds.config import TuneConfig
from ray_birds.core.errors import SettingsError
from ray_birds.sweep import factors
from ray_birds.sweep.plan import Plan, Point, settled

SCORE = "kept_score"  # what a trial reports of the epoch that it keeps, by --select-by; the higher the better


def require(config: TuneConfig) -> None:
    """Raises SettingsError where the search that is asked for is not installed."""
    if config.search == "optuna" and importlib.util.find_spec("optuna") is None:
        raise SettingsError(
            "--search optuna needs optuna, which is not installed: pip install 'ray-birds[optuna]'"
        )


def space(plan: Plan) -> dict[str, Any]:
    """Each factor by name: its value or, where the variants differ in it, Tune's choice of theirs."""
    points = [*plan.points.values()]
    values = {name: [*dict.fromkeys(point[name] for point in points)] for name in points[0]}
    return {name: tune.choice(some) if len(some) > 1 else some[0] for name, some in values.items()}


def algorithm(plan: Plan) -> SearchAlgorithm | Searcher:
    """What hands Tune the variants: all of them in the order of the plan or, where it is to choose, Optuna.

    Of trials with several workers no more at a time than there is room for: others would but wait for these.
    """
    if plan.trials == len(plan.variants):
        points = [*plan.points.values()]
        return BasicVariantGenerator(points_to_evaluate=points, max_concurrent=plan.gangs or 0)
    return ConcurrencyLimiter(Untried(plan), plan.gangs) if plan.gangs else Untried(plan)


class Untried(Searcher):
    """Optuna's suggestions (tree-structured Parzen estimator), each variant once.

    In place of a variant that was tried already, or differs from such a one in nothing that counts, the one that
    is most like it is tried. A sweep that is resumed begins with what it had, which reports its epochs again.
    """

    def __init__(self, plan: Plan) -> None:
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        super().__init__()
        if not plan.config.verbose:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config = plan.config
        self._left = {name: variant.values for name, variant in plan.variants.items()}
        self._first = next(iter(self._left.values()))
        self._varied = factors.varied(plan.variants.values())
        self._again = [name for name in self._left if plan.config.resume and plan.directory.history(name)]
        self._optuna = OptunaSearch(seed=plan.config.seed[0])
        self._other: dict[str, Point] = {}  # by trial: what it tries instead of what Optuna suggested

    def set_search_properties(self, metric: str | None, mode: str | None, config: Point, **spec: Any) -> bool:
        return bool(self._optuna.set_search_properties(SCORE, "max", config))

    def suggest(self, trial_id: str) -> Point:
        """The values of a variant that no trial has had."""
        if self._again:
            point = self._left.pop(self._again.pop(0))
            self._other[trial_id] = point
            return point
        wanted = settled(self._config, self._first | (self._optuna.suggest(trial_id) or {}))
        point = self._left.pop(max(self._left, key=lambda name: _alike(wanted, self._left[name])))
        if point != wanted:
            self._optuna.on_trial_complete(trial_id, error=True)  # it is not counted
            self._other[trial_id] = point
        return point

    def on_trial_complete(self, trial_id: str, result: Point | None = None, error: bool = False) -> None:
        """Tell Optuna what came of it, whoever suggested it."""
        if trial_id not in self._other:
            self._optuna.on_trial_complete(trial_id, result, error)
        elif result and SCORE in result:
            point = self._other[trial_id]
            self._optuna.add_evaluated_point({name: point[name] for name in self._varied}, result[SCORE])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is resumed from what its trials left behind."""


def _alike(one: Point, other: Point) -> int:
    """In how many factors they have the same value."""
    return sum(one[name] == other[name] for name in one)
