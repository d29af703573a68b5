"""One photo: what is said of it on the terminal, and the image of it."""

import json
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ray_birds
from ray_birds.config import PredictConfig, TuneConfig
from ray_birds.core.errors import DataError, SettingsError
from ray_birds.data import decode
from ray_birds.data.dataset import Dataset, Split
from ray_birds.model import bundle, lines, samples
from ray_birds.prediction import image, result, single
from ray_birds.prediction.answer import Answer
from ray_birds.prediction.result import Predictions
from ray_birds.sweep import bundling
from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.factors import Resize
from tests.conftest import CLASSES, REPOSITORY, SIZE
from tests.model.test_bundle import seal
from tests.model.test_lines import pixels as lines_pixels


def alone(config: PredictConfig) -> Predictions:
    return single.predict(config, bundle.verify(config.model), Answer())


CHOICES = [{"label": "CORAL OWL", "probability": 0.75}, {"label": "MOSS TERN", "probability": 0.25}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_command_prints_the_models_choices_and_saves_the_image(
    bundles: Path, birds: Path, folder: Path
) -> None:
    uri = birds / "test/CORAL OWL/1.jpg"
    words = ["--model", str(bundles / "bundle"), "--input", str(uri), "--show"]
    command = [sys.executable, str(REPOSITORY / "jobs/predict.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0 and done.stderr == ""
    first, *lines, last = done.stdout.splitlines()

    scores = plain_scores(bundles / "bundle/model.keras", uri)
    best = CLASSES[scores.argmax()]
    assert first == f"{uri}: " + ("right" if best == "CORAL OWL" else f"wrong, it is {uri.parent.name}")
    expected = sorted(zip(CLASSES, scores, strict=True), key=lambda pair: -pair[1])
    assert [(line.split("  ")[0], line.split()[-1]) for line in lines] == [(n, f"{s:.1%}") for n, s in expected]
    assert last == f"image        {folder / '1-prediction.png'}" and (folder / "1-prediction.png").exists()


_PLAIN = """
import sys, keras, numpy as np
pixels = np.load(sys.argv[2])
print(*keras.models.load_model(sys.argv[1]).predict(pixels[None], verbose=0)[0].tolist())
"""


def plain_scores(model: Path, uri: Path) -> np.ndarray:
    """(classes,) by plain Keras in a process of its own."""
    pixels = decode.load(str(uri), SIZE).pixels
    assert pixels is not None
    np.save("pixels.npy", pixels)
    command = [sys.executable, "-c", _PLAIN, str(model), "pixels.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return np.array(done.stdout.splitlines()[-1].split(), dtype=float)


@pytest.mark.parametrize(
    ("label", "words", "colour"),
    [
        (None, "", "#1b1e23"),
        ("CORAL OWL", ": right", "#0072B2"),
        ("MOSS TERN", ": wrong, it is MOSS TERN", "#D55E00"),
    ],
)
def test_right_or_wrong_is_said_where_it_is_known(
    folder: Path, capsys: pytest.CaptureFixture[str], label: str | None, words: str, colour: str
) -> None:
    uri = folder / "some photo.png"
    Image.new("RGB", (90, 60), "green").save(uri)
    config = PredictConfig(model="m", input=(str(uri),), show=True)
    result.show_photo(config, str(uri), label, CHOICES)
    first, *bars, last = capsys.readouterr().out.splitlines()
    assert first == f"{uri}{words}"
    assert [bar.split("  ")[0] for bar in bars] == ["CORAL OWL", "MOSS TERN"]
    assert [bar.count("━") for bar in bars] == [22, 7]  # of 30, the half ones not counted
    saved = folder / "some photo-prediction.png"
    assert last == f"image        {saved}"
    pixels = np.asarray(Image.open(saved).convert("RGB")).reshape(-1, 3)
    asked = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    assert (pixels == asked).all(axis=1).sum() > 50  # the title
    shown = np.argwhere((np.asarray(Image.open(saved).convert("RGB")) == [0, 128, 0]).all(axis=2))
    height, width = np.ptp(shown, axis=0) + 1
    assert width / height == pytest.approx(1.5, rel=0.02)  # its own shape


@pytest.mark.parametrize(
    ("count", "kind", "words"), [(2, SettingsError, "--output is missing.* 2 images"), (0, DataError, "no image")]
)
def test_without_an_output_there_is_one_photo(
    bundles: Path, folder: Path, count: int, kind: type[Exception], words: str
) -> None:
    for number in range(count):
        Image.new("RGB", (9, 9)).save(folder / f"{number}.jpg")
    with pytest.raises(kind, match=words):
        alone(PredictConfig(model=str(bundles / "bundle"), input=(str(folder),)))


@pytest.mark.parametrize("resize", typing.get_args(Resize))
def test_an_image_is_resized_as_the_model_was_trained(bundles: Path, tmp_path: Path, resize: Resize) -> None:
    spots = np.random.default_rng(0).integers(0, 256, (4, 9, 3), np.uint8)
    Image.fromarray(spots).resize((90, 40)).save(tmp_path / "wide.png")
    about = json.loads((bundles / "bundle/variant.json").read_text())
    model = Path(shutil.copytree(bundles / "bundle", tmp_path / "bundle"))
    (model / "variant.json").write_text(json.dumps(about | {"resize": resize}))
    verified = bundle.verify(str(seal(model)))
    found = image.load(str(tmp_path / "wide.png"), verified, decode.MAX_PIXELS, decode.MAX_BYTES)
    assert found.pixels is not None
    made = lines_pixels(lines.pixels(SIZE, resize))(tmp_path / "wide.png")
    np.testing.assert_array_equal(found.pixels, made)
    data = Dataset(str(tmp_path), ("a",), {})
    split = Split("valid", ("wide.png",), np.zeros(1, np.int32), np.zeros(1, np.int64))
    source = bundling.Source(SweepDirectory(""), TuneConfig(), data, split, threads=1)
    (kept,) = bundling._pixels(source, split, verified.variant)  # what the winner is measured on
    np.testing.assert_array_equal(kept[0], made)
    np.testing.assert_array_equal(samples.of_folder(str(tmp_path), verified.variant).pixels[0], made)


def test_a_bundle_made_before_there_was_a_choice_stretches(bundles: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(bundles / "bundle", tmp_path / "bundle"))
    about = json.loads((model / "variant.json").read_text())
    del about["resize"]
    (model / "variant.json").write_text(json.dumps(about))
    assert bundle.verify(str(seal(model))).variant.resize == "stretch"


def test_test_time_augmentation_is_the_mean_over_image_and_mirror_image(bundles: Path, birds: Path) -> None:
    import keras

    paths = sorted((birds / "test").rglob("*.jpg"))
    pixels = np.stack([decode.load_known(str(path), SIZE) for path in paths])
    model = keras.saving.load_model(bundles / "bundle/model.keras", compile=False)
    plain, mirrored = (model.predict(some, verbose=0) for some in (pixels, pixels[:, :, ::-1]))
    assert np.abs(plain - mirrored).max() > 1e-3  # a model to which they are the same would prove nothing
    uri = bundles / "bundle"
    # Keras's own passes through unfolded layers round otherwise.
    np.testing.assert_allclose(ray_birds.load(uri).probabilities(pixels), plain, atol=1e-5)
    np.testing.assert_allclose(
        ray_birds.load(uri, "flip").probabilities(pixels), (plain + mirrored) / 2, atol=1e-5
    )
    row = ray_birds.load(uri, tta="flip").predict(paths[0]).iloc[0]
    assert row["probability"] == pytest.approx(float(((plain + mirrored) / 2)[0].max()), abs=1e-5)
    config = PredictConfig(model=str(uri), input=(str(paths[0]),), tta="flip")
    assert alone(config).to_pandas().iloc[0]["probability"] == row["probability"]


def test_a_photo_that_is_none_is_one_line(bundles: Path, folder: Path) -> None:
    (folder / "x.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x\.jpg: not a JPEG") as error:
        alone(PredictConfig(model=str(bundles / "bundle"), input=("x.jpg",)))
    assert "\n" not in str(error.value)
