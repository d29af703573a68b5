"""The sweep: every variant as a Ray Tune trial, then the winner, its bundle and its test score.

Each trial keeps its state in the results folder, one file replaced after each epoch. A killed trial goes on
from there, and so does a whole sweep with --resume: nothing of Tune's own is restored or unpickled.
"""

import dataclasses
import tempfile
from datetime import UTC, datetime
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from ray_birds.config import TuneConfig
from ray_birds.core import cluster, storage, terminal
from ray_birds.core.errors import DataError, OutputError, SettingsError
from ray_birds.data import dataset, inspect_job
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import Inspection
from ray_birds.data.splits import Shares
from ray_birds.features import compute
from ray_birds.features.compute import Source
from ray_birds.features.store import FeatureSpec
from ray_birds.model import backbones, device
from ray_birds.model.backbones import Description
from ray_birds.sweep import selection, summary
from ray_birds.sweep.callbacks import Silence, Watch, reason
from ray_birds.sweep.plan import Plan, variants
from ray_birds.sweep.results import Results

_TRIAL_CPUS = 4  # TensorFlow gains little from more threads on batches of 32
# Tune sends these of the driver's environment to the trials in a runtime_env, which the dashboard and Ray's log
# files show; the nodes have credentials of their own.
_SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"}


def sweep(config: TuneConfig) -> None:
    """Run a sweep from its settings to its results. Raises TrialsFailed when some trials ended in an error."""
    started = datetime.now(UTC)
    config, results = _open(config)
    data = dataset.scan(config.data, config.exclude_class)
    _show_dataset(data)
    with cluster.session(config.verbose) as resources:
        _check_reachable(config, data)
        if not config.resume:
            storage.write(results.path("config.json"), config.to_json().encode())
        plan = _prepare(config, results, data, resources)
        errors = _run(plan)
        with results.writing():
            best = selection.choose(_rows(plan, errors))
            if best:
                selection.export_winner(plan, best)
            rows = _rows(plan, errors)
            results.write_trials(rows)
            summary.write_run(plan, best, started, resources.nodes, resources.cpus, resources.gpus)
    summary.show(plan, rows, best)


def _open(config: TuneConfig) -> tuple[TuneConfig, Results]:
    """The settings with every default filled in, and the results: to be made or, with --resume, as they are."""
    name = config.name or datetime.now().strftime("%Y%m%d-%H%M%S")
    root = storage.resolve(config.results)
    results = Results(storage.join(root, name))
    if not config.resume:
        if storage.exists(results.uri):
            raise OutputError(f"{results.uri}: exists; choose another --name, or --resume to resume it")
        if not config.data:
            raise SettingsError("--data is missing: the folder with train/, valid/ and test/")
        config = dataclasses.replace(
            config,
            name=name,
            data=storage.resolve(config.data),
            results=root,
            weights=config.weights if config.weights in ("imagenet", "none") else storage.resolve(config.weights),
            features_dir=storage.resolve(config.features_dir or storage.join(root, "features")),
        )
        return config, results
    if not results.exists():
        raise OutputError(f"{results.uri}: no sweep to resume; leave out --resume to start it")
    return _resumed(config, results.config()), results


def _resumed(given: TuneConfig, kept: TuneConfig) -> TuneConfig:
    """The settings of the sweep resumed; those given again must be the same."""
    defaults = TuneConfig(data="")
    uris = ("data", "results", "weights", "features_dir")
    for field in dataclasses.fields(TuneConfig):
        value, was = getattr(given, field.name), getattr(kept, field.name)
        if field.name in ("resume", "verbose", "max_failures", "gpus_per_trial") or value == getattr(
            defaults, field.name
        ):
            continue
        if (storage.resolve(value) if field.name in uris else value) != was and value != was:
            option = field.name.replace("_", "-")
            raise SettingsError(
                f"--{option} {value}: the sweep to resume had {was}; leave it out or use another --name"
            )
    gpus = kept.gpus_per_trial if given.gpus_per_trial is None else given.gpus_per_trial
    return dataclasses.replace(
        kept, resume=True, verbose=given.verbose, max_failures=given.max_failures, gpus_per_trial=gpus
    )


def _check_reachable(config: TuneConfig, data: Dataset) -> None:
    """See that every node reaches what the sweep reads and writes. Raises SettingsError where one does not."""
    written = {"--results": config.results}
    if config.features == "auto":
        written["--features-dir"] = config.features_dir
    read = {"--data": data.uri(data.splits["train"].paths[0])}
    if config.weights not in ("imagenet", "none"):
        read["--weights"] = config.weights
    cluster.check_reachable(written, read)


def _prepare(config: TuneConfig, results: Results, data: Dataset, resources: cluster.Resources) -> Plan:
    """Inspect the images, look at the backbones, and make the features that the trials will read."""
    gpus = config.gpus_per_trial if config.gpus_per_trial is not None else float(min(resources.gpus, 1))
    if gpus and not resources.gpus:
        if resources.own:
            raise SettingsError(f"--gpus-per-trial {gpus:g}: Ray finds no GPU on this machine")
        terminal.say("No node has a GPU yet: trials wait for nodes that do, as an autoscaler starts them")
        resources = dataclasses.replace(resources, gpus=len(variants(config)))
    threads = config.cpus_per_trial or min(_TRIAL_CPUS, resources.node_cpus)
    depths = tuple(dict.fromkeys([0, *(variant.unfreeze for variant in variants(config).values())]))
    describe = ray.remote(num_cpus=1)(backbones.describe)
    asked = {name: describe.remote(name, config.weights, config.image_size, depths) for name in config.backbone}
    shares = Shares(config.valid_share, config.test_share, config.split_seed)
    inspection = inspect_job.inspect(data, config.image_size, config.max_bad_images, shares)
    if config.resume and not results.began_with(inspection):
        raise DataError(
            f"{data.root}: its images are no longer those that the sweep began with; bring them back, or start a "
            "sweep with another --name"
        )
    results.write_dataset(inspection)
    for finding in inspection.findings:
        terminal.say(f"{'warning' if finding.blocking else 'note'}: {finding.text}")
    if inspection.bad:
        terminal.say(
            f"{len(inspection.bad)} unreadable image(s) left out, listed in {results.path('bad_images.csv')}"
        )
    with cluster.user_errors():
        about: dict[str, Description] = {name: ray.get(reference) for name, reference in asked.items()}
    plan = Plan(
        config=config,
        results=results,
        store=config.features_dir,
        data=inspection.dataset,
        backbones=about,
        feature_specs={str(name): _feature_spec(config, name, inspection) for name in config.backbone},
        variants=variants(config),
        stored=frozenset(),
        threads=threads,
        gpus=gpus,
    )
    terminal.say(
        f"{len(plan.variants)} trials, each with {threads} CPU(s) (TensorFlow threads) and {gpus:g} GPU(s)"
    )
    if config.features == "none":
        return plan
    source = Source(plan.data, config.weights, config.image_size, config.seed[0], config.precision)
    needed = {name: plan.needed(name) for name in plan.variants}
    return dataclasses.replace(plan, stored=compute.provide(plan.store, needed, source, resources))


def _feature_spec(config: TuneConfig, name: str, inspection: Inspection) -> FeatureSpec:
    return FeatureSpec(
        name,
        backbones.weights_digest(config.weights),
        config.image_size,
        config.feature_dtype,
        config.seed[0],
        inspection.fingerprints,
        {split: len(images) for split, images in inspection.dataset.splits.items()},
        config.precision,
    )


def _rows(plan: Plan, errors: dict[str, str]) -> list[dict[str, Any]]:
    return [
        plan.results.trial_row(name, variant, plan.gpus, errors.get(name, ""))
        for name, variant in plan.variants.items()
    ]


def _run(plan: Plan) -> dict[str, str]:
    """Train every variant; returns the reason of each trial that failed, by name."""
    uri = plan.results.uri
    storage.remove(plan.results.path("tensorboard"))  # trials report again what they have: it is written anew
    with tempfile.TemporaryDirectory() as folder:
        # Event files and Tune's logs are written to a disk, and copied where the results are elsewhere.
        local = uri if storage.is_local(uri) else folder
        errors = _train(plan, local)
        if local != uri:
            storage.copy(local, uri)
    return errors


def _train(plan: Plan, local: str) -> dict[str, str]:
    class_cache.ENV_VARS_TO_PROPAGATE = class_cache.ENV_VARS_TO_PROPAGATE - _SECRETS
    with Watch(plan, f"{local}/tensorboard") as watch:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_trainable, plan=plan), {"CPU": plan.threads, "GPU": plan.gpus}
            ),
            param_space={"trial": tune.grid_search(list(plan.variants))},
            tune_config=tune.TuneConfig(
                metric="valid_accuracy",
                mode="max",
                scheduler=_scheduler(plan.config),
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config["trial"],
                trial_dirname_creator=lambda trial: trial.config["trial"],
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=local,
                failure_config=tune.FailureConfig(max_failures=plan.config.max_failures),
                callbacks=[watch],
                progress_reporter=Silence(),
                verbose=2 if plan.config.verbose else 0,
            ),
        )
        try:
            grid = tuner.fit()
        except EOFError as error:  # Tune keeps each trial's error in a file, which a full disk leaves empty
            raise OutputError(
                f"{local}: is full; trials failed, and so did noting why; when there is room, --resume continues"
            ) from error
    ended = (grid[number] for number in range(len(grid)))
    return {str((result.config or {})["trial"]): reason(result.error) for result in ended if result.error}


def _scheduler(config: TuneConfig) -> TrialScheduler:
    return _Halving(config.head_epochs) if config.scheduler == "asha" else FIFOScheduler()


class _Halving(AsyncHyperBandScheduler):
    """One decision, at the end of the head phase, which is cheap, before the layers below are trained.

    A trial that was killed reports its epochs again: it is not stopped by one that it has resumed from.
    """

    def __init__(self, head_epochs: int) -> None:
        super().__init__(
            "epoch", max_t=head_epochs, grace_period=head_epochs, reduction_factor=2, stop_last_trials=False
        )

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision = super().on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if result["went_on"] else decision


def _trainable(config: dict[str, Any], plan: Plan) -> None:
    """One trial, in a process of its own that is used again for the next one."""
    from ray_birds.sweep import checkpoint, training

    device.use_threads(plan.threads)
    name, results = config["trial"], plan.results
    if not results.exists():
        raise cluster.unseen(results.uri)

    def report(epoch: checkpoint.Epoch, *, resumed: bool = False) -> None:
        tune.report(dataclasses.asdict(epoch) | {"gpu": training.sees_gpu(), "went_on": resumed})

    def on_epoch(now: checkpoint.Checkpoint, scores: np.ndarray) -> None:
        with results.writing():
            results.write_history(name, [dataclasses.asdict(epoch) for epoch in now.history])
            results.write_predictions(name, plan.data.splits["valid"], plan.data.classes, scores)
            results.write_checkpoint(name, len(now.history), now.to_bytes())
        report(now.history[-1])

    task, last = training.task(plan, name), checkpoint.last(results, name)
    for epoch in last.history:
        report(epoch, resumed=epoch.epoch < len(last.history))
    scores = training.train(task, last, on_epoch)
    if scores is not None:
        results.write_predictions(name, plan.data.splits["test"], plan.data.classes, scores)


def _show_dataset(data: Dataset) -> None:
    counts = ", ".join(f"{len(split):,} {name}" for name, split in data.splits.items())
    terminal.say(f"{data.root}: {len(data.classes)} classes; images: {counts}")
    for note in data.notes:
        terminal.say(f"note: {note}")
