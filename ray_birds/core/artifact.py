"""A new file or folder on a local disk: refused where it cannot be one, and in its place when it is whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray_birds.core import storage
from ray_birds.core.errors import OutputError, SettingsError


def new(uri: str) -> Path:
    """Where an export is to go. Raises SettingsError for an object store, OutputError where something is there."""
    uri = storage.resolve(uri)
    if not storage.is_local(uri):
        raise SettingsError(f"--output {uri}: an export is written to a local disk; copy it from there")
    if os.path.lexists(storage.to_os(uri)):
        raise OutputError(f"{uri}: exists; choose another --output or remove it")
    return storage.local(uri)


@contextmanager
def writing(output: Path) -> Iterator[Path]:
    """A path of the same name, which is moved to `output` afterwards. Raises OutputError where it cannot be."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            made = Path(folder, output.name)
            yield made
            made.rename(output)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error
