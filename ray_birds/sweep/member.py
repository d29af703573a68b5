"""One of the workers that train a trial together: its share of each batch, and what one of them makes for all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


def _alone(make: Callable[[], Any]) -> Any:
    return make()


def _unwatched() -> None:
    pass


@dataclass(frozen=True)
class Member:
    """Number `rank` of so many `workers`; by default the only one.

    `once` calls its argument in the first worker and gives what came of it to all of them; each must call it.
    `beat` is called after each step, for who watches that there are any.
    """

    rank: int = 0
    workers: int = 1
    once: Callable[[Callable[[], Any]], Any] = _alone
    beat: Callable[[], None] = _unwatched

    def share(self, rows: np.ndarray) -> np.ndarray:
        """This worker's part of the rows of a batch, at least one: as many for each, the last ones again for that.

        (n,) -> (ceil(n / workers),).
        """
        return self._part(rows, rows[-1])

    def shares(self, weights: np.ndarray) -> np.ndarray:
        """The same part of what the rows weigh; those that are there again weigh nothing."""
        return self._part(weights, 0)

    def _part(self, values: np.ndarray, filler: Any) -> np.ndarray:
        if self.workers == 1:
            return values
        size = -(-len(values) // self.workers)
        filled = np.concatenate([values, np.full(size * self.workers - len(values), filler, values.dtype)])
        return filled[self.rank * size : (self.rank + 1) * size]


ALONE = Member()
