"""What a sweep does before its trials: sees that all can be reached, inspects images, makes the features."""

import dataclasses
import math
from collections.abc import Mapping

from ray_birds.config import TuneConfig
from ray_birds.core import cluster, storage, terminal
from ray_birds.core.cluster import Resources
from ray_birds.core.errors import DataError, ModelError, SettingsError
from ray_birds.data import inspect_job
from ray_birds.data.dataset import Dataset
from ray_birds.data.inspection import Inspection
from ray_birds.data.splits import Shares
from ray_birds.features import compute, descriptions
from ray_birds.features.steps import Source
from ray_birds.features.store import FeatureSpec
from ray_birds.model import backbones
from ray_birds.model.backbones import Description
from ray_birds.sweep import factors, search
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.plan import Plan, by_fold, variants
from ray_birds.sweep.trackers import tracking

_TRIAL_CPUS = 4  # TensorFlow gains little from more threads on batches of 32
_PROCESS = 1 << 30  # bytes that a trial takes beside what it trains: TensorFlow, a network, images
_KEPT = 8  # bytes for each number that a trained layer puts out: that, and its gradient


def check_locally(config: TuneConfig, directory: SweepDirectory) -> str:
    """See, before anything else is done, that the variants can be named, the weights read and the results written.

    Returns the digest of the weights. Raises SettingsError, ModelError or OutputError where not; DataError where
    the images of a sweep have gone, and ModelError where its weights are no longer those that it began with.
    """
    variants(config)
    search.require(config)
    tracking.require(config)
    if config.resume and not storage.exists(config.data):
        raise DataError(f"{config.data}: no such folder; where the images have moved, give their folder by --data")
    weights = backbones.weights_digest(config.weights)
    if config.resume and directory.weights() not in ("", weights):
        raise ModelError(
            f"--weights {config.weights}: no longer those that the sweep began with; bring them back, give their "
            "file by --weights, or start a sweep with another --name"
        )
    for name, uri in _written(config).items():
        storage.check_writable(uri, name)
    return weights


def _written(config: TuneConfig) -> dict[str, str]:
    """The folders that a sweep writes to, by option."""
    features = {"--features-dir": config.features_dir} if config.features == "auto" else {}
    return {"--results": config.results} | features


def check_reachable(config: TuneConfig, data: Dataset) -> None:
    """See that every node reaches what the sweep reads and writes. Raises SettingsError where one does not."""
    read = {"--data": data.uri(data.splits["train"].paths[0])}
    if config.weights not in ("imagenet", "none"):
        read["--weights"] = config.weights
    cluster.check_reachable(_written(config), read)


def prepare(
    config: TuneConfig, directory: SweepDirectory, data: Dataset, resources: Resources, weights: str
) -> Plan:
    """Inspect the images, look at the backbones, and make the features that the trials will read.

    `weights` is the digest that `check_locally` returned.
    """
    gpus, resources = _gpus(config, resources)
    alone = config.cpus_per_trial or min(_TRIAL_CPUS, resources.node_cpus)
    _check_fits(alone, gpus, resources)
    workers = config.workers_per_trial
    gangs = _gangs(workers, alone, gpus, resources) if workers > 1 else None
    about = _describe(config, weights)
    inspection = _inspect(config, directory, data, weights)
    tried = by_fold(variants(config), config.folds)
    settled = config.cpus_per_trial or gpus or workers > 1 or cluster.may_grow(resources)
    threads = alone if settled else _threads(tried, about, resources, alone)
    plan = Plan(
        config=config,
        directory=directory,
        store=config.features_dir,
        data=inspection.dataset,
        backbones=about,
        feature_specs={name: _feature_spec(config, name, inspection, weights) for name in config.backbone},
        variants=tried,
        stored=frozenset(),
        threads=threads,
        alone=alone,
        gpus=gpus,
        workers=workers,
        gangs=gangs,
        folds=inspection.folds,
    )
    among = f" of {len(plan.variants)} variants" if plan.trials < len(plan.variants) else ""
    among += f", {plan.trials // config.folds} variants in {config.folds} folds" if config.folds else ""
    each = f"{workers} workers of" if workers > 1 else "each with"
    terminal.say(
        f"{plan.trials} trials{among}, {each} {threads} CPU(s) (TensorFlow threads) and {gpus:g} GPU(s)"
        + (f", {gangs} at a time" if gangs else "")
    )
    return plan if config.features == "none" else _with_features(plan, resources)


def _gpus(config: TuneConfig, resources: Resources) -> tuple[float, Resources]:
    """GPUs of a trial; and what the cluster has, or is expected to have once an autoscaler has started nodes."""
    gpus = config.gpus_per_trial if config.gpus_per_trial is not None else float(min(resources.gpus, 1))
    if not gpus or (resources.gpus and not cluster.may_grow(resources)):
        return gpus, resources
    most = len(variants(config)) * config.workers_per_trial
    return gpus, dataclasses.replace(resources, gpus=max(resources.gpus, most))


def _threads(
    tried: Mapping[str, Variant], about: Mapping[str, Description], resources: Resources, most: int
) -> int:
    """As few, up to `most`, as let all trials of the greatest depth run at once: these take longest, and trials
    side by side make more of the CPUs than threads of one. More where a node has no memory for so many of them."""
    depths = [factors.layers(variant.unfreeze) for variant in tried.values()]
    wanted = resources.cpus // depths.count(max(depths))
    needed = max(
        _PROCESS + _KEPT * variant.batch_size * about[variant.backbone].activations[variant.unfreeze]
        for variant in tried.values()
    )
    fitting = max(1, resources.node_memory // needed)
    return max(1, min(most, max(wanted, math.ceil(resources.node_cpus / fitting))))


def _check_fits(cpus: int, gpus: float, resources: Resources) -> None:
    """Raises SettingsError where no node has what a trial asks for, and none can join that has."""
    if resources.have(cpus, gpus):
        return
    asked = f"--cpus-per-trial {cpus} and --gpus-per-trial {gpus:g}"
    if not cluster.may_grow(resources):
        where = "this machine has" if resources.own else "this Ray has no autoscaler, and nodes of"
        raise SettingsError(f"{asked}: {where} {resources.describe()}; ask for no more than that")
    terminal.say(f"No node has {cpus} CPUs and {gpus:g} GPUs yet: trials wait for one, as an autoscaler starts it")


def _gangs(workers: int, cpus: int, gpus: float, resources: Resources) -> int | None:
    """How many trials of so many workers have room at a time; None where that may change.

    Raises SettingsError where none has, and no node can join.
    """
    if cluster.may_grow(resources):
        return None
    room = resources.count(cpus, gpus)
    if room < workers:
        raise SettingsError(
            f"--workers-per-trial {workers}, each with {cpus} CPU(s) and {gpus:g} GPU(s): the {resources.nodes} "
            f"node(s) have room for {room}; give fewer workers, or fewer --cpus-per-trial and --gpus-per-trial"
        )
    return room // workers


def _describe(config: TuneConfig, weights: str) -> dict[str, Description]:
    """The backbones, where they are not known from an earlier sweep looked at by workers. Raises ModelError where
    the weights do not fit one."""
    depths = tuple(dict.fromkeys([0, *(variant.unfreeze for variant in variants(config).values())]))
    return descriptions.describe(
        _kept(config), config.backbone, config.weights, weights, config.image_size, depths
    )


def _kept(config: TuneConfig) -> str:
    """The folder that later sweeps find things in; empty where nothing is kept."""
    return config.features_dir if config.features == "auto" else ""


def _inspect(config: TuneConfig, directory: SweepDirectory, data: Dataset, weights: str) -> Inspection:
    """See every image once, and say what was found. Raises DataError for images that a sweep did not have."""
    shares = Shares(config.valid_share, config.test_share, config.split_seed, config.folds)
    inspection = inspect_job.inspect(
        data, config.image_size, config.max_bad_images, shares, _kept(config), verify=config.verify_images
    )
    if config.resume and not directory.began_with(inspection):
        raise DataError(
            f"{data.root}: its images are no longer those that the sweep began with; bring them back, give their "
            "folder by --data, or start a sweep with another --name"
        )
    directory.begin(config, inspection, weights)
    for finding in inspection.findings:
        terminal.say(f"{'warning' if finding.blocking else 'note'}: {finding.text}")
    if inspection.bad:
        listed = directory.path("bad_images.csv")
        terminal.say(f"{len(inspection.bad)} unreadable image(s) left out, listed in {listed}")
    return inspection


def _feature_spec(config: TuneConfig, name: str, inspection: Inspection, weights: str) -> FeatureSpec:
    return FeatureSpec(
        name,
        weights,
        config.image_size,
        config.feature_dtype,
        config.seed[0],
        inspection.fingerprints,
        {split: len(images) for split, images in inspection.dataset.splits.items()},
        config.precision,
    )


def _with_features(plan: Plan, resources: Resources) -> Plan:
    config = plan.config
    data, verify = plan.data, config.verify_features
    source = Source(data.root, config.weights, config.image_size, config.seed[0], config.precision)
    needed = {name: plan.needed(name) for name in plan.variants}
    stored = compute.provide(plan.store, needed, data.splits, source, resources, verify=verify)
    return dataclasses.replace(plan, stored=stored)
