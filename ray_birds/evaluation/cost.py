"""What a trained model cost and what it will cost: the pass over frozen layers, training, and prediction."""

from dataclasses import dataclass

_CLEARLY = 0.8  # of a cost: timings of one run each differ by some ten percent for no reason


@dataclass(frozen=True)
class Cost:
    """`seconds` of training, and those of the shared pass that made the features it read, were it the only reader.

    Of the model that predicts: parameters, multiply-adds of one image, images a second of the pass, which decodes
    and goes through the network as prediction does. None where unknown.
    """

    seconds: float = 0.0
    feature_seconds: float | None = 0.0
    parameters: int | None = None
    multiply_adds: int | None = None
    images_per_second: float | None = None

    @property
    def total(self) -> float:
        """Seconds until the model was there, were it the only one."""
        return self.seconds + (self.feature_seconds or 0.0)

    def cheaper_than(self, other: "Cost") -> bool:
        """Whether it clearly costs less: to predict with, which goes on; where that is equal, to train."""
        if self.predicts_like(other):
            return self.total < _CLEARLY * other.total
        return (self.multiply_adds or 0) < _CLEARLY * (other.multiply_adds or 0)

    def against(self, other: "Cost") -> str:
        """In words, beside that of another model."""
        trained = f"{_duration(self.total)} of training instead of {_duration(other.total)}"
        if None in (self.feature_seconds, other.feature_seconds):
            trained += ", without the shared pass over frozen layers, whose time is not known"
        elif self.feature_seconds or other.feature_seconds:
            trained += ", the shared pass over frozen layers counted in"
        if self.multiply_adds is None or other.multiply_adds is None:
            return trained
        if self.multiply_adds == other.multiply_adds:
            return f"{trained}; predicting costs the same"
        pairs = [(millions(self.multiply_adds), millions(other.multiply_adds), "multiply-adds an image")]
        if self.parameters and other.parameters:
            pairs.append((millions(self.parameters), millions(other.parameters), "parameters"))
        if self.images_per_second and other.images_per_second:
            pairs.append(
                (
                    f"{self.images_per_second:,.0f}",
                    f"{other.images_per_second:,.0f}",
                    "images/s through frozen layers",
                )
            )
        predicts = ", ".join(f"{own} instead of {others} {unit}" for own, others, unit in pairs)
        return f"prediction with {predicts}; {trained}"

    def predicts_like(self, other: "Cost") -> bool:
        """Whether predicting with either costs about the same, or it is not known what it costs."""
        one, two = self.multiply_adds, other.multiply_adds
        return one is None or two is None or _CLEARLY * max(one, two) <= min(one, two)


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.0f} s" if seconds < 10 else f"{float(f'{seconds:.2g}'):.0f} s"


def millions(number: int) -> str:
    """`385 M`, `0.41 M`."""
    return f"{number / 1e6:,.3g} M" if number < 1e9 else f"{number / 1e6:,.0f} M"
