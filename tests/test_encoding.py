"""UTF-8 in every text file and every name, whatever the locale; a terminal that lacks a letter ends nothing."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPOSITORY

SOURCES = sorted([*(REPOSITORY / "ray_birds").rglob("*.py"), *(REPOSITORY / "jobs").glob("*.py")])
TEXT = {"read_text", "write_text", "open"}


def unnamed(source: Path) -> Iterator[str]:
    """Calls that read or write a text file in the encoding of the locale; ruff sees those of known types alone."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = ast.unparse(node.func).rpartition(".")[0]
        if (
            name not in TEXT
            or owner in ("Image", "opened", "tarfile")
            or "encoding" in {word.arg for word in node.keywords}
        ):
            continue
        given = [*node.args, *(word.value for word in node.keywords)]
        modes = [part.value for arg in given for part in ast.walk(arg) if isinstance(part, ast.Constant)]
        if not {"rb", "wb", "xb", "ab"} & set(modes):
            yield f"{source.relative_to(REPOSITORY)}:{node.lineno}: {ast.unparse(node)[:80]}"


def test_every_text_file_names_its_encoding() -> None:
    assert [line for source in SOURCES for line in unnamed(source)] == []


@pytest.fixture(scope="module")
def latin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a German machine of old, where UTF-8 mode is off."""
    folder = tmp_path_factory.mktemp("locales")
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / "de_DE.ISO-8859-1")], capture_output=True
    )
    if made.returncode:
        pytest.skip("needs localedef and the sources of a locale")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.ISO-8859-1"}


POSIX = {"LC_ALL": "C"}
CODE = """
import json, shutil, sys
from pathlib import Path
from ray_birds.config import DownloadConfig
from ray_birds.core import lock, storage, terminal
from ray_birds.data import decode, walk
from ray_birds.data.dataset import scan
from ray_birds.data.sources.download import download
from ray_birds.prediction import inputs
from ray_birds.core.tables import read_csv, write_csv

root, kept = sys.argv[1], sys.argv[2]
assert not sys.flags.utf8_mode and sys.stdout.encoding.lower() not in ("utf-8", "utf8"), sys.stdout.encoding
data = scan(root)
assert data.classes == ("CAF\\xc9", "OWL"), data.classes
assert all(decode.load(data.uri(path), 32).error == "" for path in data.splits["train"].paths)
found = inputs.find([root + "/train"])
labels = {inputs.label(found.roots[given], path, frozenset(data.classes)) for given, path in found.images}
assert labels == set(data.classes), labels
write_csv(kept + "/classes.csv", ("class",), [{"class": name} for name in data.classes])
assert [row["class"] for row in read_csv(kept + "/classes.csv")] == list(data.classes)
storage.write(kept + "/CAF\\xc9/x", b"1")
assert storage.read(kept + "/CAF\\xc9/x") == b"1" and (Path(kept).iterdir())
output = storage.resolve(sys.argv[3])
assert output == storage.resolve(output) == kept + "/CAF\\xc9 \\u9daf out", output
with lock.held(output):
    assert storage.exists(kept + "/.CAF\\xc9 \\u9daf out.lock")
for source in (root, root + ".zip"):
    download(DownloadConfig(output=sys.argv[3], source=source))
    assert scan(output).classes == data.classes
    shutil.rmtree(sys.argv[3])
storage.write(output + "/.staging/x", b"1")
storage.publish(output + "/.staging", output + "/CAF\\xc9")
terminal.say("CAF\\xc9 \\u9daf")
terminal.show(terminal.table("T\\u9daf", ("a",), [("CAF\\xc9",)]))
terminal.bars([("\\u9daf", 0.5)])
"""
JOB = """
from ray_birds import cli
from ray_birds.core.errors import DataError
from ray_birds.config import CheckConfig
def job(config, given):
    print("CAF\\xc9 \\u9daf")
    raise DataError("CAF\\xc9 \\u9daf \\x1b[2J")
cli.run_job(CheckConfig, job, ["--data", "x"], "job")
"""


def run(code: str, locale: dict[str, str], *words: str) -> subprocess.CompletedProcess[bytes]:
    settings = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(REPOSITORY)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, env=kept | settings | locale, cwd=REPOSITORY)


def locale_of(name: str, request: pytest.FixtureRequest) -> dict[str, str]:
    return POSIX if name == "posix" else request.getfixturevalue("latin")


@pytest.mark.parametrize("name", ["posix", "latin"])
@pytest.mark.integration
def test_a_class_with_an_accent_in_a_locale_without_utf8(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for path in ("train/CAFÉ/1.jpg", "train/CAFÉ/é 鶯.jpg", "train/OWL/1.jpg"):
        (tmp_path / "birds" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "birds" / path)
    (tmp_path / "kept").mkdir()
    shutil.make_archive(str(tmp_path / "birds"), "zip", tmp_path / "birds")
    output = tmp_path / "kept" / "CAFÉ 鶯 out"
    words = map(str, (tmp_path / "birds", tmp_path / "kept", output))
    done = run(CODE, locale_of(name, request), *words)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert (tmp_path / "kept/CAFÉ/x").exists() and (output / "CAFÉ/x").exists()
    said = done.stdout.decode("ascii" if name == "posix" else "latin-1")
    assert ("CAF\\xc9 \\u9daf" if name == "posix" else "CAFÉ \\u9daf") in said


@pytest.mark.parametrize("name", ["posix", "latin"])
@pytest.mark.integration
def test_a_letter_that_the_terminal_lacks_ends_no_job(name: str, request: pytest.FixtureRequest) -> None:
    done = run(JOB, locale_of(name, request))
    assert done.returncode == 2 and b"\\u9daf" in done.stdout, done.stderr
    assert done.stderr.startswith(b"error: CAF") and done.stderr.rstrip().endswith(b" \\u9daf \\x1b[2J")


BUNDLE = """
import sys, json
import keras
from ray_birds.sweep.factors import Variant
from ray_birds.model import bundle, card
pixels = keras.Input((32, 32, 3))
shown = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(pixels))
classes = ("CAF\\xc9", "\\u9daf")
model, variant = keras.Model(pixels, shown), Variant(image_size=32)
bundle.save(model, sys.argv[1], classes, variant, lambda classifier: bundle.Measured({}))
found = bundle.verify(sys.argv[1])
assert found.classes == classes, found.classes
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["posix", "latin"])
def test_a_bundle_is_written_and_read_in_a_locale_without_utf8(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    done = run(BUNDLE, locale_of(name, request), str(tmp_path / "bundle"))
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert "CAFÉ" in (tmp_path / "bundle/classes.json").read_text(encoding="utf-8")
