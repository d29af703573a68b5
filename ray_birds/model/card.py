"""The model card: README.md in a bundle, for whoever finds the model without the sweep it came from.

What it should say follows M. Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

import math
from collections.abc import Sequence
from typing import Any

from ray_birds.core import storage
from ray_birds.core.text import markdown as escaped
from ray_birds.core.text import printable
from ray_birds.evaluation.metrics import FEW, Estimate, Evaluation, wilson
from ray_birds.evaluation.recalls import Recalls
from ray_birds.model import lines
from ray_birds.model.bundle import CARD, least_keras
from ray_birds.sweep import factors
from ray_birds.sweep.factors import Variant

_POLICIES = {
    "light": "random flip, small shift, scale and rotation, brightness and contrast",
    "article": "random flip, rotation, zoom, height and width",
    "rand": "random flip and RandAugment",
}
_WEAK = 10  # classes in the table
_PAIRS = 5  # confused pairs in the line below it


def write(uri: str, text: str) -> None:
    """Write the card into the bundle at `uri`; the bundle's digest does not cover it."""
    storage.write(storage.join(uri, CARD), text.encode())


def markdown(
    variant: Variant,
    weights: str,
    data: dict[str, Any],
    evaluations: dict[str, Evaluation],
    said: Sequence[str],
    selective: dict[str, Any],
    epoch: int,
    recalls: Recalls | None = None,
) -> str:
    """The card as Markdown.

    `weights` is what the backbone began with: imagenet, none or the path of a file. `data` is the sweep's
    dataset.json. `evaluations` are the scores by split: valid, and test where there is one; `said` are the
    sentences of the sweep's significance, `selective` what `evaluation.selective.summary` says of thresholds.
    `epoch` is the one whose weights these are; `recalls` are there where classes are uneven.
    """
    name = folder_name(data["root"])
    made = f"{variant.backbone} with {_first_weights(weights)}, fine-tuned on {_code(name)} by ray-birds"
    sections = (
        f"# {len(data['classes'])} classes of {escaped(name)}\n\nAn image classifier: {made}.",
        _loading(variant),
        _results(evaluations, said, data.get("folds", 0)),
        _trust(selective, data.get("folds", 0), grouped=data.get("grouped", False)),
        _weak(evaluations, data.get("folds", 0)),
        *([_rare(recalls)] if recalls else []),
        _recipe(variant, weights, epoch, data.get("folds", 0)),
        _data(data),
        _use(len(data["classes"])),
    )
    return "\n\n".join(sections) + "\n"


def _loading(variant: Variant) -> str:
    return f"""## How to load it

With plain Keras, {lines.PACKAGES}, in this folder:

```python
import json, keras
{lines.pixels(variant.image_size, variant.resize)}

model = keras.saving.load_model("model.keras")
scores = model.predict(pixels("photo.jpg")[None])
print(json.load(open("classes.json", encoding="utf-8"))[scores.argmax()])
```

`pixels` is what the model was trained and measured with: a loader that leaves photographs on their side, or lays
transparency over black, costs accuracy. Pixels go in as they are, RGB from 0 to 255: scaling lies inside the
model. Probabilities come out, in the order of `classes.json`. It takes Keras {least_keras()} or later;
`versions.json` says which versions wrote it."""


def _name(split: str, folds: int) -> str:
    """What a split is called; with folds `valid` are the images that these held out."""
    return f"{folds} folds" if folds and split == "valid" else split


def _results(evaluations: dict[str, Evaluation], said: Sequence[str], folds: int) -> str:
    columns = ("split", "images", "accuracy", "95 % interval", "macro F1", "95 % interval")
    rows = [
        (_name(split, folds), f"{score.images:,}", *_estimate(score.accuracy), *_estimate(score.macro_f1))
        for split, score in evaluations.items()
    ]
    few = [
        f"Macro F1 on {_name(split, folds)}: {one.macro_f1_text}."
        for split, one in evaluations.items()
        if _few(one)
    ]
    about = (
        "The interval on valid is that of one model; where the best of several was picked there, the one above "
        "counts it in."
    )
    if folds:
        about = (
            "What the folds say is of models that learned from the other folds; this one learned from all of "
            "these images, and has a score of its own on test alone."
        )
    return f"""## Results

{chr(10).join(f"- {escaped(sentence)}" for sentence in said)}

{_table(columns, rows)}

{about}
{" ".join([*few, ""])}`metrics.json` has all numbers."""


def _trust(selective: dict[str, Any], folds: int, *, grouped: bool) -> str:
    tested = any(one and "test" in one for one in selective.values())
    beside = "Test had no say in anything." * tested
    if grouped:
        beside = "Images that belong together count singly, so that it promises a little much. " + beside
    columns: tuple[str, ...] = (
        "accuracy wanted",
        "probability at least",
        f"accepted of {_name('valid', folds)}",
        "accuracy at least",
    )
    columns += ("accepted of test", "accuracy there", "95 % interval") * tested
    rows = [
        (f"{float(target):.0%}".replace("%", " %"), *_threshold(one, tested)) for target, one in selective.items()
    ]
    return f"""## Which predictions to accept

Those whose probability reaches the threshold. It is the lowest at which the accuracy of what is accepted is, with
95 % confidence, what is wanted; it takes into account that the model was chosen among those of its sweep by these
images, though not that its epoch, the penalty of a solved head and its temperature were. None means that these
images do not show one. Images with a copy or look-alike in train, or of test in valid, do not count. {beside}

{_table(columns, rows)}"""


def _threshold(one: dict[str, Any] | None, tested: bool) -> tuple[str, ...]:
    if one is None:
        return "none", *("–",) * (5 if tested else 2)
    valid = one["valid"]
    cells = (f"{one['threshold']:.2f}", _share(valid), f"{valid['at_least']:.1%}".replace("%", " %"))
    if not tested:
        return cells
    return *cells, _share(one["test"]), *_estimate(Estimate.from_json(one["test"]["accuracy"]))


def _share(one: dict[str, Any]) -> str:
    return f"{one['accepted']:,} of {one['images']:,}"


def _few(evaluation: Evaluation) -> bool:
    return math.isnan(evaluation.macro_f1.low)


def _weak(evaluations: dict[str, Evaluation], folds: int) -> str:
    split = "test" if "test" in evaluations else "valid"
    score = evaluations[split]
    split = _name(split, folds)
    wrong = [one for one in score.per_class if one.recall.value < 1]  # false for NaN: no images
    if not wrong:
        return f"## Weak classes\n\nNone is known: every image of {split} was recognised."
    support = {one.name: one.support for one in score.per_class}
    worst = sorted(wrong, key=lambda one: wilson(round(one.recall.value * one.support), one.support)[::-1])[:_WEAK]
    mistaken = f"{len(wrong)} of {sum(map(bool, support.values()))} classes had mistakes on {split}."
    if max(support[one.name] for one in wrong) < FEW:
        few = f"None of these has {FEW} images there: too few to tell a weak class from bad luck."
        return f"## Weak classes\n\n{mistaken} {few}"
    columns = ("class", "images", "recognised", "95 % interval")
    pairs = "; ".join(
        f"{escaped(pair.label)} for {escaped(pair.prediction)} ({pair.images} of {support[pair.label]})"
        for pair in score.confused[:_PAIRS]
    )
    return f"""## Weak classes

{mistaken} Those that are weak most
certainly come first, by the upper end of the interval. A wide interval means too few images to tell a weak
class from bad luck.

{_table(columns, [(escaped(one.name), str(one.support), *_estimate(one.recall)) for one in worst])}

Most often taken one for another: {pairs}."""


def _rare(recalls: Recalls) -> str:
    columns = (
        "class",
        "training images",
        f"{recalls.on} images",
        "before",
        "95 % interval",
        "after",
        "95 % interval",
    )
    rows = [
        (escaped(one.name), f"{one.trained:,}", f"{one.images:,}", *_estimate(one.before), *_estimate(one.after))
        for one in recalls.classes[:_WEAK]
    ]
    return f"""## Classes of few training images

{escaped(recalls.sentence)}

{_table(columns, rows)}"""


def _recipe(variant: Variant, weights: str, epoch: int, folds: int) -> str:
    valid = f"over {folds} folds" if folds else "on valid"
    size, rate = variant.image_size, variant.learning_rate
    head = f"{_epochs(variant.head_epochs)} with Adam at {rate:g}, all else frozen"
    if variant.solved:
        head = f"solved to convergence on frozen layers, with the L2 penalty that was best {valid}"
    depth = "all layers" if variant.unfreeze == "all" else f"the last {variant.unfreeze} layers"
    tuned = f"{depth} of the backbone, {_epochs(variant.fine_tune_epochs)}, {_optimizer(variant)}"
    number = variant.augment_views or (variant.head_epochs if variant.solved else 0)
    views = f"{number} view{'' if number == 1 else 's'} of each" if number else "a new view in every epoch"
    return f"""## Recipe

- Backbone: {variant.backbone} with {_first_weights(weights)}, {size} x {size} pixels
- Head: softmax on global average pooling, {head}
- Fine-tuning: {"none" if variant.unfreeze == 0 else tuned}
- Augmentation: {f"{_POLICIES[variant.policy]}, {views}" if variant.augmented else "none"}
- Weights: those of epoch {epoch}, {"the last" if variant.keep == "last" else f"the best {valid}"}
{_others(variant)}- Batches of {variant.batch_size}, seed {variant.seed}, BatchNorm in inference mode throughout

`variant.json` has all settings."""


def _optimizer(variant: Variant) -> str:
    """Fine-tuning's optimizer and learning rates, in words."""
    name = f"AdamW (decay {variant.weight_decay:g})" if variant.optimizer == "adamw" else "Adam"
    rate = f"{variant.learning_rate * variant.fine_tune_factor:g}"
    if variant.warmup_epochs:
        rate += f" after a warm-up of {variant.warmup_epochs:g} epochs"
    falling = ", falling to 0 as a cosine" if variant.schedule == "cosine" else ""
    smoothing = f", label smoothing {variant.label_smoothing:g}" if variant.label_smoothing else ""
    return f"{name} at {rate}{falling}{smoothing}"


def _others(variant: Variant) -> str:
    """A line for each factor that the lines above do not tell and that is not as it is by default."""
    told = {"backbone", "augment", "unfreeze", "learning_rate", "seed", "head"}
    told |= {"optimizer", "weight_decay", "schedule", "label_smoothing"}
    default = type(variant)().values
    return "".join(
        f"- {about.label.capitalize()}: {variant.values[name]}\n"
        for name, about in factors.factors(type(variant)).items()
        if name not in told and variant.values[name] != default[name]
    )


def _data(data: dict[str, Any]) -> str:
    rows = [(split, f"{count:,}") for split, count in data["splits"].items()]
    bad, name = data["bad_images"], _code(folder_name(data["root"]))
    made = f"\n{' and '.join(data['made'])} had no folder and were taken from train." if data["made"] else ""
    return f"""## Data

{name}, {len(data["classes"])} classes{f", {bad:,} unreadable images left out" if bad else ""}.
Fingerprint of its files: `{data["fingerprint"]}`.{made}

{_table(("split", "images"), rows)}"""


def _use(classes: int) -> str:
    return f"""## Intended use and limits

It tells which of its {classes} classes an image shows. An image of something else gets one of these classes too,
sometimes with a high probability; `ray-birds predict --ood-score` says how far an image lies from those it was
trained on, which tells some of them. The results hold for images like those of
the data set; where yours differ in camera, distance or place, measure on some of your own first. One best guess is
no identification: where a mistake has consequences, a person should look.

Whether the model may be passed on depends on the licences of the images and of the first weights, which
ray-birds does not know."""


def folder_name(root: str) -> str:
    """Name of the data set's folder; where it lies is nobody's business."""
    return root.partition("?")[0].rstrip("/").rpartition("/")[2]


def _code(name: str) -> str:
    return "`" + printable(name).replace("`", "'") + "`"


def _first_weights(weights: str) -> str:
    known = {"imagenet": "ImageNet weights", "none": "random weights"}
    return known.get(weights) or f"the weights {_code(folder_name(weights))}"


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


def _estimate(estimate: Estimate) -> tuple[str, str]:
    value, low, high = (f"{100 * number:.1f}" for number in estimate)
    return f"{value} %", "too few images" if math.isnan(estimate.low) else f"{low} to {high} %"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
