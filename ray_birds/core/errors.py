"""The exception tree. Each message is one line: what was wrong, what was expected, what to do now."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class RayBirdsError(Exception):
    """Anything that the person at the command line can mend; jobs print it without a traceback."""


class SettingsError(RayBirdsError):
    """An option, or a combination of options, that cannot be carried out."""


class DataError(RayBirdsError):
    """Images, or a source of them, that are not what they should be."""


class ModelError(RayBirdsError):
    """Weights or a bundle that are missing, damaged, or made for something else."""


class OutputError(RayBirdsError):
    """A folder for results that is taken, incomplete, full, or cannot be written."""


class OutOfMemoryError(RayBirdsError):
    """A trial does not fit into the memory of its device."""


class NotFiniteError(RayBirdsError):
    """A loss, weight or probability of a trial that is not a finite number."""


def first_line(error: BaseException, most: int = 200) -> str:
    """What an error says, as one line: the first of its text, or its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


@contextmanager
def resumable(how: str, begun: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """An interrupt of what runs within carries a note of `how` it is resumed, once it has `begun`."""
    try:
        yield
    except KeyboardInterrupt as error:
        if begun():
            error.add_note(how)
        raise
