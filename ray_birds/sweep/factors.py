"""The factors: the axes that a sweep may vary, each declared once, as a field of `Variant`.

The option and its help, the grid, random samples, trial names, the columns of trials.csv, TensorBoard's HParams,
the effects in the report and the lines of the model card come from these declarations. Every room may import
this module, for it uses nothing but the settings below it.
"""

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ray_birds.core.settings import Settings

Depth = int | Literal["all"]
Augment = Literal["off", "on", "light", "article", "rand"]
Resize = Literal["stretch", "pad", "crop"]
BackboneName = Literal[
    "EfficientNetB0",
    "EfficientNetB2",
    "EfficientNetV2B0",
    "EfficientNetV2S",
    "EfficientNetV2M",
    "MobileNetV2-1.0",
    "MobileNetV2-0.35",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "ConvNeXtTiny",
    "ConvNeXtSmall",
    "ConvNeXtBase",
    "DenseNet121",
    "NASNetMobile",
    "ResNet50V2",
    "ResNet101V2",
]
FOLD = "fold"  # in the name of a trial that holds one out, before its number
MAX_IMAGE_SIZE = 4096  # at which a batch of 32 takes 6 GB before the first layer
BACKBONES: tuple[str, ...] = typing.get_args(BackboneName)


class View(NamedTuple):
    """One of the changed views of an image: of which policy, and its number in that."""

    policy: str  # a name in augment.POLICIES
    number: int


@dataclass(frozen=True)
class Factor:
    """What is said of a factor beside its field's name, type and default.

    `tried` are the values that a sweep tries unless told otherwise. `short` makes a value's part of a trial's
    name, another one for each value; it is shown where the sweep varies the factor, or `always`. `expected` says
    which values `accepts` lets through.
    """

    label: str
    help: str
    tried: tuple[Any, ...]
    short: Callable[[Any], str]
    always: bool = False
    phase: Literal["features", "head", "fine-tune", "steps", "both"] = "both"  # steps: of either, if it has any
    stored: bool = False  # another value means other stored features
    drawn: Literal["choice", "log-uniform"] = "choice"  # how random samples take a value
    accepts: Callable[[Any], bool] = lambda value: True
    expected: str = ""


def layers(depth: Depth) -> float:
    """A depth as a number; all are more than any."""
    return math.inf if depth == "all" else depth


def number(value: float) -> str:
    """A number in the fewest digits that give it back exactly: 0.001, 1e-05."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def factor(default: Any, **about: Any) -> Any:
    """A field of `Variant` that a sweep may vary; `about` as in Factor."""
    return field(default=default, metadata={"factor": Factor(**about)})


@dataclass(frozen=True)
class Variant(Settings):
    """One recipe to train: everything that decides the numbers of a trial, and nothing else."""

    backbone: BackboneName = factor(
        "EfficientNetB0",
        label="backbone",
        help="Pretrained networks to try.",
        tried=("EfficientNetB0",),
        short=str,
        stored=True,
    )
    augment: Augment = factor(
        "off",
        label="augmentation",
        help="Train on the images as they are (off) or on randomly changed views of them: light (flip, small "
        "shift, scale and rotation, brightness, contrast; on means these), article (the article's, with "
        "rotations up to 72 degrees) or rand (RandAugment).",
        tried=("off", "on"),
        short=lambda augment: {"off": "plain", "on": "aug"}.get(augment, augment),
        always=True,
        stored=True,
    )
    resize: Resize = factor(
        "stretch",
        label="resize",
        help="How an image of another shape becomes a square: stretched, padded with grey, or its middle cropped.",
        tried=("stretch",),
        short=str,
        phase="features",
        stored=True,
    )
    unfreeze: Depth = factor(
        0,
        label="unfrozen layers",
        help="Layers at the top of the backbone to fine-tune after the head phase: numbers, or all.",
        tried=(0, 10, 100),
        short="unfreeze{}".format,
        always=True,
        stored=True,
        accepts=lambda depth: depth == "all" or depth >= 0,
        expected="a number of layers from 0, or all",
    )
    head: Literal["probe", "adam"] = factor(
        "probe",
        label="head",
        help="How the head is trained on frozen layers: solved to convergence with the L2 penalty that is best on "
        "valid (probe), or by --head-epochs of Adam (adam).",
        tried=("probe",),
        short="head-{}".format,
        phase="head",
        stored=True,
    )
    learning_rate: float = factor(
        1e-3,
        label="learning rate",
        help="Learning rates of Adam in the head phase; fine-tuning has --fine-tune-factor times these.",
        tried=(1e-3,),
        short=lambda rate: f"lr{number(rate)}",
        always=True,
        phase="steps",
        drawn="log-uniform",
        accepts=lambda rate: 0 < rate < 10,
        expected="a number above 0, such as 0.001",
    )
    optimizer: Literal["adamw", "adam"] = factor(
        "adamw",
        label="optimizer",
        help="Optimizers of fine-tuning.",
        tried=("adamw",),
        short=str,
        phase="fine-tune",
    )
    weight_decay: float = factor(
        0.02,
        label="weight decay",
        help="Decay of AdamW, as a share of the learning rate; biases and normalisation have none.",
        tried=(0.02,),
        short=lambda decay: f"decay{number(decay)}",
        phase="fine-tune",
        accepts=lambda decay: 0 <= decay < 1,
        expected="a number from 0, such as 0.02",
    )
    schedule: Literal["cosine", "constant"] = factor(
        "cosine",
        label="schedule",
        help="Learning rates of fine-tuning: a warm-up, then falling to 0 (cosine) or as they are (constant).",
        tried=("cosine",),
        short=str,
        phase="fine-tune",
    )
    label_smoothing: float = factor(
        0.1,
        label="label smoothing",
        help="Share of each label that goes to all classes alike in fine-tuning.",
        tried=(0.1,),
        short=lambda share: f"smooth{number(share)}",
        phase="fine-tune",
        accepts=lambda share: 0 <= share < 1,
        expected="a share from 0, such as 0.1",
    )
    dropout: float = factor(
        0.0,
        label="dropout",
        help="Share of the features that the head does without in each step of fine-tuning; 0: none.",
        tried=(0.0,),
        short=lambda share: f"dropout{number(share)}",
        phase="fine-tune",
        accepts=lambda share: 0 <= share < 1,
        expected="a share from 0, such as 0.2",
    )
    ema: float = factor(
        0.0,
        label="weight averaging",
        help="Momentum of the exponential moving average of the weights in fine-tuning: it is what is scored and "
        "kept; 0: the weights themselves.",
        tried=(0.0,),
        short=lambda momentum: f"ema{number(momentum)}",
        phase="fine-tune",
        accepts=lambda momentum: 0 <= momentum < 1,
        expected="a momentum from 0, such as 0.99",
    )
    clip_norm: float = factor(
        0.0,
        label="gradient clipping",
        help="Norm, over all weights, that larger gradients of fine-tuning are scaled down to; 0: none.",
        tried=(0.0,),
        short=lambda norm: f"clip{number(norm)}",
        phase="fine-tune",
        accepts=lambda norm: 0 <= norm < float("inf"),
        expected="a number from 0, such as 1",
    )
    loss: Literal["cross_entropy", "focal"] = factor(
        "cross_entropy",
        label="loss",
        help="What fine-tuning makes small; focal gives images that are told well less weight (Lin et al. 2017, "
        "gamma 2).",
        tried=("cross_entropy",),
        short=str,
        phase="fine-tune",
    )
    class_weights: Literal["none", "balanced"] = factor(
        "none",
        label="class weights",
        help="Weights of images in training, heads included: all alike (none), or by the inverse of their class's "
        "number of training images, so that each class counts alike (balanced).",
        tried=("none",),
        short={"none": "unweighted", "balanced": "balanced"}.__getitem__,
    )
    seed: int = factor(
        0,
        label="seed",
        help="Seeds of the head's first weights and of the order of images; several give replicates.",
        tried=(0,),
        short="seed{}".format,
        accepts=lambda seed: seed >= 0,
        expected="0 or more",
    )
    image_size: int = 224
    batch_size: int = 32
    head_epochs: int = 5
    fine_tune_epochs: int = 8
    fine_tune_factor: float = 0.5
    warmup_epochs: float = 0.5
    keep: str = "best"
    select_by: str = "accuracy"
    patience: int = 0
    augment_seed: int = 0
    augment_views: int = 0
    precision: str = "float32"
    fold: int | None = None  # which fold is held out; None: no fold

    @property
    def epochs(self) -> int:
        """Epochs of both phases; with nothing unfrozen there is no second phase (the article's model 1)."""
        return self.head_phase + (self.fine_tune_epochs if self.unfreeze != 0 else 0)

    @property
    def solved(self) -> bool:
        """Whether the head is solved on features of one norm."""
        return self.head == "probe"

    @property
    def head_phase(self) -> int:
        """Epochs of the first phase; a solved head counts as one."""
        return 1 if self.solved else self.head_epochs

    @property
    def head_facts(self) -> tuple[Any, ...]:
        """All that decides a solved head: equal for variants that begin to fine-tune from the same one."""
        views = tuple(view and tuple(view) for view in self.views(0))
        facts = (self.backbone, self.image_size, self.precision, self.augment_seed, views)
        return (*facts, self.class_weights, self.resize, self.fold)

    @property
    def policy(self) -> str:
        """The policy of augmentation, or off."""
        return "light" if self.augment == "on" else self.augment

    @property
    def augmented(self) -> bool:
        return self.augment != "off"

    def views(self, epoch: int) -> tuple[View | None, ...]:
        """The views of each image that `epoch` (from 0) trains on; None is the image itself.

        A head is solved on the images and as many views at once as --head-epochs says; fine-tuning then uses
        the views again, in turn: their features below the cut point come from the same pass through the network.
        """
        if not self.augmented:
            return (None,)
        if self.head == "adam":
            numbers = range(epoch, epoch + 1)
        else:
            numbers = range(epoch - 1, epoch) if epoch else range(self.head_epochs)
        count = self.augment_views or (self.head_epochs if self.solved else 0)
        views = dict.fromkeys(View(self.policy, n % count if count else n) for n in numbers)
        return (None, *views) if self.solved and epoch == 0 else tuple(views)

    @property
    def values(self) -> dict[str, Any]:
        """The value of each factor, by name."""
        return {name: getattr(self, name) for name in factors(type(self))}

    @property
    def idle(self) -> set[str]:
        """The factors that change nothing here: this variant does not fine-tune, or takes no steps at all."""
        phases = {"fine-tune"} if self.unfreeze == 0 else set()
        phases |= {"steps"} if phases and self.solved else set()
        return {name for name, about in factors(type(self)).items() if about.phase in phases}

    def name(self, varied: Iterable[str] = ()) -> str:
        """The trial's name, such as `aug-unfreeze100-lr0.001`; stable, it names folders and rows.

        It says every factor of `varied`, those that the sweep varies, and some always.
        """
        shown = set(varied)
        known = factors(type(self))
        parts = [
            known[name].short(value) for name, value in self.values.items() if known[name].always or name in shown
        ]
        return "-".join([*parts, *([] if self.fold is None else [f"{FOLD}{self.fold}"])])

    def recipe(self, varied: Iterable[str] = ()) -> str:
        """The name without the seed: the same for all replicates."""
        return self.name(set(varied) - {"seed"})


def factors(variant: type[Variant] = Variant) -> dict[str, Factor]:
    """The factors of a class of variants by name, in the order of its fields."""
    found = ((each.name, each.metadata.get("factor")) for each in dataclasses.fields(variant))
    return {name: about for name, about in found if about is not None}


def types(variant: type[Variant] = Variant) -> dict[str, Any]:
    """The type of each factor's values."""
    hints = typing.get_type_hints(variant)
    return {name: hints[name] for name in factors(variant)}


def varied(variants: Iterable[Variant]) -> tuple[str, ...]:
    """The factors in which some of these differ."""
    values = [variant.values for variant in variants]
    return tuple(name for name in (values[0] if values else ()) if len({one[name] for one in values}) > 1)
