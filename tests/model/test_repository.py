"""Repositories of the Hub, by its real client against a stub of its HTTP API on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from ray_birds.core.errors import ModelError, SettingsError
from ray_birds.core.storage import TooLargeError
from ray_birds.model import bundle, repository
from tests.conftest import REPOSITORY
from tests.loopback import serving
from tests.model.hub_server import NAME, TOKEN, Hub


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub without any repository; the client of this process, and of those that it starts, calls it alone."""
    with serving(Hub()) as server:
        values = {"ENDPOINT": server.address, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": True}
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in (values | {"HUGGINGFACE_CO_URL_TEMPLATE": template}).items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Something to push, with a file for Git LFS and one that is none."""
    made = tmp_path / "owls"
    made.mkdir()
    (made / "README.md").write_text("---\nlicense: mit\n---\n\nOwls.\n")
    (made / "seen.npy").write_bytes(bytes(range(256)) * 100)
    return made


def test_what_is_pushed_is_read_again(stub: Hub, folder: Path) -> None:
    uri = repository.push(folder, NAME)
    assert uri == f"hf://{NAME}@{stub.commit}" and stub.made["visibility"] == "private"
    assert stub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert repository.pinned(f"hf://{NAME}", "README.md") == uri == repository.pinned(uri, "README.md")
    for path in folder.iterdir():
        assert repository.read(uri, path.name, 10**6) == path.read_bytes()
    assert repository.exists(uri, "README.md") and not repository.exists(uri, "absent")
    before = list(stub.sent)
    assert repository.read(uri, "seen.npy", 10**6) == stub.files["seen.npy"]
    assert stub.sent == before  # out of the cache
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\nBarn owls.\n")
    again = repository.push(folder, NAME)
    assert again != uri and sum(sent.startswith("POST /api/models/birder/owls/commit") for sent in stub.sent) == 2
    assert b"Barn" in repository.read(f"hf://{NAME}", "README.md", 10**6)
    assert b"Barn" not in repository.read(uri, "README.md", 10**6)


def test_a_file_that_is_too_large_is_not_fetched(stub: Hub, folder: Path) -> None:
    uri = repository.push(folder, NAME)
    with pytest.raises(TooLargeError, match="25,600 bytes"):
        repository.read(uri, "seen.npy", 1000)
    assert not [sent for sent in stub.sent if sent.startswith("GET") and "seen.npy" in sent]


def test_what_the_hub_refuses_is_one_line(stub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.push(folder, NAME)
    with pytest.raises(ModelError, match=rf"hf://{NAME}@v9: no such revision; expected a branch"):
        bundle.verify(f"hf://{NAME}@v9")
    with pytest.raises(ModelError, match=rf"hf://{NAME}: not a bundle \(the repository has no such file"):
        bundle.verify(f"hf://{NAME}")
    for uri in ("hf://owls", "hf://a/b/c", "hf://"):
        with pytest.raises(ModelError, match="expected hf://OWNER/NAME"):
            bundle.verify(uri)
    stub.status = 403
    with pytest.raises(
        ModelError, match=r"the Hub refuses with 403 \(not today\); its token must be one that may"
    ):
        repository.push(folder, NAME)
    stub.status = 0
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    for act in (lambda: bundle.verify(f"hf://{NAME}"), lambda: repository.push(folder, NAME)):
        with pytest.raises(
            ModelError, match=r"no such repository, or it is a private one; for that set HF_TOKEN"
        ) as one:
            act()
        assert "\n" not in str(one.value) and "hf_another" not in str(one.value)


def test_without_a_network_the_cache_serves(stub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = repository.push(folder, NAME)
    assert repository.read(f"hf://{NAME}", "README.md", 10**6)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert repository.pinned(f"hf://{NAME}", "README.md") == uri
    assert repository.read(uri, "README.md", 10**6) == stub.files["README.md"]
    with pytest.raises(ModelError, match=r"the Hub cannot be reached, and the cache does not have it \(.*network"):
        repository.read(uri, "seen.npy", 10**6)
    with pytest.raises(ModelError, match=r"cannot be pushed \(.*network"):
        repository.push(folder, NAME)


def test_a_push_needs_a_login_and_the_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match=r"--push birder/owls: not logged in to the Hub; set HF_TOKEN"):
        repository.check_login(NAME)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for act in (lambda: repository.check_login(NAME), lambda: bundle.verify(f"hf://{NAME}")):
        with pytest.raises(SettingsError, match=r"huggingface_hub, which is not installed: .*ray-birds\[hub\]"):
            act()


# Loads the model as Keras does, then predicts with it and with the bundle on disk: name, photo, bundle, folder.
_USED = """
import json, sys, keras, ray_birds
from pathlib import Path
from ray_birds.data import decode
name, photo, model, folder = sys.argv[1:]
network = keras.saving.load_model(name)
pixels = decode.load(photo, network.input.shape[1]).pixels
told = [network.predict(pixels[None], verbose=0)[0].tolist()]
for number, one in enumerate((name, model)):
    options = {"input": [photo], "output": Path(folder, str(number)), "probabilities": True, "engine": "local"}
    rows = ray_birds.predict(model=one, **options)
    told += [rows.manifest["model"], rows.to_pandas().iloc[0].probabilities.tolist()]
print(json.dumps(told))
"""


def run(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=REPOSITORY, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_model_on_its_way_over_the_hub(stub: Hub, bundles: Path, birds: Path, tmp_path: Path) -> None:
    """Pushed by the command, loaded by Keras itself, and predicted with: the answers are those of the bundle."""
    model, photo = str(bundles / "bundle"), str(next((birds / "test").rglob("*.jpg")))
    words = ["--model", model, "--format", "huggingface", "--license", "mit", "--push", NAME]
    said = run("-m", "ray_birds.cli", "export", *words)
    uri = f"hf://{NAME}@{stub.commit}"
    assert f"written      {uri}" in said
    told = run("-c", _USED, f"hf://{NAME}", photo, model, str(tmp_path)).splitlines()[-1]
    scores, over, found, here, expected = json.loads(told)
    assert over["uri"] == uri and over["digest"] == here["digest"]
    assert found == expected == pytest.approx(scores, abs=1e-5)
