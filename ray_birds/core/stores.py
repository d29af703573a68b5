"""Object stores that Arrow does not open by an address and the environment alone: Azure, and the Hub's data sets.

`abfs://CONTAINER/path` is of the account that AZURE_STORAGE_ACCOUNT_NAME names, `abfs://CONTAINER@ACCOUNT/path` of
another. `hf://datasets/OWNER/NAME/path` is a repository of data on the Hugging Face Hub, `NAME@REVISION` one state
of it; it is read, never written.
"""

import importlib.util
import os
import re
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import parse_qsl

from pyarrow import fs

from ray_birds.core.errors import OutputError, SettingsError, first_line

AZURE = ("abfs", "abfss")
HUB = "hf"
AZURE_OPTIONS = {
    *("blob_storage_authority", "blob_storage_scheme", "dfs_storage_authority", "dfs_storage_scheme"),
    *("tenant_id", "client_id"),
}

_REPOSITORY = re.compile(r"datasets/[^/]+/[^/]+")


def azure(bucket: str, options: str) -> tuple[fs.FileSystem, str]:
    """The file system of CONTAINER or CONTAINER@ACCOUNT, and the container. Raises SettingsError where it is not
    known whose that is, or who asks."""
    container, _, host = bucket.partition("@")
    account = host.partition(".")[0] or _first("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
    if not container or not account:
        raise SettingsError(
            f"abfs://{bucket}: no storage account; set AZURE_STORAGE_ACCOUNT_NAME, or give "
            "abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/..."
        )
    key, token = _first("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"), _first("AZURE_STORAGE_SAS_TOKEN")
    secret = {"account_key": key} if key else {"sas_token": token} if token else {}
    system = fs.AzureFileSystem(account, **secret, **dict(parse_qsl(options)))
    if not secret:
        _check_login(system, container, account)
    return system, container


def _check_login(system: fs.FileSystem, container: str, account: str) -> None:
    """Ask with what Azure's library finds: AZURE_CLIENT_SECRET and the like, a machine's identity, `az login`."""
    try:
        system.get_file_info(f"{container}/ray-birds")  # for the container itself, Arrow 26 ends the process
    except Exception as error:  # Arrow's "unknown error" where it finds nothing; all others will be met again
        if "AuthenticationException" in str(error):
            raise SettingsError(
                f"abfs://{container}@{account}: no credentials that Azure takes; set AZURE_STORAGE_ACCOUNT_KEY or "
                "AZURE_STORAGE_SAS_TOKEN, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
            ) from error


def _first(*variables: str) -> str:
    return next((value for name in variables if (value := os.environ.get(name, ""))), "")


def hub() -> fs.FileSystem:
    """The file system of the Hub. Raises SettingsError where its client is not installed."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise SettingsError("hf:// needs huggingface_hub, which is not installed: pip install 'ray-birds[hub]'")
    from huggingface_hub import HfFileSystem

    return fs.PyFileSystem(_Hub(HfFileSystem(endpoint=os.environ.get("HF_ENDPOINT") or None)))


def _as_os_error(call: Callable[..., Any]) -> Callable[..., Any]:
    """What the client's network layer raises as what all other stores raise."""

    @wraps(call)
    def inner(*given: Any) -> Any:
        try:
            return call(*given)
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"the Hub cannot be read: {first_line(error)}") from error

    return inner


class _Hub(fs.FSSpecHandler):  # type: ignore[misc]  # pyarrow has no types
    """Reads alone: each file written would be a commit."""

    @_as_os_error
    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        found: list[fs.FileInfo] = super().get_file_info(paths)
        for info in found:
            if info.type == fs.FileType.NotFound and _REPOSITORY.fullmatch(info.path.rstrip("/")):
                raise OSError(
                    "the Hub knows no such data set, or it is a private one; for that set HF_TOKEN, or run "
                    "`hf auth login`"
                )
        return found

    get_file_info_selector = _as_os_error(fs.FSSpecHandler.get_file_info_selector)
    open_input_stream = _as_os_error(fs.FSSpecHandler.open_input_stream)
    open_input_file = _as_os_error(fs.FSSpecHandler.open_input_file)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        raise _read_only()

    def create_dir(self, path: str, recursive: bool) -> None:
        raise _read_only()

    def delete_dir(self, path: str) -> None:
        raise _read_only()

    def delete_file(self, path: str) -> None:
        raise _read_only()


def _read_only() -> OutputError:
    return OutputError("hf:// is for data that are read; write to a folder, s3://, gs:// or abfs://")
