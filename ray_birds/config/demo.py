"""The options of `demo`."""

from dataclasses import dataclass

from ray_birds.core.settings import Settings


@dataclass(frozen=True)
class DemoConfig(Settings):
    """Draw birds of species that do not exist, run a sweep on them, and predict, in some minutes."""

    output: str = "results/demo"
    """Folder for the drawn birds, the sweep and its predictions."""
    seed: int = 0
    """Another seed draws other images of the same species."""
