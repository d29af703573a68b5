"""The sentences on a sweep's winner, which terminal, report and model card print as they are."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ray_birds.core.text import are, have
from ray_birds.evaluation.leakage import COPY_IN_TRAIN, left_out, said, share
from ray_birds.evaluation.metrics import Estimate, wilson

if TYPE_CHECKING:
    from ray_birds.evaluation.significance import Comparison, Significance

_NAMED = 6  # recipes named in a sentence


def sentences(found: "Significance") -> tuple[str, ...]:
    """Each is true as it stands; the first holds the headline."""
    if found.bundle.recipe != found.winner:
        return _of_another(found)
    return (
        f"The winner is {found.winner}. {found.test.sentence if found.test else _valid(found)}",
        *([_valid(found)] if found.test else []),
        _tested(found),
        *_bundle(found),
        *(_compared(found) if found.comparisons else ["There is no other variant to compare it with."]),
        *_limits(found),
        *_elsewhere(found),
    )


def tta(measured: Mapping[str, Any]) -> list[str]:
    """What a bundle scored with test-time augmentation, by its metrics.json; nothing where that was not asked."""
    scored = [(split, one) for split, one in measured.items() if isinstance(one, dict) and "tta" in one]
    parts = [
        f"{said(Estimate.from_json(one['tta']['accuracy']), one['images'])} on {split}, "
        f"{share(one['accuracy']['value'], one['images'])} without"
        for split, one in scored
    ]
    if not parts:
        return []
    return [
        "With test-time augmentation, the mean over an image and its mirror image, the model has an accuracy of "
        f"{'; '.join(parts)}. All other scores, the choice and the temperature are without it."
    ]


def _of_another(found: "Significance") -> tuple[str, ...]:
    """Of a bundle that is not the winner's."""
    right = round(found.bundle.accuracy * found.images)
    score = said(wilson(right, found.images), found.images)
    other = next(one for one in found.comparisons if one.recipe == found.bundle.recipe)
    return (
        f"This is {found.bundle.name}, which did not win its sweep: {found.winner} did.",
        *([found.test.sentence] if found.test else []),
        f"{_new_images(found)} {score} {are(found.images)} named right, an interval of this one model.",
        _tested(found),
        *_bundle(found),
        *_beside_the_winner(found, other),
        *_limits(found),
        *_elsewhere(found),
    )


def _beside_the_winner(found: "Significance", other: "Comparison") -> list[str]:
    """How another recipe compares with it, and what it saves."""
    behind = f"it is {_distance(other)}"
    margin = _margin(found)
    if other.worse:
        made = [f"By more than chance the winner is better: {behind}."]
    elif other.as_good:
        made = [f"It is shown to be as good as the winner, to within {margin}: {behind}."]
    else:
        made = [f"Too few images to say whether it is as good as the winner, to within {margin}: {behind}."]
        made.append(_needed([other], found))
    if other.cost.cheaper_than(found.cost):
        made.append(f"It is cheaper: {other.cost.against(found.cost)}.")
    return [*made, *_pairs(found)]


def _tested(found: "Significance") -> str:
    """What part the test split had."""
    if found.test is None:
        if found.untested:
            return "This model was not scored on the test split, which was looked at for the winner alone."
        return "There was no test split, so no score is of images that had no part in the choice."
    if found.bundle.recipe == found.winner:
        which = "images that count" if found.test.seen else "split"
        several = any(one.recipe == found.winner for one in found.spreads)
        one = " Test accuracy is that of the bundle, not a mean over seeds." if several else ""
        return f"The test {which} had no part in the choice.{one}"
    return (
        "Every variant was scored on test (--score-all): if this one was chosen by that, its test accuracy is no "
        "fair figure."
    )


def _valid(found: "Significance") -> str:
    others = len(found.comparisons)
    seeds = next((one.seeds for one in found.spreads if one.recipe == found.winner), 1)
    mean = f", the mean of {seeds} seeds" if seeds > 1 else ""
    by = "" if found.by == "accuracy" else f" by {found.by}"
    on = "all of valid" if found.copies else "these images"
    picked = (
        f"; the best of {others + 1} recipes{by} was picked on {on}, which the interval counts in"
        if others
        else ""
    )
    score = said(found.accuracy, found.images)
    if not found.folds:
        whole = f"{_new_images(found)} {score} {are(found.images)} named right{mean}{picked}."
        if found.nothing_new:
            return f"All valid images have a {COPY_IN_TRAIN}: nothing said of them holds for new images. {whole}"
        return whole + f" {left_out(found.copies, found.images + found.copies, found.whole)}" * bool(found.copies)
    whole = (
        f" Their {found.groups:,} groups of images that belong together are whole, and the interval takes the "
        "images of a group for no more than they say together."
    )
    return (
        f"Of the {found.images:,} images that {found.folds} folds held out {score} are named right, each by a "
        f"model that had not learned from its fold{mean}{picked}."
    ) + whole * (found.groups < found.images)


def _new_images(found: "Significance") -> str:
    """`Of the 262 valid images that have no copy or look-alike in train`."""
    which = f" that {have(found.images)} no {COPY_IN_TRAIN}" if found.copies and not found.nothing_new else ""
    return f"Of the {found.images:,} valid {'image' if found.images == 1 else 'images'}{which}"


def _bundle(found: "Significance") -> list[str]:
    """Which run was exported, where its recipe has several."""
    own = next((one for one in found.spreads if one.recipe == found.bundle.recipe), None)
    value = share(found.bundle.accuracy, found.images)
    if found.folds:
        seed = f", with seed {found.bundle.seed}" if own else ""
        known = "all images but those of test" if found.test or found.untested else "all images"
        return [
            f"The bundle was trained again{seed}, on {known}, as long as was best over the folds: it has no score "
            "on the images that these held out."
        ]
    if own is None:
        return []
    if own.low == own.high:
        return [f"The bundle is that of seed {found.bundle.seed}; all seeds of its recipe scored the same."]
    if found.bundle.accuracy < own.high:
        kind = "not the luckiest of its seeds"
    else:
        kind = "the luckiest of its seeds: expect the mean of them"
    spread = f"{share(own.low, found.images)} to {share(own.high, found.images)}"
    return [f"The bundle is that of seed {found.bundle.seed} (valid {value}), {kind} ({spread})."]


def _compared(found: "Significance") -> list[str]:
    margin = _margin(found)
    worse = [one for one in found.comparisons if one.worse]
    same = [one for one in found.comparisons if one.same]
    equal = [one for one in found.comparisons if one.as_good and not one.same]
    better = [one for one in found.comparisons if one.difference.high < 0 and not one.as_good]
    unknown = [one for one in found.comparisons if not (one.worse or one.as_good or one in better)]
    made = []
    if same:
        where = "over the folds" if found.folds else "on valid"
        made.append(
            f"{_list(same, lambda one: one.recipe)} {are(len(same))} the same model: the solved head that all of "
            f"these began with, which fine-tuning did not make better {where}."
        )
    if worse:
        made.append(f"By more than chance it is better than {_list(worse, _points)}.")
    elif len(same) < len(found.comparisons):
        made.append("It is not shown to be better than any other variant.")
    if better:
        what = "accuracy, which it was not chosen by" if found.by != "accuracy" else "accuracy without copies"
        made.append(f"By {what}, these are better: {_list(better, _apart)}.")
    if equal:
        made.append(f"Shown to be as good, to within {margin}: {_list(equal, _apart)}.")
    if unknown:
        made.append(f"Too few images to say whether as good, to within {margin}: {_list(unknown, _apart)}.")
        made.append(_needed(unknown, found))
    return [*made, *(_pairs(found) if len(same) < len(found.comparisons) else []), _advice(found)]


def _margin(found: "Significance") -> str:
    return f"{100 * found.margin:g} point{'' if found.margin == 0.01 else 's'}"


def _pairs(found: "Significance") -> list[str]:
    """What the intervals of differences hold for."""
    number = len(found.comparisons) + 1
    if number == 2:
        return []
    return [
        f"Intervals of differences hold for all pairs of the {number} recipes at once: of sweeps of equally good "
        "recipes, at most 5 % find any difference."
    ]


def _needed(unknown: Sequence["Comparison"], found: "Significance") -> str:
    numbers = [one.images_needed for one in unknown if one.images_needed is not None]
    kind = "images" if found.folds else "valid images"
    if not numbers:
        return f"More {kind} alone might not tell: seeds seem to move accuracy too far; it takes more seeds."
    rest = "" if len(numbers) == len(unknown) else "; of the others, more seeds"
    low, high = _round(min(numbers)), _round(max(numbers))
    if low == high:
        return f"About {low:,} {kind} would tell{rest}."
    return f"About {low:,} {kind} would tell of the first of these, {high:,} of all{rest}."


def _advice(found: "Significance") -> str:
    chosen = found.recommended
    if chosen is None:
        costs = {found.cost.multiply_adds, *(one.cost.multiply_adds for one in found.comparisons)}
        same = len(costs) == 1 and None not in costs
        alike = " All predict at the same cost: they share a backbone." if same else ""
        return f"No cheaper variant is shown to be as good.{alike}"
    cheaper = "cheaper" if chosen.cost.predicts_like(found.cost) else "cheaper to predict with"
    return f"{chosen.recipe} is shown to be as good and {cheaper}: {chosen.cost.against(found.cost)}."


def _limits(found: "Significance") -> list[str]:
    """What the comparison does not cover."""
    single = len(found.comparisons) + 1 - len(found.spreads)
    tuned = []
    if found.tuned:
        several = len(found.tuned) > 1
        tuned = [
            f"The {' and the '.join(found.tuned)} {'were' if several else 'was'} picked on "
            f"{'what the folds held out' if found.folds else 'valid'} too, which no interval counts in."
        ]
    if not found.spreads:
        return [
            *tuned,
            "All this is of models trained with one seed each: how far they would move if trained again is not "
            "known."
            if found.comparisons
            else "It was trained with one seed: how far it would move if trained again is not known.",
        ]
    made = [*tuned, "Recipes are compared by their means over seeds, and how far seeds move them is counted in."]
    if single:
        made.append(f"{single} of them had one seed: it is taken that seeds move these as far as the others.")
    return made


def _elsewhere(found: "Significance") -> list[str]:
    """Where copies do count."""
    if (found.copies and not found.nothing_new) or (found.test and found.test.seen):
        return [
            "Tables and charts of the variants are of all valid images, copies too, where they say nothing else."
        ]
    return []


def _points(one: "Comparison") -> str:
    """The difference with its interval, in percentage points."""
    value, low, high = (_point(number) for number in one.difference)
    return f"{one.recipe} (by {value} points, interval {low} to {high})"


def _apart(one: "Comparison") -> str:
    """The recipe, and which way it differs from the winner, and by how much."""
    return f"{one.recipe} ({_distance(one)})"


def _distance(one: "Comparison") -> str:
    value, low, high = one.difference
    if value < 0:
        return f"ahead by {_point(-value)} points, interval {_point(-high)} to {_point(-low)}"
    which = f"behind by {_point(value)} points" if value else "level"
    return f"{which}, interval {_point(low)} to {_point(high)}"


def _point(share: float) -> str:
    """One digit behind the point; two where one would say 0 of what is not."""
    return f"{100 * share + 0.0:.{1 if abs(share) >= 5e-4 or share == 0 else 2}f}"


def _list(some: Sequence["Comparison"], text: Callable[["Comparison"], str]) -> str:
    """At most _NAMED of them, the closest to the winner first, and the number of the others."""
    ranked = [text(one) for one in sorted(some, key=lambda one: one.difference.value)]
    rest = len(ranked) - _NAMED
    return "; ".join(ranked) if rest <= 0 else f"{'; '.join(ranked[:_NAMED])}; and {rest} more"


def _round(images: float) -> int:
    """Two digits, which is all that such a guess bears."""
    return int(float(f"{images:.2g}"))
