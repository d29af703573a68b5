"""The options of `bundle`."""

from dataclasses import dataclass

from ray_birds.core.settings import Settings


@dataclass(frozen=True)
class BundleConfig(Settings):
    """Make a bundle of any finished trial of a finished sweep, such as the cheaper one that is as good."""

    sweep: str
    """A finished sweep: <results>/<name>. Its images and weights must be where they were."""
    trial: str
    """Name of the trial, as the sweep's table and trials.csv have it."""
    output: str = ""
    """Folder to write the bundle to; must not exist. By default <sweep>/bundles/<trial>."""
    verbose: bool = False
    """Show what TensorFlow prints."""
