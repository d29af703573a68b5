"""The trials of a sweep under Ray Tune: one process each, re-used; what it ends with is in the sweep's directory.

Each trial keeps a checkpoint of its own, one file replaced after each epoch. A killed trial resumes from there,
and so does a whole sweep with --resume: nothing of Tune's own is restored or unpickled.
"""

import dataclasses
import math
import tempfile
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from ray_birds.config import TuneConfig
from ray_birds.core import cluster, ray_compat, storage
from ray_birds.core.errors import NotFiniteError
from ray_birds.model import device
from ray_birds.sweep import factors, results
from ray_birds.sweep.callbacks import Progress, Silence
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Epoch

# Tune sends these of the driver's environment to the trials in a runtime_env, which the dashboard and Ray's log
# files show; the nodes have credentials of their own.
_SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"}

_SCORES = ("valid_accuracy", "valid_macro_f1", "valid_loss")  # one of them is Tune's metric


def run(plan: Plan, seconds: float = math.inf) -> dict[str, str]:
    """Train every variant, as far as the seconds reach; returns the reason of each trial that failed, by name."""
    uri = plan.directory.uri
    storage.remove(plan.directory.path("tensorboard"))  # trials report again what they have: it is written anew
    with tempfile.TemporaryDirectory() as folder:
        # Event files and Tune's logs are written to a disk, and copied where the results are elsewhere.
        local = uri if storage.is_local(uri) else folder
        errors = _train(plan, local, seconds)
        if local != uri:
            storage.copy(local, uri)
    return errors


def _train(plan: Plan, local: str, seconds: float = math.inf) -> dict[str, str]:
    ray_compat.keep_from_trials(_SECRETS)
    ray_compat.leave_interrupts_alone()
    with Progress(plan, f"{local}/tensorboard") as progress:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_trainable, plan=plan), {"CPU": plan.threads, "GPU": plan.gpus}
            ),
            param_space={"trial": tune.grid_search(list(plan.variants))},
            tune_config=tune.TuneConfig(
                metric=f"valid_{plan.config.select_by}",
                mode="min" if plan.config.select_by == "loss" else "max",
                scheduler=_scheduler(plan),
                reuse_actors=True,
                time_budget_s=seconds if math.isfinite(seconds) else None,
                trial_name_creator=lambda trial: trial.config["trial"],
                trial_dirname_creator=lambda trial: trial.config["trial"],
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
    return progress.errors


def _scheduler(plan: Plan) -> TrialScheduler:
    if plan.config.scheduler != "asha":
        return FIFOScheduler()
    varied = factors.varied(plan.variants.values())
    return _Halving(_decisive(plan.config), {name: one.recipe(varied) for name, one in plan.variants.items()})


def _decisive(config: TuneConfig) -> int:
    """The epoch that ASHA judges by: the last of the head phase, or the middle of fine-tuning from solved heads.

    Solved heads say nothing of what is fine-tuned from them: they are the same.
    """
    return 1 + config.tuning_epochs // 2 if "probe" in config.head else config.head_epochs


class _Halving(AsyncHyperBandScheduler):
    """One decision for each recipe, at the end of this epoch.

    The first of a recipe's seeds to get there decides for all: stopped one by one, those that are left would be
    the lucky ones. A trial that was killed reports its epochs again: it is not stopped by one that it has resumed
    from.
    """

    def __init__(self, epoch: int, recipes: dict[str, str]) -> None:
        super().__init__("epoch", max_t=epoch, grace_period=epoch, reduction_factor=2, stop_last_trials=False)
        self._epoch, self._recipes = epoch, recipes
        self._decided: dict[str, str] = {}  # by recipe

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        recipe = self._recipes[str(trial)]
        if recipe not in self._decided and result["epoch"] >= self._epoch and not result["failed"]:
            decision = super().on_trial_result(tune_controller, trial, result)
            self._decided[recipe] = self.CONTINUE if result["resumed"] else decision
        return self._decided.get(recipe, self.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial's last result is no more than the others: only those that decide are compared."""


def _trainable(config: dict[str, Any], plan: Plan) -> None:
    """One trial, in a process of its own that is used again for the next one."""
    from ray_birds.sweep import checkpoint, tasks, training

    device.use_threads(plan.threads)
    name, directory = config["trial"], plan.directory
    if not directory.exists():
        raise cluster.unseen(directory.uri)

    def report(history: list[Epoch], *, resumed: bool = False) -> None:
        about = {"gpu": training.sees_gpu(), "resumed": resumed, "failed": ""}
        kept = results.kept(history, plan.variants[name])
        about |= {"ended": results.ended(history, plan.variants[name])}
        about |= {"kept_epoch": kept.epoch, "kept_accuracy": kept.valid_accuracy}
        tune.report(dataclasses.asdict(history[-1]) | about)

    def on_epoch(now: checkpoint.Checkpoint, scores: np.ndarray) -> None:
        with directory.writing():
            directory.write_history(name, [dataclasses.asdict(epoch) for epoch in now.history])
            if not now.earlier:
                directory.write_predictions(name, plan.data.splits["valid"], plan.data.classes, scores)
            directory.write_checkpoint(name, len(now.history), now.to_bytes())
        report(now.history)

    task, last = tasks.task(plan, name), checkpoint.last(directory, name)
    for count in range(1, len(last.history) + 1):
        report(last.history[:count], resumed=count < len(last.history))
    try:
        scores = training.train(task, last, on_epoch)
    except NotFiniteError as error:  # reported, not raised: it would be the same again
        nothing = {"epoch": len(checkpoint.last(directory, name).history) + 1, **dict.fromkeys(_SCORES, math.nan)}
        tune.report(nothing | {"gpu": training.sees_gpu(), "resumed": False, "failed": str(error)})
        return
    if scores is not None:
        directory.write_predictions(name, plan.data.splits["test"], plan.data.classes, scores)
