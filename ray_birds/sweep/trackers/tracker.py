"""What a sweep tells an experiment tracker, and under which names."""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any, Protocol

from ray_birds.config import TuneConfig
from ray_birds.sweep import epochs
from ray_birds.sweep.epochs import Epoch
from ray_birds.sweep.factors import Variant
from ray_birds.sweep.outcome import Status, Trial
from ray_birds.sweep.plan import Plan
from ray_birds.sweep.results import Results

_USER = re.compile(r"://[^/@\s]*@")
_NUMBERS = [field.name for field in dataclasses.fields(Epoch) if field.type is float]
_SCORES = ("valid_accuracy", "valid_loss", "valid_macro_f1", "test_accuracy")


class Tracker(Protocol):
    """One tracker's client. Its methods are called one at a time, and may raise whatever their library raises.

    What was sent before is not sent again: after a failure `finish` makes good what is missing.
    """

    def begin(self, plan: Plan) -> None:
        """Make the sweep's entry or, with --resume, find it again."""

    def epochs(self, trial: str, history: Sequence[Epoch]) -> None:
        """Send those of a trial's epochs that were not sent yet."""

    def end(self, trial: str, status: Status) -> None:
        """Say how a trial has ended."""

    def finish(self, sweep: Results) -> str:
        """Send all that is missing, report, table and winner; returns where it is seen, without credentials."""

    def interrupt(self) -> None:
        """Say of what has not ended that it was cut short."""


def numbers(history: Sequence[Epoch], variant: Variant) -> dict[str, float]:
    """The numbers of a trial's last epoch by name, and the valid accuracy of the one to be kept so far."""
    last = {name: float(getattr(history[-1], name)) for name in _NUMBERS}
    return last | {"kept_accuracy": epochs.kept(history, variant).valid_accuracy}


def scores(trial: Trial) -> dict[str, float]:
    """What a trial scored, so far as it is known."""
    found = {name: float(getattr(trial, name)) for name in _SCORES}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def settings(config: TuneConfig) -> dict[str, Any]:
    """A sweep's settings by name; several values as a text."""
    values = dataclasses.asdict(config)
    return {name: ", ".join(map(str, one)) if isinstance(one, tuple) else one for name, one in values.items()}


def without_user(text: str) -> str:
    """`text` without the user and password of any address in it."""
    return _USER.sub("://", text)
