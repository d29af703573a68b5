"""Settings: frozen dataclasses, checked when made, to JSON and back, or from options by name."""

import dataclasses
import json
import os
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ray_birds.core.errors import SettingsError
from ray_birds.core.text import nearest


def check(condition: bool, message: str) -> None:
    """Raises SettingsError with `message` where the condition does not hold."""
    if not condition:
        raise SettingsError(message)


def option(field: str) -> str:
    """A field as it is spelled on the command line: `--learning-rate`."""
    return f"--{field.replace('_', '-')}"


@dataclass(frozen=True)
class Settings:
    """What all settings share. A subclass checks its values in `__post_init__` and raises SettingsError."""

    def replace(self, **changes: Any) -> Self:
        """A copy with some values changed, which is checked as a new one is."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The settings in `text`. Raises SettingsError on a key that this class does not have."""
        return cls.from_values(json.loads(text))

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """As `from_json`, of what a JSON reader gives."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        check(not unknown, f"{cls.__name__}: unknown setting {', '.join(unknown)}; known are {sorted(known)}")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """The settings given by name, as the Python API takes them.

        A list is taken for the tuple of a field, and so is a single value. Raises SettingsError for a name that
        the command does not have, saying the nearest one, or for a value of another type.
        """
        hints = typing.get_type_hints(cls)
        values = {name: _value(name, value, hints) for name, value in options.items()}
        missing = [field.name for field in dataclasses.fields(cls) if _is_missing(field, values)]
        check(not missing, f"{', '.join(missing)}: must be given")
        return cls(**values)


def _is_missing(field: "dataclasses.Field[Any]", values: Mapping[str, Any]) -> bool:
    has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    return field.name not in values and not has_default


def _value(name: str, value: Any, hints: Mapping[str, Any]) -> Any:
    import typeguard  # takes a tenth of a second

    check(name in hints, f"{name}: no such option; the nearest is {nearest(name, hints)}")
    hint = hints[name]
    if typing.get_origin(hint) is tuple:
        value = (value,) if isinstance(value, (str, os.PathLike)) or not isinstance(value, Iterable) else value
        value = tuple(os.fspath(one) if isinstance(one, os.PathLike) else one for one in value)
    elif isinstance(value, os.PathLike):
        value = os.fspath(value)
    try:
        return typeguard.check_type(value, hint)
    except typeguard.TypeCheckError as error:
        expected = str(hint).replace("typing.", "").removeprefix("<class '").removesuffix("'>")
        raise SettingsError(f"{name} {value!r}: expected {expected}") from error
