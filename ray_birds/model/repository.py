"""Repositories of the Hugging Face Hub, by its own client: a bundle's files read from there, a folder pushed.

`hf://OWNER/NAME` is the latest commit, `hf://OWNER/NAME@REVISION` that of a branch, a tag or a commit. The client
keeps what it has fetched in its cache, on each machine; a token it takes from HF_TOKEN or from `hf auth login`.
"""

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_birds.config import HUB_NAME
from ray_birds.core import storage, terminal
from ray_birds.core.errors import ModelError, RayBirdsError, SettingsError, first_line
from ray_birds.core.text import printable

if TYPE_CHECKING:
    from huggingface_hub import DryRunFileInfo

SCHEME = "hf://"
_COMMIT = re.compile("[0-9a-f]{40}")
_LIBRARY = {"library_name": "ray-birds"}  # what the Hub counts downloads by


def is_address(uri: str) -> bool:
    return uri.startswith(SCHEME)


def pinned(uri: str, file: str) -> str:
    """The address with the commit that it means now, for all that read it to read the same; found by a `file`."""
    name, revision = _parts(uri)
    if revision and _COMMIT.fullmatch(revision):
        return uri
    terminal.say(f"Looking for {uri} on the Hub")
    return f"{SCHEME}{name}@{_info(uri, file).commit_hash}"


def read(uri: str, file: str, most: int) -> bytes:
    """The bytes of a file. Raises TooLargeError before it is fetched where there are more than `most`, or
    FileNotFoundError."""
    size = _info(uri, file).file_size
    if size is None or size > most:
        raise storage.TooLargeError(size or 0)
    name, revision = _parts(uri)
    with _errors(uri):
        path = _client().hf_hub_download(name, file, revision=revision, **_LIBRARY)
    return storage.read_up_to(storage.from_os(path), most)


def exists(uri: str, file: str) -> bool:
    try:
        return _info(uri, file) is not None
    except FileNotFoundError:
        return False


def check_login(name: str) -> None:
    """Raises SettingsError, before any work, where nothing can be pushed for want of the client or a token."""
    if _client().get_token() is None:
        raise SettingsError(f"--push {name}: not logged in to the Hub; set HF_TOKEN, or run `hf auth login`")


def push(folder: Path, name: str) -> str:
    """Push the files of a folder to the repository OWNER/NAME, in one commit; returns its address with that.

    One that is not there is made, and private."""
    client = _client()
    files = [client.CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
    with _errors(SCHEME + name, "cannot be pushed"):
        api = client.HfApi(**_LIBRARY)
        api.create_repo(name, private=True, exist_ok=True)
        done = api.create_commit(name, files, commit_message="Model of ray-birds")
    return f"{SCHEME}{name}@{done.oid}"


def _client() -> Any:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise SettingsError("the Hub needs huggingface_hub, which is not installed: pip install 'ray-birds[hub]'")
    import huggingface_hub

    return huggingface_hub


def _parts(uri: str) -> tuple[str, str | None]:
    """OWNER/NAME, and the revision where there is one."""
    name, _, revision = uri.removeprefix(SCHEME).rstrip("/").partition("@")
    if not HUB_NAME.fullmatch(name):
        raise ModelError(f"{uri}: expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    return name, revision or None


def _info(uri: str, file: str) -> "DryRunFileInfo":
    """A file's commit and size, from the Hub or, without a network, from the cache."""
    name, revision = _parts(uri)
    with _errors(uri):
        return _client().hf_hub_download(name, file, revision=revision, dry_run=True, **_LIBRARY)


@contextmanager
def _errors(uri: str, failed: str = "the Hub cannot be reached, and the cache does not have it") -> Iterator[None]:
    """The client's errors as ours. Those of its network layer and its own have no common parent."""
    _client()
    from huggingface_hub import errors
    from huggingface_hub.utils import logging as client

    level = client.get_verbosity()
    client.set_verbosity(logging.ERROR)  # it would tell of each try
    try:
        yield
    except errors.RemoteEntryNotFoundError as error:
        raise FileNotFoundError("the repository has no such file") from error
    except errors.GatedRepoError as error:
        raise ModelError(f"{uri}: its owner lets in whom they know; ask on its page on the Hub") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{uri}: the Hub knows no such repository, or it is a private one; for that set HF_TOKEN, or run "
            "`hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{uri}: no such revision; expected a branch, a tag or a commit") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        said = printable(error.server_message or "")[:200]
        way = "its token must be one that may write there" if status in (401, 403) else "try again later"
        raise ModelError(f"{uri}: the Hub refuses with {status}{said and f' ({said})'}; {way}") from error
    except (RayBirdsError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise ModelError(
            f"{uri}: {failed} ({first_line(_root(error))}); run it where there is a network"
        ) from error
    finally:
        client.set_verbosity(level)


def _root(error: BaseException) -> BaseException:
    """What the client's own errors were raised for, in the end."""
    cause = error.__cause__ or error.__context__
    return _root(cause) if cause else error
