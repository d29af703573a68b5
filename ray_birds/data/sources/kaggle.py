"""Data sets of Kaggle, through the client's own login and request."""

import contextlib
import io
import re
from typing import Any

import requests

from ray_birds.core.errors import SettingsError
from ray_birds.data.sources.transfer import explain, patiently, status

NAME = re.compile(r"(?P<owner>[\w-]+)/(?P<name>[\w-]+)(/versions/(?P<version>[1-9]\d*))?")
LOGIN = (
    "make a token at https://www.kaggle.com/settings/api, save it as ~/.kaggle/access_token "
    "or set KAGGLE_API_TOKEN, and run the same command again"
)
# The data set of the article was taken down by its author.
ARTICLE = "gpiosenka/100-bird-species"
COPIES = (
    "--dataset vinjamuripavan/bird-species",
    "--from https://huggingface.co/datasets/yashikota/birds-525-species-image-classification",
    "--from https://huggingface.co/datasets/chriamue/bird-species-dataset",
)


def parse(dataset: str) -> tuple[str, str, int | None]:
    """Owner, name and version (None: the newest) of a data set. Raises SettingsError."""
    match = NAME.fullmatch(dataset)
    if match is None:
        raise SettingsError(f"--dataset {dataset}: expected OWNER/NAME or OWNER/NAME/versions/N")
    return match["owner"], match["name"], int(match["version"]) if match["version"] else None


def locate(dataset: str) -> requests.PreparedRequest:
    """The request that fetches a data set's archive, ready to be sent; Kaggle redirects to a signed address.

    Raises SettingsError for a name that cannot be one, requests.RequestException for what Kaggle refuses.
    """
    owner, name, version = parse(dataset)
    client = _client()
    from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

    wanted = ApiDownloadDatasetRequest()
    wanted.owner_slug, wanted.dataset_slug, wanted.dataset_version_number = owner, name, version
    with client:
        answer: requests.Response = patiently(lambda: client.datasets.dataset_api_client.download_dataset(wanted))
        answer.close()
    return answer.request.copy()


def _client() -> Any:
    """Kaggle's client with whatever credentials it finds, none if there are none.

    The package looks for credentials when it is imported (environment, token and key files, `kaggle auth
    login`) and prints advice where it finds none, which public data sets do not need. KaggleApi's own builder
    (2.2.4) always goes to the production server; KaggleClient obeys KAGGLE_API_ENVIRONMENT.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        import kaggle
    from kagglesdk import KaggleClient

    found = kaggle.api.config_values
    return KaggleClient(username=found.get("username"), password=found.get("key"), api_token=found.get("token"))


def refusal(error: requests.RequestException, dataset: str) -> str:
    """What went wrong with a data set and what to do now, in one line."""
    code = status(error)
    owner, name, version = parse(dataset)
    known = error.response is not None and "Authorization" in error.response.request.headers
    if code == 401 and known:
        return f"Kaggle does not accept the credentials it was given (401); they may have expired: {LOGIN}"
    if code == 401:
        return f"Kaggle gives {dataset} only to those who log in (401): {LOGIN}"
    if code not in (403, 404):
        return explain(error, "Kaggle")
    if f"{owner}/{name}".lower() == ARTICLE:
        copies = " or ".join(COPIES)
        return f"Kaggle no longer has {dataset} ({code}), its author took it down; use a copy: {copies}"
    page = f"https://www.kaggle.com/datasets/{owner}/{name}"
    if code == 404:
        exists = "exists in this version" if version else "exists"
        return f"Kaggle has no data set {dataset} (404): see whether {page} {exists}"
    login = "" if known else f"; or log in: {LOGIN}"
    return f"Kaggle refuses {dataset} (403); it may be private or want your consent on {page}{login}"
