"""Where a data set comes from: Kaggle, the web, or this machine."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from ray_birds.config import DownloadConfig
from ray_birds.core import storage
from ray_birds.core.errors import DataError, SettingsError
from ray_birds.data.sources import huggingface, kaggle
from ray_birds.data.sources.transfer import explain, fetch


@dataclass(frozen=True)
class Source:
    """Where a data set comes from. `name` is for the eye; `identity` is a digest, as addresses may hold keys.

    `bring` gets the folder for fetched files and the cap in bytes, and gives a zip file, a Parquet file or a
    folder. What it gives is ours to move and delete where it is `fetched`.
    """

    name: str
    identity: str
    bring: Callable[[Path, int], Path]
    fetched: bool


def choose(config: DownloadConfig, output: Path) -> Source:
    """The source that the settings name. Raises SettingsError, DataError where there is no such source."""
    given = config.dataset or config.source
    if config.dataset:
        kaggle.parse(given)
        return Source(f"Kaggle's {given}", storage.digest(["kaggle", given]), _from_kaggle(given), fetched=True)
    parts = urlsplit(given)
    if parts.scheme in ("http", "https"):
        shown = f"{parts.scheme}://{(parts.netloc).rpartition('@')[2]}{parts.path}"
        if "@" in parts.netloc:
            raise SettingsError(f"--from {shown}: leave user and password out of the address")
        return Source(shown, storage.digest(["url", given]), _from_url(given), fetched=True)
    if not storage.is_local(given):
        raise SettingsError(f"--from {given}: expected an http address, a zip file or a folder")
    uri = storage.local(storage.resolve(given))
    if not uri.exists():
        raise DataError(f"--from {uri}: no such file or folder")
    if output.resolve().is_relative_to(uri.resolve()):
        raise SettingsError(f"--output {output}: lies inside --from {uri}; choose a folder outside it")
    return Source(str(uri), storage.digest(["local", str(uri)]), lambda folder, cap: uri, fetched=False)


def _from_kaggle(dataset: str) -> Callable[[Path, int], Path]:
    def bring(folder: Path, cap: int) -> Path:
        archive = folder / "archive.zip"
        try:
            if not archive.exists():
                fetch(kaggle.locate(dataset), archive, cap)
        except requests.RequestException as error:
            raise DataError(kaggle.refusal(error, dataset)) from None  # its text may hold a signed address
        return archive

    return bring


def _from_url(url: str) -> Callable[[Path, int], Path]:
    def bring(folder: Path, cap: int) -> Path:
        try:
            if not huggingface.repository(url):
                name = Path(urlsplit(url).path).name
                uri = folder / (name if re.fullmatch(r"\w[\w.-]{0,99}", name) else "archive.zip")
                fetch(requests.Request("GET", url).prepare(), uri, cap)
                return uri
            for name, address in huggingface.parquet_files(url).items():
                before = sum(file.stat().st_size for file in folder.glob("*.parquet"))
                fetch(requests.Request("GET", address).prepare(), folder / name, cap - before)
            return folder
        except requests.RequestException as error:
            raise DataError(explain(error, str(urlsplit(url).hostname))) from None

    return bring
