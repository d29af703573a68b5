"""What a job makes of an image's probabilities: which classes have a say, what is accepted, what it is called."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ray_birds.config import PredictConfig
from ray_birds.core import storage
from ray_birds.core.errors import ModelError, SettingsError
from ray_birds.evaluation.ood import Reference
from ray_birds.evaluation.selective import Known
from ray_birds.model.bundle import Bundle
from ray_birds.prediction import taxonomy
from ray_birds.prediction.taxonomy import Taxonomy

_TAXON = [("taxon", pa.string()), ("rank", pa.string()), ("taxon_probability", pa.float32())]


def fields(config: PredictConfig) -> list[pa.Field]:
    """The columns that a job is asked for here."""
    accepts = config.threshold, config.target_accuracy, config.reject_unknown
    found = [("accepted", pa.bool_())] * any(value is not None for value in accepts)
    found += [("ood_score", pa.float32())] * (config.ood_score or config.reject_unknown is not None)
    return [pa.field(*column) for column in found + _TAXON * bool(config.taxonomy)]


def settings(config: PredictConfig) -> dict[str, Any]:
    """What of this decides the rows, by option; of files the digest of what is in them."""
    names = ("threshold", "target_accuracy", "ood_score", "reject_unknown")
    files = {name: getattr(config, name) for name in ("taxonomy", "only_classes")}
    return {name: getattr(config, name) for name in names} | {
        name: storage.digest([storage.read(storage.resolve(uri))]) if uri else "" for name, uri in files.items()
    }


@dataclass(frozen=True)
class Answer:
    """Without anything asked for it leaves probabilities as they are and adds no column.

    A prediction is accepted where its probability reaches `threshold` and the image lies no further away than
    `reject_unknown` percent of `known`; None asks for nothing. `only` are the classes that can occur; empty: all.
    """

    threshold: float | None = None
    reject_unknown: float | None = None
    ood_score: bool = False
    only: tuple[str, ...] = ()
    taxonomy: Taxonomy | None = None
    classes: tuple[str, ...] = ()
    known: Known = field(default_factory=Known, compare=False, repr=False)
    reference: Reference = field(default_factory=Reference, compare=False, repr=False)

    @property
    def accepts(self) -> bool:
        """Whether there is a column `accepted`."""
        return self.threshold is not None or self.reject_unknown is not None

    @property
    def by_distance(self) -> bool:
        """Whether pooled features are needed."""
        return self.ood_score or self.reject_unknown is not None

    @property
    def sentences(self) -> list[str]:
        """What a job says of this before it begins."""
        said = []
        if self.threshold is not None:
            said.append(f"Accepted are predictions with a probability of at least {self.threshold:g}")
        if self.reject_unknown is not None:
            said.append(
                f"Accepted is no image that lies further away than {self.reject_unknown:g} % of valid's do"
            )
        if self.only:
            said.append(f"{len(self.only):,} of {len(self.classes):,} classes have a say, the others get none")
        return said

    @property
    def failed(self) -> dict[str, Any]:
        """The columns of a file that could not be scored."""
        return {"accepted": False} if self.accepts else {}

    def most(self, k: int) -> int:
        """How many classes a row lists of `k`: those that cannot occur are none."""
        return min(k, len(self.only)) if self.only else k

    def among(self, scores: np.ndarray) -> np.ndarray:
        """(n, classes): the probabilities given that an image shows one of the classes that can occur."""
        if not self.only:
            return scores
        kept = scores * np.isin(self.classes, self.only)
        # Where all of them have been rounded to 0, nothing tells them apart.
        total = kept.sum(axis=1, keepdims=True)
        even = np.isin(self.classes, self.only) / np.float32(len(self.only))
        return np.where(total > 0, kept / np.where(total > 0, total, 1), even).astype(np.float32)

    def columns(self, scores: np.ndarray, features: np.ndarray | None) -> list[dict[str, Any]]:
        """What is added to the row of each image: of probabilities (n, classes), which `among` gave, and features
        (n, d), which are needed `by_distance` alone."""
        if not len(scores):  # nor have the features a width
            return []
        found: dict[str, list[Any]] = {}
        accepted = np.full(len(scores), True)
        if self.threshold is not None:
            accepted &= scores.max(axis=1) >= np.float32(self.threshold)
        if self.by_distance and features is not None:
            percentile = self.known.percentile(self.reference.distance(features))
            accepted &= percentile <= (100 if self.reject_unknown is None else self.reject_unknown)
            found["ood_score"] = percentile.tolist()
        if self.accepts:
            found["accepted"] = accepted.tolist()
        rows = [{name: column[number] for name, column in found.items()} for number in range(len(scores))]
        if self.taxonomy is None or self.threshold is None:
            return rows
        taxa = (self.taxonomy.roll_up(one, self.threshold) for one in scores)
        return [row | taxon for row, taxon in zip(rows, taxa, strict=True)]


def answer(config: PredictConfig, model: Bundle) -> Answer:
    """What a job is asked for, of this model.

    Raises SettingsError where no threshold reaches --target-accuracy, ModelError where the bundle does not hold
    what is needed, DataError for a file of --taxonomy or --only-classes that does not fit the model.
    """
    if (config.ood_score or config.reject_unknown is not None) and not len(model.reference.centres):
        raise ModelError(f"{model.uri}: does not say what its training images are like; train it again")
    return Answer(
        threshold=_threshold(config, model),
        reject_unknown=config.reject_unknown,
        ood_score=config.ood_score,
        only=taxonomy.only(config.only_classes, model.classes) if config.only_classes else (),
        taxonomy=taxonomy.read(config.taxonomy, model.classes) if config.taxonomy else None,
        classes=model.classes,
        known=model.known,
        reference=model.reference,
    )


def _threshold(config: PredictConfig, model: Bundle) -> float | None:
    if config.target_accuracy is None:
        return config.threshold
    curve = model.known.curve(100 if config.reject_unknown is None else config.reject_unknown)
    found = curve.threshold(config.target_accuracy)
    if found is None:
        best = curve.highest
        reached = f"the highest that one reaches is {best}" if best else "nor any other target"
        raise SettingsError(
            f"--target-accuracy {config.target_accuracy}: no threshold reaches it with 95 % confidence on the "
            f"{int(curve.accepted[0]):,} valid images that the model was chosen by; {reached}"
        )
    return found
