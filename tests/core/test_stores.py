"""Azure and the Hub as stores, by the real clients against stubs of their servers on this machine."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from ray_birds.core import lock, storage, stores
from ray_birds.core.errors import DataError, OutputError, SettingsError
from ray_birds.data import decode
from ray_birds.data.dataset import scan
from ray_birds.prediction import inputs
from tests.conftest import CLASSES
from tests.core import azure_server, dataset_hub
from tests.core.azure_server import ACCOUNT, CONTAINER, Azure
from tests.core.dataset_hub import DatasetHub
from tests.data.shards.shard_files import as_parquet, as_tar
from tests.loopback import serving

pytestmark = pytest.mark.integration

VARIABLES = ("ACCOUNT_NAME", "ACCOUNT", "ACCOUNT_KEY", "KEY", "SAS_TOKEN")


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems are kept for as long as a process lives; here each test has its own."""
    storage._remote.cache_clear()
    for name in VARIABLES:
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", azure_server.KEY)
    with serving(Azure()) as server:
        yield server


def test_files_on_azure(azure: Azure, birds: Path) -> None:
    """All that a job does with a folder, and a lock beside it."""
    root = storage.resolve(f"abfs://{CONTAINER}@{ACCOUNT}/a b?{azure.options}")
    assert storage.resolve(root) == root and not storage.exists(root)
    file = storage.join(root, "x", "1 #?%20.txt")
    storage.write(file, b"12345")
    assert storage.read(file) == b"12345" == azure.blobs["a b/x/1 #?%20.txt"] and storage.read(file, 2) == b"12"
    with pytest.raises(storage.TooLargeError):
        storage.read_up_to(file, 4)
    assert storage.kind(root) == fs.FileType.Directory and storage.folders(root) == ["x"]
    assert [storage.relative(info, root) for info in storage.find(root)] == ["x/1 #?%20.txt"]
    with lock.held(storage.join(root, "job")):
        assert any(name.endswith("owner.json") for name in azure.blobs)
    storage.remove_file(file)
    assert not storage.exists(file)
    storage.copy(str(birds / "test"), storage.join(root, "staging"))
    storage.publish(storage.join(root, "staging"), storage.join(root, "out"))
    assert storage.folders(storage.join(root, "out")) == [*CLASSES]
    assert not storage.exists(storage.join(root, "staging"))


@pytest.mark.parametrize("bucket", [CONTAINER, f"{CONTAINER}@{ACCOUNT}.dfs.core.windows.net"])
def test_a_data_set_on_azure(azure: Azure, birds: Path, tmp_path: Path, bucket: str) -> None:
    here = as_tar(birds, tmp_path / "x")
    root = f"abfs://{bucket}/birds?{azure.options}"
    storage.copy(str(here), root)
    data, local = scan(root), scan(str(here))
    for name, split in local.splits.items():
        assert data.splits[name].paths == split.paths
        assert all(decode.read(data.uri(path)) == decode.read(local.uri(path)) for path in split.paths)
    assert len(inputs.find([root])) == 24


def test_azure_refuses(azure: Azure) -> None:
    azure.status = 403
    with pytest.raises(DataError, match="cannot be reached") as error:
        inputs.find([f"abfs://{CONTAINER}/birds?{azure.options}"])
    assert "\n" not in str(error.value) and azure_server.KEY not in str(error.value)


def test_whose_container_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="no storage account; set AZURE_STORAGE_ACCOUNT_NAME, or give"):
        storage.resolve("abfs://birds/train")
    for address in (
        "abfs://birds:s3cr3t@account/x",
        "abfs://birds@account@s3cr3t/x",
        "abfs://a/x?sas_token=s3cr3t",
    ):
        with pytest.raises(SettingsError, match="leave credentials out of the address") as error:
            storage.resolve(address)
        assert "s3cr3t" not in str(error.value)


def test_azure_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options lead to this machine, where nothing listens."""
    monkeypatch.setenv("AZURE_CLIENT_ID", "")
    nowhere = "blob_storage_authority=127.0.0.1:9&dfs_storage_authority=127.0.0.1:9"
    with pytest.raises(
        SettingsError, match="no credentials that Azure takes; set AZURE_STORAGE_ACCOUNT_KEY"
    ) as error:
        storage.resolve(f"abfs://birds@nobody/x?{nowhere}")
    assert "\n" not in str(error.value)


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_TOKEN", dataset_hub.TOKEN)


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("at", ["", "@main"])
@pytest.mark.parametrize("made", [as_tar, as_parquet])
def test_a_data_set_on_the_hub(
    birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Any, at: str
) -> None:
    """Shards are read where they lie: nothing is fetched whole but what is asked for."""
    here = made(birds, tmp_path / "x")
    files = {path.relative_to(here).as_posix(): path.read_bytes() for path in here.rglob("*") if path.is_file()}
    with serving(DatasetHub(files | {"README.md": b"# Owls"})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        root = f"hf://datasets/{dataset_hub.NAME}{at}"
        data, local = scan(root), scan(str(here))
        for name, split in local.splits.items():
            assert data.splits[name].paths == split.paths
            assert all(decode.read(data.uri(path)) == decode.read(local.uri(path)) for path in split.paths)
        found = inputs.find([root])
        assert [file.label for file in found.files(CLASSES)].count(CLASSES[0]) == 8
        assert found.ignored == ((f"{root}/README.md", "not an image"),)
        read_only = "hf:// is for data that are read; write to a folder"
        with pytest.raises(OutputError, match=read_only):
            storage.write(f"{root}/x", b"")
        with pytest.raises(OutputError, match=read_only):
            storage.copy(str(here), f"{root}/x")
        with pytest.raises(DataError, match="nothing there"):
            inputs.find([f"{root}/none"])


@pytest.mark.usefixtures("token")
def test_the_hub_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(DatasetHub({"train-0.tar": b""})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        for name, given in (("birder/none", dataset_hub.TOKEN), (dataset_hub.NAME, "hf_other")):
            monkeypatch.setenv("HF_TOKEN", given)
            storage._remote.cache_clear()
            for ask in (scan, lambda root: inputs.find([root])):
                with pytest.raises(
                    DataError, match="no such data set, or it is a private one; for that set HF_TOKEN"
                ):
                    ask(f"hf://datasets/{name}")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    storage._remote.cache_clear()
    with pytest.raises(DataError, match="the Hub cannot be read") as error:
        inputs.find([f"hf://datasets/{dataset_hub.NAME}"])
    assert "\n" not in str(error.value)


def test_the_hub_without_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"hf:// needs huggingface_hub.*pip install 'ray-birds\[hub\]'"):
        storage.resolve("hf://datasets/birder/owls")


def test_a_scheme_that_is_not_known() -> None:
    with pytest.raises(SettingsError, match="expected a path, s3://, gs://, abfs:// or hf://datasets/"):
        storage.resolve("ftp://birds/train")


def test_options_of_azure_are_told_from_keys() -> None:
    assert stores.AZURE_OPTIONS <= storage._OPTIONS
    assert storage.path("abfs://c@a/x.jpg?blob_storage_authority=127.0.0.1:1") == "c@a/x.jpg"
    assert storage.path("abfs://c@a/x.jpg?width=3") == "c@a/x.jpg?width=3"
