"""Image data sets of Hugging Face: the addresses of their Parquet files."""

import json
import os
import re

from ray_birds.core.errors import DataError
from ray_birds.data.sources import transfer


def repository(url: str) -> str:
    """OWNER/NAME where `url` is the page of a data set, else "". HF_ENDPOINT names a mirror, as elsewhere."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    match = re.fullmatch(rf"{re.escape(hub)}/datasets/([\w.-]+/[\w.-]+)/?", url)
    return match[1] if match else ""


def parquet_files(url: str) -> dict[str, str]:
    """File name such as `train-00000.parquet` -> address, of the data set whose page is `url`.

    The hub converts every public data set to Parquet and lists the files by configuration and split
    (https://huggingface.co/docs/hub/datasets-viewer, "access the parquet files").
    Raises DataError where there are several configurations, requests.RequestException.
    """
    name = repository(url)
    address = url.rstrip("/").replace(f"/datasets/{name}", f"/api/datasets/{name}/parquet")

    try:
        configurations: dict[str, dict[str, list[str]]] = json.loads(transfer.read(address))
        default = configurations.get("default") or next(iter(configurations.values()), {})
        splits = {str(split): [str(one) for one in addresses] for split, addresses in default.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"{url}: its list of Parquet files cannot be read; fetch its files yourself") from error
    if len(configurations) != 1 and "default" not in configurations:
        found = ", ".join(configurations)[:200] or "none"
        raise DataError(f"{url}: expected one configuration, found {found}; fetch its files and give --from DIR")
    strange = [split for split in splits if not re.fullmatch(r"\w[\w.-]{0,99}", split)]  # it names files below
    if strange:
        named = repr(strange[0][:100])
        raise DataError(f"{url}: split {named} is none of train, valid and test; fetch its files yourself")
    return {
        f"{split}-{number:05}.parquet": address
        for split, addresses in splits.items()
        for number, address in enumerate(addresses)
    }
