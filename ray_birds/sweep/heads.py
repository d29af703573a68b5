"""The solved heads of a sweep: one for all trials that read the same features, however deep they fine-tune.

The first trial that needs a head solves it and leaves it in the sweep's directory, where the others find it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ray_birds.core import arrays, storage
from ray_birds.model.probe import Head
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.factors import Variant

_ARRAYS = {"kernel": ("float32", 2), "bias": ("float32", 1), "numbers": ("float64", 1)}


@dataclass(frozen=True)
class Solved:
    """A head with the penalty that was best on valid, its loss and accuracy on train, and the seconds it took."""

    head: Head
    penalty: float
    loss: float
    accuracy: float
    seconds: float

    def to_bytes(self) -> bytes:
        numbers = np.array([self.penalty, self.loss, self.accuracy, self.seconds])
        return arrays.to_bytes({"kernel": self.head.kernel, "bias": self.head.bias, "numbers": numbers})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Solved":
        """Raises ValueError where the bytes are damaged."""
        found = arrays.from_bytes(data, _ARRAYS)
        return cls(Head(found["kernel"], found["bias"]), *found["numbers"].tolist())


@dataclass(frozen=True)
class SharedHead:
    """The head of a variant, in the directory of its sweep."""

    directory: SweepDirectory
    key: str

    def get(self, solve: Callable[[], Solved]) -> Solved:
        """The head that is there, else what `solve` gives, which is then there for others."""
        data = self.directory.head(self.key)
        if data is not None:
            try:
                return Solved.from_bytes(data)
            except ValueError:
                pass
        solved = solve()
        with self.directory.writing():
            self.directory.write_head(self.key, solved.to_bytes())
        return solved


def key(variant: Variant, *, stored: bool) -> str:
    """Another one for all that decides a solved head, and for features that were rounded when they were stored."""
    facts = [*variant.head_facts, stored]
    return f"{variant.backbone}-{variant.policy}-{storage.digest([json.dumps(facts)])[:8]}"
