"""The trials of a sweep under Ray Tune: one process each, re-used; what it ends with is in the sweep's directory.

Each trial keeps a checkpoint of its own, one file replaced after each epoch. A killed trial resumes from there,
and so does a whole sweep with --resume: nothing of Tune's own is restored or unpickled.
"""

import dataclasses
import itertools
import math
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from ray_birds.config import TuneConfig
from ray_birds.core import cluster, ray_compat, storage
from ray_birds.core.errors import NotFiniteError
from ray_birds.model import device
from ray_birds.sweep import checkpoint, epochs, factors, search
from ray_birds.sweep.callbacks import Progress, Silence
from ray_birds.sweep.checkpoint import Checkpoint
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.member import ALONE, Member
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.trackers.tracking import Tracking

# Tune sends these of the driver's environment to the trials in a runtime_env, which the dashboard and Ray's log
# files show; the nodes have credentials of their own.
_SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"}

_WAITING = 2.0**28  # bytes of a process that waits for others

_HALF = 2  # of the recipes goes on at each of ASHA's rungs, and the next is at twice the epochs

_SCORES = ("valid_accuracy", "valid_macro_f1", "valid_loss")  # one of them is Tune's metric


def run(plan: Plan, tracking: Tracking, seconds: float = math.inf) -> tuple[Plan, dict[str, str]]:
    """Train the variants, as far as the seconds reach; `tracking` hears of each epoch.

    Returns the plan of those that were to be tried, which are all unless a search chose among them, and the reason
    of each trial that failed, by name.
    """
    uri = plan.directory.uri
    storage.remove(plan.directory.path("tensorboard"))  # trials report again what they have: it is written anew
    with tempfile.TemporaryDirectory() as folder:
        # Event files and Tune's logs are written to a disk, and copied where the results are elsewhere.
        local = uri if storage.is_local(uri) else folder
        progress = _train(plan, tracking, local, seconds)
        if local != uri:
            storage.copy(local, uri)
    tried = {name: variant for name, variant in plan.variants.items() if name in progress.trials}
    return dataclasses.replace(plan, variants=tried, stored=plan.stored & tried.keys()), progress.errors


def _train(plan: Plan, tracking: Tracking, local: str, seconds: float = math.inf) -> Progress:
    ray_compat.keep_from_trials(_SECRETS)
    ray_compat.leave_interrupts_alone()
    with Progress(plan, f"{local}/tensorboard", tracking) as progress:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trainable, plan=plan.told), _resources(plan)),
            param_space=search.space(plan),
            tune_config=tune.TuneConfig(
                search_alg=search.algorithm(plan),
                num_samples=plan.trials,
                metric=f"valid_{plan.config.select_by}",
                mode="min" if plan.config.select_by == "loss" else "max",
                scheduler=_scheduler(plan),
                reuse_actors=plan.workers == 1,
                time_budget_s=seconds if math.isfinite(seconds) else None,
                trial_name_creator=lambda trial: plan.name(trial.config),
                trial_dirname_creator=lambda trial: plan.name(trial.config),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=local,
                failure_config=tune.FailureConfig(max_failures=plan.config.max_failures),
                callbacks=[progress],
                progress_reporter=Silence(),
                verbose=2 if plan.config.verbose else 0,
            ),
        )
        tuner.fit()  # does not raise for trials that failed
    return progress


def _resources(plan: Plan) -> dict[str, float]:
    """Of a trial's process; one that waits for its gang needs no CPU, and the workers may need them all."""
    return {"CPU": plan.threads, "GPU": plan.gpus} if plan.workers == 1 else {"memory": _WAITING}


def _scheduler(plan: Plan) -> TrialScheduler:
    rungs = _rungs(plan.config)
    if plan.config.scheduler != "asha" or not rungs:
        return FIFOScheduler()
    varied = factors.varied(plan.variants.values())
    return _Halving(rungs, {name: one.recipe(varied) for name, one in plan.variants.items()})


def _rungs(config: TuneConfig) -> tuple[int, ...]:
    """The epochs of fine-tuning after which ASHA decides: a quarter of them, then doubled.

    Not before the warm-up is over: rates are not at their peak. After the last epoch nothing is left to save.
    """
    first = max(config.tuning_epochs // 4, math.ceil(config.warmup_epochs), 1)
    doubled = (first * _HALF**number for number in itertools.count())
    return tuple(itertools.takewhile(lambda epoch: epoch < config.tuning_epochs, doubled))


class _Halving(AsyncHyperBandScheduler):
    """At each rung a recipe goes on if it is in the better half of those that got there before (Li et al. 2020).

    Rungs are epochs of fine-tuning: trials that have none are not compared, nor are heads, which are the same
    whatever is fine-tuned from them. The first of a recipe's seeds to get to a rung decides for all: stopped one
    by one, those that are left would be the lucky ones. A trial that was killed reports its epochs again: it is
    not stopped by one that it has resumed from.
    """

    def __init__(self, rungs: tuple[int, ...], recipes: dict[str, str]) -> None:
        super().__init__(
            "fine_tuned", max_t=rungs[-1], grace_period=rungs[0], reduction_factor=_HALF, stop_last_trials=False
        )
        self._recipes = recipes
        self._stopped: set[str] = set()  # recipes

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, self._recipe(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        recipe = self._recipe(trial)
        if result["failed"]:
            return self.CONTINUE
        decision = super().on_trial_result(tune_controller, recipe, result)
        if decision == self.STOP and not result["resumed"]:
            self._stopped.add(recipe.trial_id)
        return self.STOP if recipe.trial_id in self._stopped and result["fine_tuned"] else self.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial's last result is no more than the others: only rungs are compared."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """One that never began says nothing of its recipe."""

    def _recipe(self, trial: Any) -> Any:
        return _Recipe(self._recipes[str(trial)])


class _Recipe(NamedTuple):
    """What stands for all trials of a recipe where Tune compares trials: of these it reads no more than the id."""

    trial_id: str


def _trainable(config: dict[str, Any], plan: Plan) -> None:
    """One trial, in a process of its own that is used again for the next one; or the wait for its gang's."""
    name = plan.name(config)
    if not plan.directory.exists():
        raise cluster.unseen(plan.directory.uri)
    last = checkpoint.last(plan.directory, name)
    if plan.workers == 1:
        device.use_threads(plan.threads)
        _work(plan, name, last, tune.report)
    else:
        from ray_birds.sweep import gang

        gang.train(plan, name, last, partial(_work, plan, name))


def _work(
    plan: Plan,
    name: str,
    last: Checkpoint,
    tell: Callable[[dict[str, Any]], None],
    member: Member = ALONE,
    batch_size: int = 0,
) -> None:
    """What a process does of a trial from its last checkpoint on; of several, the first writes what comes of it.

    Its results go to `tell`. `batch_size` is another one than the variant's, where that was too large.
    """
    from ray_birds.sweep import tasks, training

    directory = plan.directory

    def report(history: list[Epoch], *, resumed: bool = False) -> None:
        about = {"gpu": training.sees_gpu(), "resumed": resumed, "failed": ""}
        kept = epochs.kept(history, plan.variants[name])
        about |= {"ended": epochs.ended(history, plan.variants[name])}
        about |= {"fine_tuned": max(len(history) - plan.variants[name].head_phase, 0)}
        about |= {"kept_epoch": kept.epoch, "kept_accuracy": kept.valid_accuracy}
        about |= {search.SCORE: kept.score(plan.config.select_by)}
        tell(dataclasses.asdict(history[-1]) | about)

    def on_epoch(now: Checkpoint, scores: np.ndarray) -> None:
        if member.rank == 0:
            with directory.writing():
                directory.write_history(name, [dataclasses.asdict(epoch) for epoch in now.history])
                if plan.folds:
                    directory.write_scores(name, len(now.history), scores)
                elif not now.earlier:
                    directory.write_predictions(name, plan.data.splits["valid"], plan.data.classes, scores)
                directory.write_checkpoint(name, len(now.history), now.to_bytes())
        report(now.history)

    if member.workers > 1 and not last.history:  # until then the trial waits for room
        begun = {"epoch": 0, **dict.fromkeys(_SCORES, math.nan), "resumed": False, "failed": "", "fine_tuned": 0}
        tell(begun)
    task = tasks.task(plan, name, member)
    if batch_size:
        task = task.with_batches(batch_size)
    for count in range(1, len(last.history) + 1):
        report(last.history[:count], resumed=count < len(last.history))
    try:
        scores = training.train(task, last, on_epoch)
    except NotFiniteError as error:  # reported, not raised: it would be the same again
        nothing = {"epoch": len(checkpoint.last(directory, name).history) + 1, **dict.fromkeys(_SCORES, math.nan)}
        about = {"gpu": training.sees_gpu(), "resumed": False, "failed": str(error), "fine_tuned": 0}
        tell(nothing | about)
        return
    if scores is not None and member.rank == 0:
        directory.write_predictions(name, plan.data.splits["test"], plan.data.classes, scores)
