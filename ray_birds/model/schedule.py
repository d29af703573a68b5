"""The learning rate as a pure function of the step: a killed trial that resumes needs nothing but its number."""

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """`peak` after a linear warm-up over the first `warmup` of all `steps`; cosine then falls to 0."""

    peak: float
    steps: int
    warmup: int = 0
    kind: Kind = "constant"

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup <= self.steps:
            raise ValueError(
                f"warm-up of {self.warmup} in {self.steps} steps; expected 0 <= warm-up <= steps >= 1"
            )

    def rate(self, step: int) -> float:
        """Of `step`, from 0. The first step of a warm-up already learns, at peak / warmup."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.kind == "constant":
            return self.peak
        done = min((step - self.warmup) / max(self.steps - self.warmup, 1), 1.0)
        return self.peak * 0.5 * (1 + math.cos(math.pi * done))
