"""Where a sweep starts from: settings with every default filled in, or those of the sweep that it resumes."""

import dataclasses
from collections.abc import Collection
from datetime import datetime

from ray_birds.config import TuneConfig
from ray_birds.core import storage
from ray_birds.core.errors import OutputError, SettingsError
from ray_birds.core.settings import option
from ray_birds.sweep.directory import SweepDirectory

# These may have moved since: what they hold is compared, by digests, not where it lies.
_URIS = ("data", "labels", "results", "weights", "features_dir")
# These decide nothing about the numbers: a sweep that is resumed takes them as they are given now.
_FREE = (
    *("resume", "verbose", "verify_features", "verify_images", "max_failures", "time_limit", "track"),
    *("gpus_per_trial", "cpus_per_trial", "workers_per_trial"),
)


def begin(config: TuneConfig, given: Collection[str]) -> tuple[TuneConfig, SweepDirectory]:
    """The settings resolved, and the directory of the sweep: to be made or, with --resume, as it is.

    `given` are the options that the user gave, by field. Raises OutputError where the directory is taken, or has
    nothing to resume, and SettingsError for an option that the sweep was not started with.
    """
    name = config.name or datetime.now().strftime("%Y%m%d-%H%M%S")
    root = storage.resolve(config.results)
    directory = SweepDirectory(storage.join(root, name))
    if config.resume:
        if not directory.exists():
            raise OutputError(f"{directory.uri}: no sweep to resume; leave out --resume to start it")
        return _resumed(config, directory.config(type(config)), root, given), directory
    if storage.exists(directory.uri):
        raise OutputError(f"{directory.uri}: exists; choose another --name, or --resume to resume it")
    if not config.data:
        raise SettingsError("--data is missing: the folder with train/, valid/ and test/")
    places = {place: _place(config, place, root) for place in _URIS}
    return config.replace(name=name, **places), directory


def _place(config: TuneConfig, name: str, root: str) -> str:
    """An option that names a place, absolute; `root` is that of --results."""
    if name == "results":
        return root
    if name == "features_dir":
        return storage.resolve(config.features_dir or storage.join(root, "features"))
    given: str = getattr(config, name)
    is_path = given not in ("imagenet", "none") if name == "weights" else bool(given) or name != "labels"
    return storage.resolve(given) if is_path else given


def _resumed(config: TuneConfig, kept: TuneConfig, root: str, given: Collection[str]) -> TuneConfig:
    """The settings of the sweep to resume; those given again must be the same, free ones and places may differ."""
    for field in dataclasses.fields(config):
        if field.name not in given or field.name in (*_FREE, *_URIS):
            continue
        value, was = getattr(config, field.name), getattr(kept, field.name)
        if value != was:
            raise SettingsError(
                f"{option(field.name)} {_text(value)}: the sweep to resume had {_text(was)}; leave it out or use "
                "another --name"
            )
    free = {name: getattr(config, name) for name in _FREE if name in given}
    places = {name: _place(config, name, root) for name in _URIS if name in given} | {"results": root}
    if "features_dir" not in given and kept.features_dir == storage.join(kept.results, "features"):
        places["features_dir"] = storage.join(root, "features")  # they move with the results
    return kept.replace(**free | places | {"resume": True})


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
