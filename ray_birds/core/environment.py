"""What a job needs of the machine that it starts on; a fault is one line that names the variable to set."""

import os
import sys
import tempfile
from pathlib import Path

from ray_birds.core.errors import OutputError

_ROOM = 16_000_000  # bytes: Ray's first logs, or a model
TEMPORARY = ("RAY_TMPDIR", "TMPDIR")  # the first that is set is Ray's


def own_cpus() -> int:
    """How many CPUs this process may use; all where the system does not say: macOS, Windows."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_temporary() -> None:
    """See, before the work, that temporary files can be written: ours, Ray's and those of libraries.

    Ray makes a folder that is not there; so does this, as Python would pass it over without a word. Raises
    OutputError where a folder cannot be written, or is full.
    """
    for name in (name for name in TEMPORARY if os.environ.get(name)):
        _try(name, os.environ[name])
    if "TMPDIR" not in os.environ:
        _try("TMPDIR", "/tmp" if os.name == "posix" else tempfile.gettempdir())


def _try(name: str, folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM))
            file.flush()
    except OSError as error:
        raise OutputError(
            f"{name}={folder}: no room for temporary files ({error.strerror or error}); set {name} to a folder "
            f"that can be written and has {_ROOM // 10**6} MB free"
        ) from error
