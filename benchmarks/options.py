"""What a benchmark measures: its settings and the sweeps."""

import itertools
from dataclasses import dataclass
from typing import Literal

from ray_birds.sweep.factors import Augment, Variant

Part = Literal["keras", "direct", "store", "again", "asha"]
SweepName = Literal["heads", "pair", "depths", "all"]
RATES = (1e-3, 3e-3)
EIGHT_RATES = (3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2)


@dataclass(frozen=True)
class Grid:
    """The variants of a sweep: all combinations."""

    augment: tuple[Augment, ...]
    unfreeze: tuple[int, ...]
    learning_rate: tuple[float, ...]

    def names(self) -> list[str]:
        """Of the trials, as our sweep and the plain Keras script both call them."""
        return [
            Variant(augment=augment, unfreeze=unfreeze, learning_rate=rate).name()
            for augment, unfreeze, rate in itertools.product(self.augment, self.unfreeze, self.learning_rate)
        ]

    def arguments(self) -> list[str]:
        """As our sweep and the plain Keras script both take them."""
        rates = [f"{rate:g}" for rate in self.learning_rate]
        depths = [str(depth) for depth in self.unfreeze]
        return ["--augment", *self.augment, "--unfreeze", *depths, "--learning-rate", *rates]


SWEEPS: dict[SweepName, Grid] = {
    "heads": Grid(("off",), (0,), EIGHT_RATES),
    "pair": Grid(("off",), (0, 10), RATES),
    "depths": Grid(("off",), (0, 10, 100), RATES),
    "all": Grid(("off", "article"), (0, 10, 100), RATES),
}


@dataclass(frozen=True)
class Options:
    """Time sweeps side by side on the same images and epochs, each from process start to process end.

    keras: plain Keras, one variant after another; direct: our sweep with --features none; store: with a
    feature store that does not exist yet; again: with the store made by the part before; asha: as store, with
    --scheduler asha.
    """

    sweep: tuple[SweepName, ...] = ("all",)
    """heads: unfreeze 0, plain, 8 learning rates; the others take 2 rates and unfreeze 0/10 plain (pair),
    0/10/100 plain (depths), 0/10/100 plain and augmented (all). Of several, plain Keras runs the last alone, which
    must contain the others: what it takes for these is without the seconds of the variants that they lack."""
    parts: tuple[Part, ...] = ("keras", "direct", "store", "again", "asha")
    """What to time, in this order."""
    repeat: int = 1
    """How often to time each part; the table shows medians."""
    grow: tuple[int, ...] = ()
    """Measure growth with the number of images instead, at these numbers: 500 1000 2000."""
    images: int = 600
    """Training images to draw, 48 or more; valid and test get a quarter as many each."""
    data: str = ""
    """Folder of real photographs with train/, valid/ and test/ to take instead of drawn images."""
    backbone: str = "EfficientNetB0"
    """As in jobs/tune.py."""
    weights: str = "random"
    """random (right for speed, but accuracies mean little), imagenet, a Keras weight file without top, or none:
    random without features to tell images by, so that all variants score alike and ASHA stops none."""
    image_size: int = 224
    """Side in pixels of the square that every image is resized to."""
    head_epochs: int = 5
    """Epochs with the backbone frozen."""
    fine_tune_epochs: int = 5
    """Epochs with the top layers unfrozen."""
    output: str = "benchmarks/results.jsonl"
    """File to append one line of JSON per measurement to."""
    work: str = ""
    """Folder for images, logs and results, kept afterwards; by default a new temporary one."""

    def __post_init__(self) -> None:
        if min((self.images, *self.grow)) < 48:
            raise SystemExit("error: --images and --grow need 48 or more, so that each split has all 12 classes")
        if self.grow and self.data:
            raise SystemExit("error: --grow draws its own images: leave out --data")
        largest = set(SWEEPS[self.sweep[-1]].names())
        if not all(largest.issuperset(SWEEPS[name].names()) for name in self.sweep):
            raise SystemExit(f"error: --sweep: {self.sweep[-1]}, the last, must contain the others")
        if "again" in self.parts and "store" not in self.parts[: self.parts.index("again")]:
            raise SystemExit("error: --parts again needs store before it")
