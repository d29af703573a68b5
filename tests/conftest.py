"""What several tests share: real data where it lies beside the project, drawn data, a disk that is full."""

import ast
import gc
import importlib.metadata
import importlib.util
import io
import logging
import os
import resource
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parent.parent
DRAWN_WEIGHTS = str(REPOSITORY / "ray_birds/demo/backbone.weights.h5")  # of MobileNetV2-0.35
CLASSES = ("ATLAS FINCH", "CORAL OWL", "MOSS TERN")
COUNTS = {"train": 4, "valid": 2, "test": 2}
SECRET = "s3cr3t-of-the-tests"  # of the S3 server that tests start

SIZE = 96  # of the images that the model of `bundles` takes

# MobileNetV2 with random weights, its BatchNorm statistics set from one batch so that features are of order 1;
# and a bundle whose model holds code, which must not run.
_BUNDLES = """
import json, shutil, sys
from pathlib import Path
import keras, numpy as np
from ray_birds.core import storage
from ray_birds.data import seen
from ray_birds.evaluation.ood import Reference
from ray_birds.evaluation.selective import Known
from ray_birds.model import head
from ray_birds.model import device
from ray_birds.model import cut
from ray_birds.model import backbones, bundle
from ray_birds.sweep.factors import Variant
place, size, data, classes = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), tuple(sys.argv[4:])
device.use_threads(1)
base = backbones.build("MobileNetV2-0.35", "none", size)
for layer in base.layers:
    layer.trainable = True
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.0
base(np.random.default_rng(0).uniform(0, 255, (32, size, size, 3)).astype("float32"), training=True)
model = head.classifier(base, cut.CutPoint(cut.PIXELS, (size, size, 3)), len(classes))
variant = Variant(backbone="MobileNetV2-0.35", image_size=size)
images = seen.listed(storage.digest([file.read_bytes()]) for file in data.rglob("*.jpg"))
ramp = np.linspace(0, 1, 100, dtype=np.float32)
known, reference = Known(ramp, ramp > 0.4, ramp), Reference(np.eye(len(classes), 1280, dtype=np.float16))
measured = bundle.Measured({}, known, reference)
bundle.save(model, str(place / "bundle"), classes, variant, lambda classifier: measured, images)

pixels = keras.Input((size, size, 3))
features = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda x: x * 1.0)(pixels))
code = Path(shutil.copytree(place / "bundle", place / "code"))
keras.Model(pixels, keras.layers.Dense(len(classes), activation="softmax")(features)).save(code / "model.keras")
about = json.loads((code / "versions.json").read_text())
about["digests"]["model.keras"] = storage.digest([(code / "model.keras").read_bytes()])
(code / "versions.json").write_text(json.dumps(about))
"""

# Tests start processes of their own; none of them should take the machine's other cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def benchmark(name: str) -> ModuleType:
    """A script of benchmarks/ as a module: what it measures is tested too, on less."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / f"benchmarks/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiers(file: Path) -> set[str]:
    """The markers that all tests of a file have, by its `pytestmark`; read, not run."""
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
                return {node.attr for node in ast.walk(value) if isinstance(node, ast.Attribute)} - {"mark"}
    return set()


def refused(expression: str) -> set[str]:
    """The markers that no test may have that `-m EXPRESSION` takes, where it is of the form `not a and not b`."""
    terms = [] if " or " in expression else expression.split(" and ")
    return {term.removeprefix("not ") for term in terms if term.startswith("not ")}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file of which nothing will run is not imported either: TensorFlow alone takes seconds."""
    is_test = collection_path.suffix == ".py" and collection_path.name.startswith("test_")
    return True if is_test and tiers(collection_path) & refused(config.option.markexpr) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported here stays: no garbage is looked for in it, neither now nor while tests run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes a model takes the tier of those that make one."""
    for item in items:
        if "bundles" in getattr(item, "fixturenames", ()):
            item.add_marker("keras")


@pytest.fixture(autouse=True)
def _tier(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test without a marker starts no TensorFlow in this process, nor does its file where others are not run."""
    before = "tensorflow" in sys.modules and "keras" not in refused(request.config.option.markexpr)
    yield
    marked = any(request.node.get_closest_marker(name) for name in ("keras", "ray", "slow"))
    assert before or marked or "tensorflow" not in sys.modules, "imports TensorFlow: mark it with keras"


def draw_birds(root: Path, size: int = 48) -> Path:
    """A labelled data set of JPEGs: three classes that differ in colour and in the direction of their stripes."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    looks = ((columns, (200, 70, 60)), (rows, (70, 190, 80)), (rows + columns, (70, 90, 210)))
    for split, count in COUNTS.items():
        for name, (ramp, colour) in zip(CLASSES, looks, strict=True):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(1, count + 1):
                stripes = np.sin(ramp / random.uniform(1.5, 2.5) + random.uniform(0, 6))[..., None]
                pixels = np.array(colour) + 40 * stripes + random.normal(0, 10, (size, size, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / f"{number}.jpg", quality=90)
    return root


def needs_locked(*packages: str) -> None:
    """Skip what was recorded with the versions of requirements.lock where one of these is another."""
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8").splitlines()
    for name in packages:
        if f"{name}=={importlib.metadata.version(name)}" not in lock:
            pytest.skip(f"recorded with the {name} of requirements.lock")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real photographs and weights beside the project; see ../shared/README.md."""
    uri = REPOSITORY.parent / "shared"
    if not uri.is_dir():
        pytest.skip("needs ../shared")
    return uri


@pytest.fixture(scope="session")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn data set, for reading only: train 4, valid 2 and test 2 images of each of three classes."""
    return draw_birds(tmp_path_factory.mktemp("drawn") / "birds")


@pytest.fixture
def own_birds(birds: Path, tmp_path: Path) -> Path:
    """A copy of the drawn data set that a test may change."""
    return Path(shutil.copytree(birds, tmp_path / "birds"))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """An image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes (the kernel refuses, as when a disk is full)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(uri: Path, size: str) -> Iterator[Path]:
    """A real file system at `uri`, of a `size` such as 1m; the test is skipped where none can be had."""
    uri.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(uri)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a small file system here")
    yield uri
    subprocess.run(["umount", "-l", str(uri)], check=True)


@contextmanager
def own_s3() -> Iterator[str]:
    """An S3 server on this machine with a bucket in it, `s3://...`; processes started meanwhile find it too."""
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would tell of every request
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    settings = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    name = f"birds-{port}"  # file systems are kept for as long as the process lives
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(key, value)
        urllib.request.urlopen(urllib.request.Request(f"{address}/{name}", method="PUT")).close()
        yield f"s3://{name}"
    server.stop()


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray on this machine for all tests of the run; the jobs called in this process join it."""
    import ray

    from ray_birds.core import cluster

    with cluster.session(verbose=False):
        yield
    assert not ray.is_initialized()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, birds: Path) -> Path:
    """A folder with the bundles `bundle`, which has seen the training images of `birds`, and `code`."""
    uri = tmp_path_factory.mktemp("bundles")
    command = [sys.executable, "-c", _BUNDLES, str(uri), str(SIZE), str(birds / "train"), *CLASSES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    return uri
