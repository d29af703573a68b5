"""What is no bundle, or a stranger's that would harm: neither written nor read."""

import io
import json
import os
import re
import shutil
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ray_birds.core import storage
from ray_birds.core.errors import ModelError
from ray_birds.model import bundle, classifier
from ray_birds.sweep.factors import Variant

pytestmark = pytest.mark.keras


def test_a_model_without_numbers_is_not_written(tmp_path: Path) -> None:
    import keras

    pixels = keras.Input((8, 8, 3))
    model = keras.Model(pixels, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(pixels)))
    model.layers[-1].bias.assign([1.0, np.inf])
    with pytest.raises(ModelError, match=r"best: its weights are not finite .*--learning-rate"):
        bundle.save(model, str(tmp_path / "best"), ("a", "b"), Variant(), lambda path: bundle.Measured({}))
    assert not (tmp_path / "best").exists()


def test_nor_read(bundles: Path, tmp_path: Path) -> None:
    spoiled = Path(shutil.copytree(bundles / "bundle", tmp_path / "spoiled"))
    assert bundle.verify(str(spoiled)).classes
    about = json.loads((spoiled / "versions.json").read_text())
    assert about["needs"] == {"keras": f">={bundle.least_keras()}"}
    spoil(spoiled / "model.keras")
    seal(spoiled)
    with pytest.raises(ModelError, match=r"its weights are not finite \(layers/.*/vars/0\)"):
        bundle.verify(str(spoiled))


def seal(uri: Path) -> Path:
    """Give a bundle that was changed the digests of what it holds now."""
    about = json.loads((uri / "versions.json").read_text())
    about["digests"] = {name: storage.digest([(uri / name).read_bytes()]) for name in about["digests"]}
    (uri / "versions.json").write_text(json.dumps(about))
    return uri


@pytest.fixture
def own(bundles: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(bundles / "bundle", tmp_path / "own"))


def refused(uri: Path, words: str) -> None:
    """It is not taken, with one line, and without the memory that it asks for."""
    tracemalloc.start()
    with pytest.raises(ModelError, match=words) as error:
        bundle.verify(str(seal(uri)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert peak < 200e6


CLASSES_JSON = r"classes\.json: expected a list of different names; get the model again"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("classes.json", '["a", "b"]', "gives 3 probabilities; classes.json names 2 classes; get the model again"),
        ("classes.json", '["a", "b", "a"]', CLASSES_JSON),
        ("classes.json", '"abc"', CLASSES_JSON),
        ("classes.json", "[1, 2, 3]", CLASSES_JSON),
        ("classes.json", r'["a", "b", "\ud800"]', CLASSES_JSON),
        ("classes.json", "[]", CLASSES_JSON),
        (
            "classes.json",
            "[" * 100_000,
            r"own/classes\.json: not JSON of a bundle \(.*recursion.*\); get the model",
        ),
        (
            "classes.json",
            "[" + " " * 16_000_000 + "]",
            r"classes\.json: has 16,000,002 bytes, expected 16,000,000",
        ),
        (
            "variant.json",
            '{"image_size": 1000000}',
            r"variant\.json: image_size 1e\+06, expected 16 to 4,096; get",
        ),
        ("variant.json", '{"image_size": "96"}', r"variant\.json: not settings \(image_size '96': expected int"),
        ("variant.json", '{"image_size": 96.0}', r"variant\.json: not settings"),
        (
            "variant.json",
            '{"resize": "squash"}',
            r"variant\.json: not settings \(resize 'squash': expected",
        ),
        (
            "variant.json",
            '{"image_size": 64}',
            r"takes images of \[None, 96, 96, 3\]; variant.json says \[None, 64",
        ),
        ("variant.json", "[]", r"variant\.json: not settings"),
        ("variant.json", '{"a":' * 100_000, r"variant\.json: not JSON"),
        ("versions.json", "[" * 100_000, r"versions\.json: not JSON"),
        ("versions.json", "[]", "not a bundle"),
        ("versions.json", '{"format": 3, "digests": 5}', "not a bundle"),
        ("metrics.json", " " * 16_000_001, r"metrics\.json: has 16,000,001 bytes"),
        ("model.keras", "", r"model\.keras: not what Keras saves of a classifier \(File is not a zip file\); get"),
    ],
)
def test_files_that_no_bundle_has(own: Path, name: str, content: str, words: str) -> None:
    (own / name).write_text(content)
    if name == "versions.json":
        with pytest.raises(ModelError, match=words):
            bundle.verify(str(own))
    else:
        refused(own, words)


def rewrite(model: Path, packed: int = zipfile.ZIP_STORED, **changed: bytes) -> None:
    """Change members of a saved model: those called `config`, `weights`, and any other."""
    called = {"config": "config.json", "weights": "model.weights.h5"}
    with zipfile.ZipFile(model) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(model, "w", packed) as archive:
        for name, data in (files | {called.get(key, key): data for key, data in changed.items()}).items():
            archive.writestr(name, data)


def weights_of(model: Path) -> bytes:
    with zipfile.ZipFile(model) as archive:
        return archive.read("model.weights.h5")


def config_of(model: Path) -> dict[str, Any]:
    with zipfile.ZipFile(model) as archive:
        return dict(json.loads(archive.read("config.json")))


@pytest.mark.slow
def test_members_that_unpack_to_more_than_the_file(own: Path) -> None:
    rewrite(own / "model.keras", zipfile.ZIP_DEFLATED, weights=bytes(500_000_000))
    refused(own, r"model\.weights\.h5 unpacks to 500,000,000 bytes, over [\d,]+; get the model again")
    rewrite(own / "model.keras", zipfile.ZIP_DEFLATED, weights=b"", config=b" " * 500_000_000)
    refused(own, r"config\.json unpacks to 500,000,000 bytes, over 16,000,000")


def test_other_members_and_other_ways_to_pack(own: Path) -> None:
    rewrite(own / "model.keras", zipfile.ZIP_BZIP2)
    refused(own, "is packed in a way that Keras does not use")
    rewrite(own / "model.keras", zipfile.ZIP_STORED, **{"assets/big": b"0"})
    refused(own, r"holds .*assets/big; expected config\.json, metadata\.json, model\.weights\.h5")


def test_weights_that_announce_more_numbers_than_there_are(own: Path) -> None:
    sparse = io.BytesIO()
    with h5py.File(sparse, "w") as file:
        file.create_dataset("layers/dense/vars/0", (25_000, 40_000), "f4")  # 4 GB, of which nothing is stored
    rewrite(own / "model.keras", weights=sparse.getvalue())
    refused(own, r"its weights unpack to 4,000,000,000 bytes, over [\d,]+; get the model again")


@pytest.mark.parametrize("kind", ["external link", "soft link", "external data", "text"])
def test_weights_that_lie_elsewhere_or_are_none(own: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").write_bytes(bytes(400))
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        if kind == "external link":
            file["odd"] = h5py.ExternalLink(str(tmp_path / "elsewhere"), "/x")
        elif kind == "soft link":
            file["odd"] = h5py.SoftLink("/odd")
        elif kind == "external data":
            file.create_dataset("odd", (100,), "f4", external=[(str(tmp_path / "elsewhere"), 0, 400)])
        else:
            file["odd"] = "a text"
    rewrite(own / "model.keras", weights=made.getvalue())
    refused(own, r"odd in model\.weights\.h5 is a link, or no array of numbers; get the model again")


def test_configurations_of_no_classifier(own: Path) -> None:
    config = config_of(own / "model.keras")
    for odd in (b"[" * 100_000, b"{}", b"[]", json.dumps(config | {"config": {"layers": []}}).encode()):
        rewrite(own / "model.keras", config=odd)
        refused(own, r"model\.keras: not what Keras saves of a classifier")


def test_a_pipe_instead_of_a_file(own: Path) -> None:
    (own / "metrics.json").unlink()
    os.mkfifo(own / "metrics.json")
    with pytest.raises(ModelError, match=r"metrics\.json: not a file"):
        bundle.verify(str(own))


def test_a_description_of_more_parameters_than_there_are(own: Path) -> None:
    """The driver takes it; Keras would make 4.9 TB of random numbers, now or at the end of a later scope."""
    import keras

    config = config_of(own / "model.keras")
    head = config["config"]["layers"][-1]
    wide = json.loads(json.dumps(head).replace('"head"', '"wide"'))
    wide["config"]["units"], wide["config"]["activation"] = 10**9, "relu"
    head["inbound_nodes"][0]["args"][0]["config"] = {
        "shape": [None, 10**9],
        "dtype": "float32",
        "keras_history": ["wide", 0, 0],
    }
    head["build_config"] = {"input_shape": [None, 10**9]}
    config["config"]["layers"].insert(-1, wide)
    rewrite(own / "model.keras", config=json.dumps(config).encode())
    about = bundle.verify(str(seal(own)))
    with pytest.raises(ModelError, match=r"Keras does not open it \(it describes 1,28[\d,]+ parameters and has"):
        classifier.load(about)
    with keras.StatelessScope():
        pass


def test_a_model_that_opens_and_cannot_compute(own: Path) -> None:
    """Keras infers the shape behind a Rescaling layer without calling it: what is wrong with that shows in use."""
    config = config_of(own / "model.keras")
    text, count = re.subn(r'"scale": [0-9.e-]+', '"scale": [1.0, 2.0]', json.dumps(config))
    rewrite(own / "model.keras", config=text.encode())
    verified = bundle.verify(str(seal(own)))
    with storage.temporary_file((own / "model.keras").read_bytes(), ".keras") as path:
        import keras

        keras.saving.load_model(path, compile=False, safe_mode=True)  # it opens
    with pytest.raises(
        ModelError, match=r"own/model\.keras: Keras does not open it \(.*; expected a classifier"
    ) as error:
        classifier.load(verified)
    assert count and "\n" not in str(error.value)


def spoil(model: Path) -> None:
    """Put a NaN into the last weights of a saved model."""
    with zipfile.ZipFile(model) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(files["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        last = next(name for name in reversed(names) if file[name].ndim and file[name].dtype.kind == "f")
        file[last][0] = np.nan
    with zipfile.ZipFile(model, "w") as archive:
        for name, data in (files | {"model.weights.h5": weights.getvalue()}).items():
            archive.writestr(name, data)
