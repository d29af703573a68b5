"""Exports: each form really run, compared with the Keras model, and refused where it computes something else."""

import contextlib
import dataclasses
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_birds.config import ExportConfig
from ray_birds.core.errors import DataError, ModelError, OutputError, SettingsError
from ray_birds.data import decode
from ray_birds.evaluation import metrics
from ray_birds.model import backbones, bundle, card, classifier, cut, export, head, lines, samples
from ray_birds.model.bundle import Bundle
from ray_birds.model.forms import onnx as onnx_form
from ray_birds.sweep.factors import Variant
from tests.conftest import CLASSES, file_limit
from tests.model.test_lines import FILES
from tests.model.test_lines import pixels as defined

SIZE = 32
VARIANT = Variant(image_size=SIZE)
NAMES = {
    "saved_model": "model",
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "openvino": "model-openvino",
    "zip": "model.zip",
    "huggingface": "model-hub",
}
PACKAGES = {"onnx": "tf2onnx", "litert": "ai_edge_litert", "openvino": "openvino"}


def config(model: Path, output: Path, images: str = "", precision: str = "float32") -> ExportConfig:
    form = next((form for form, name in NAMES.items() if name == output.name), output.suffix[1:])
    license = "mit" if form == "huggingface" else ""
    values = {"model": str(model), "output": str(output), "format": form, "images": images, "license": license}
    return ExportConfig.from_values(values | {"precision": precision})


def save(uri: Path, layers: Callable[[], list[object]]) -> Path:
    """A bundle of a small model whose first layer normalises, as EfficientNet's does, by numbers of its own."""
    import keras

    keras.utils.set_random_seed(0)
    normalisation = keras.layers.Normalization()
    normalisation.build((None, SIZE, SIZE, 3))
    normalisation.set_weights([np.array([120, 90, 60], "f"), np.array([900, 1600, 400], "f"), np.array(1)])
    normalisation.finalize_state()
    pixels = tensor = keras.Input((SIZE, SIZE, 3), name="pixels")
    for layer in [normalisation, *layers()]:
        tensor = layer(tensor)
    model = keras.Model(pixels, tensor)
    bundle.save(model, str(uri), CLASSES, VARIANT, lambda classifier: bundle.Measured({"valid": {}}))
    return uri


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small convolutional network with random weights."""
    from keras import layers

    return save(
        tmp_path_factory.mktemp("bundle") / "best",
        lambda: [
            layers.Conv2D(8, 3, strides=2, padding="same", activation="swish"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(CLASSES), activation="softmax", kernel_initializer="random_normal"),
        ],
    )


@pytest.fixture
def pixels(birds: Path) -> np.ndarray:
    """(5, SIZE, SIZE, 3) uint8."""
    images = [decode.load(str(uri), SIZE).pixels for uri in sorted(birds.rglob("*.jpg"))[::5]]
    return np.stack([image for image in images if image is not None])


def run(form: str, made: Path, pixels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What a user of the form gets: probabilities (n, classes) and the classes' names."""
    if form == "saved_model":
        import tensorflow as tf

        serve = tf.saved_model.load(str(made)).signatures["serving_default"]
        scores = serve(pixels=tf.constant(pixels, tf.float32))["output_0"].numpy()
        return scores, json.loads((made / "assets.extra" / "classes.json").read_text())
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(made), providers=["CPUExecutionProvider"])
        (scores,) = session.run(None, {"pixels": pixels.astype(np.float32)})
        return scores, json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    if form == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(made))
        serve = interpreter.get_signature_runner()
        (name,), scores = serve.get_input_details(), []
        for image in pixels:
            scores += [*serve(**{name: image[None].astype(np.float32)}).values()]
        with zipfile.ZipFile(made) as archive:
            return np.concatenate(scores), json.loads(archive.read("classes.json"))
    if form == "openvino":
        import openvino

        compiled = openvino.compile_model(made / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        scores = compiled({"pixels": pixels.astype(np.float32)})[0]
        return scores, json.loads((made / "classes.json").read_text())
    if form == "huggingface":
        import keras

        network = keras.saving.load_model(str(made))
        return network.predict(pixels, verbose=0), json.loads((made / "classes.json").read_text())
    with zipfile.ZipFile(made) as archive:
        archive.extractall(made.parent / "unpacked")
    unpacked = bundle.verify(str(made.parent / "unpacked" / "model"))
    return classifier.load(unpacked)(pixels), list(unpacked.classes)


def litert_types(made: Path) -> set[str]:
    """Kinds of numbers that the kernels and biases of a LiteRT file are kept as."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(made))
    found = set()
    for tensor in interpreter.get_tensor_details():
        with contextlib.suppress(ValueError):  # of what is computed there is none yet
            if interpreter.get_tensor(tensor["index"]).size >= len(CLASSES):
                found.add(np.dtype(tensor["dtype"]).name)
    return found


def code_of(form: str, made: Path) -> str:
    """The lines that an export says to make pixels by."""
    if form == "saved_model":
        return (made / "assets.extra" / "pixels.py").read_text()
    if form == "onnx":
        import onnx

        return {prop.key: prop.value for prop in onnx.load(str(made)).metadata_props}["pixels.py"]
    if form == "litert":
        with zipfile.ZipFile(made) as archive:
            return archive.read("pixels.py").decode()
    if form == "openvino":
        return (made / "pixels.py").read_text()
    return lines.pixels(SIZE)  # a bundle's card has them


@pytest.mark.slow
@pytest.mark.parametrize("form", NAMES)
def test_each_form_answers_as_the_keras_model(
    form: str, model: Path, birds: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip(PACKAGES.get(form, "keras"))
    output = tmp_path / "new" / NAMES[form]
    export.export(config(model, output, images=str(birds)))
    expected = classifier.load(bundle.verify(str(model)))(pixels)
    assert np.ptp(expected, axis=0).max() > 0.01
    for part in (slice(None), slice(0, 1)):
        scores, classes = run(form, output, pixels[part])
        np.testing.assert_allclose(scores, expected[part], atol=1e-5)
    assert classes == list(CLASSES)
    photo = next(birds.rglob("*.jpg"))
    np.testing.assert_array_equal(defined(code_of(form, output))(photo), decode.load(str(photo), SIZE).pixels)
    assert {uri.name for uri in output.parent.iterdir()} - {"unpacked"} == {output.name}


@pytest.mark.slow
def test_a_pretrained_network_as_onnx(birds: Path, tmp_path: Path) -> None:
    import keras

    onnxruntime, _ = pytest.importorskip("onnxruntime"), pytest.importorskip("tf2onnx")
    network = backbones.build("MobileNetV2-0.35", "none", 96)
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:  # statistics of its own, so that its features are of order 1
        layer.momentum, layer.trainable = 0.0, True
    network(np.random.default_rng(0).uniform(0, 255, (16, 96, 96, 3)).astype("float32"), training=True)
    whole = head.classifier(network, cut.CutPoint(cut.PIXELS, (96, 96, 3)), len(CLASSES))
    variant = Variant(backbone="MobileNetV2-0.35", image_size=96)
    bundle.save(whole, str(tmp_path / "best"), CLASSES, variant, lambda classifier: bundle.Measured({}))
    export.export(config(tmp_path / "best", tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [(entry.name, entry.shape[1:]) for entry in session.get_inputs()] == [("pixels", [96, 96, 3])]
    made = pytest.importorskip("onnx").load(str(tmp_path / "model.onnx"))
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # any number of images
    (opset,) = (one.version for one in made.opset_import if not one.domain)
    assert 13 <= opset <= 21  # which ONNX Runtime takes, in browsers too
    assert {one.domain for one in made.opset_import if one.domain} <= {"ai.onnx.ml"}
    assert not {node.domain for node in made.graph.node} - {""}


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "images"), [("float16", 24), ("int8", 6)])
def test_fewer_bits_for_phones(
    precision: str, images: int, model: Path, birds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ai_edge_litert")
    output = tmp_path / "model.tflite"
    export.export(config(model, output, str(birds), precision))
    said = capsys.readouterr().out
    assert re.search(rf"both name the same class on \d+ of {images} images", said)
    assert ("calibrated on 12 training images" in said) == (precision == "int8")
    assert (f"Accuracy on these {images} images: " in said) == (precision == "int8")
    scores, names = run("litert", output, samples.of_folder(str(birds), VARIANT).pixels)
    assert scores.dtype == np.float32 and names == list(CLASSES)
    weights = litert_types(output)
    assert weights == {"float16": {"float16"}, "int8": {"int8", "int32"}}[precision]


@pytest.mark.slow
def test_a_model_that_answers_the_same_to_everything_proves_nothing(tmp_path: Path) -> None:
    from keras import layers

    constant = save(
        tmp_path / "best",
        lambda: [
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(CLASSES), activation="softmax", kernel_initializer="zeros"),
        ],
    )
    with pytest.raises(ModelError, match=r"all alike.*--images"):
        export.export(config(constant, tmp_path / "out" / "model.zip"))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_bundles_and_images_that_are_none(model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "broken.jpg").write_bytes(b"no image either")
    for folder in (tmp_path, tmp_path / "absent", tmp_path / "broken.jpg"):
        with pytest.raises(DataError, match=r"--images .*no image"):
            export.export(config(model, tmp_path / "model.zip", images=str(folder)))
    damaged = Path(shutil.copytree(model, tmp_path / "damaged"))
    (damaged / "model.keras").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.keras: damaged"):
        export.export(config(damaged, tmp_path / "model.zip"))


@pytest.mark.slow
def test_a_full_disk(model: Path, tmp_path: Path) -> None:
    uri = Path(shutil.copytree(model, tmp_path / "best"))
    size = (uri / "model.keras").stat().st_size
    (uri / "README.md").write_text(
        np.random.default_rng(0).bytes(size).hex()
    )  # the archive cannot make it smaller
    with file_limit(size), pytest.raises(OutputError, match=r"out/model\.zip: cannot be written"):
        export.export(config(uri, tmp_path / "out" / "model.zip"))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_a_disk_that_is_full_when_tensorflow_writes(model: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    size = (model / "model.keras").stat().st_size  # a SavedModel is larger
    with file_limit(size), pytest.raises(OutputError, match=r"out/model: cannot be written") as raised:
        export.export(config(model, tmp_path / "out" / "model"))
    assert raised.value.__cause__ and isinstance(raised.value.__cause__.__cause__, tf.errors.OpError)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_the_lines_on_the_card_load_the_model(
    model: Path, birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = Path(shutil.copytree(model, tmp_path / "best"))
    about = bundle.verify(str(uri))
    data = {
        "root": "birds",
        "fingerprint": "0",
        "classes": list(CLASSES),
        "splits": {},
        "bad_images": 0,
        "made": [],
    }
    scores = {"valid": metrics.evaluate(np.array([0, 1, 2]), np.array([0, 1, 2]), CLASSES)}
    card.write(str(uri), card.markdown(about.variant, "none", data, scores, (), {}, 1))
    assert bundle.verify(str(uri)).digest == about.digest
    code = re.search(r"```python\n(.*?)```", (uri / "README.md").read_text(), re.DOTALL)
    assert code
    monkeypatch.chdir(uri)
    loaded = classifier.load(about)
    answers = []
    photos = {path.name: path.read_bytes() for path in sorted(birds.glob("train/*/1.jpg"))}
    photos |= {name: make() for name, make in FILES.items()}
    for name, photo in photos.items():
        (uri / "photo.jpg").write_bytes(photo)
        names: dict[str, Any] = {}
        exec(code[1], names)
        image = decode.load(str(uri / "photo.jpg"), SIZE).pixels
        assert image is not None
        np.testing.assert_allclose(names["scores"], loaded(image[None]), atol=1e-4, err_msg=name)
        assert capsys.readouterr().out.splitlines()[-1] == CLASSES[names["scores"].argmax()]
        answers.append(names["scores"])
    assert np.ptp(answers, axis=0).max() > 0.01


@pytest.mark.slow
def test_a_zip_holds_the_files_of_the_bundle_and_no_others(model: Path, tmp_path: Path) -> None:
    uri = Path(shutil.copytree(model, tmp_path / "best"))
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    (uri / "notes.txt").write_text("mine")
    (uri / "more").symlink_to(tmp_path / "secret")
    (uri / "README.md").write_text("the card")
    export.export(config(uri, tmp_path / "model.zip"))
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        names = {
            "README.md",
            "classes.json",
            "metrics.json",
            "model.keras",
            "ood.npz",
            "seen.npy",
            "valid.npz",
            "variant.json",
            "versions.json",
        }
        assert set(archive.namelist()) == {f"model/{name}" for name in names}
        assert archive.read("model/README.md") == b"the card"
    (uri / "README.md").unlink()
    (uri / "README.md").symlink_to(tmp_path / "secret" / "key")
    with pytest.raises(ModelError, match=r"README\.md: is a link out of the bundle; put the file itself there"):
        export.export(config(uri, tmp_path / "again.zip"))
    assert not (tmp_path / "again.zip").exists()


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    for form, name in NAMES.items():
        (tmp_path / name).write_text(form)
        with pytest.raises(OutputError, match="exists"):
            export.export(config(tmp_path / "absent", tmp_path / name))
        assert (tmp_path / name).read_text() == form


def test_output_is_a_local_file_of_the_right_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="local disk"):
        export.export(ExportConfig(model="m", output="gs://bucket/model.zip", format="zip"))
    with pytest.raises(SettingsError, match=r"ends in \.onnx"):
        ExportConfig(model="m", output="model.zip", format="onnx")


def test_a_form_without_its_packages_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for form, package in PACKAGES.items():
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(SettingsError, match=rf"--format {form} needs .*{package}.*ray-birds\[{form}\]"):
            export.export(config(tmp_path / "absent", tmp_path / NAMES[form]))


def test_an_onnx_file_that_needs_more_than_images_does_not_pass(tmp_path: Path) -> None:
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper = onnx.helper
    image, mean, scores = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2, 2, 3])
        for name in ("pixels", "mean", "y")
    )
    node = helper.make_node("Sub", ["pixels", "mean"], ["y"])
    graph = helper.make_graph([node], "g", [image, mean], [scores])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"inputs \['pixels', 'mean'\]"):
        onnx_form.run(tmp_path / "model.onnx", np.zeros((1, 2, 2, 3), np.uint8))
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="ONNX Runtime does not open"):
        onnx_form.run(tmp_path / "model.onnx", np.zeros((1, 2, 2, 3), np.uint8))


def test_how_much_two_answers_may_differ() -> None:
    expected = np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)
    asked = config(Path("m"), Path("model.zip"))
    for near in (expected, expected + 4e-4):
        export._check(asked, export.Answers(expected, near))
    assert export.Answers(expected, expected + 4e-4).difference == pytest.approx(4e-4, rel=1e-3)
    others = (expected + 6e-4, expected[::-1], expected[:1], expected[:, :1], expected * np.nan)
    for other in others:
        with pytest.raises(ModelError, match="computes something else"):
            export._check(asked, export.Answers(expected, other))
    for same in (expected[:1], np.full((3, 2), 0.5), expected * np.nan):
        with pytest.raises(ModelError, match="all alike"):
            export._check_spread(same)


def test_how_much_fewer_bits_may_change() -> None:
    expected = np.tile(np.array([[0.9, 0.1], [0.4, 0.6]], np.float32), (5, 1))
    half, eighth = (
        config(Path("m"), Path("model.tflite"), "birds", precision=name) for name in ("float16", "int8")
    )
    export._check(half, export.Answers(expected, expected + 1e-2))
    with pytest.raises(ModelError, match="computes something else"):
        export._check(half, export.Answers(expected, expected + 3e-2))
    answers = export.Answers(expected, np.concatenate([expected[:8], expected[:2, ::-1]]))
    assert answers.agreed == 8
    export._check(eighth, answers)
    with pytest.raises(ModelError, match=r"only 6 of 10 images; nothing was kept: take float16"):
        export._check(eighth, export.Answers(expected, np.concatenate([expected[:6], expected[:4, ::-1]])))
    for other in (expected[:1], expected * np.nan):
        with pytest.raises(ModelError, match="computes something else"):
            export._check(eighth, export.Answers(expected, other))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"format": "onnx", "output": "m.onnx", "precision": "int8"}, "--precision is for --format litert"),
        ({"format": "litert", "output": "m.tflite", "precision": "int8"}, "needs --images, a data set"),
        ({"format": "litert", "output": "m.onnx"}, "ends in .tflite"),
        ({"format": "onnx"}, "--output is missing"),
        ({"format": "zip", "push": "a/b"}, "--push is for --format huggingface"),
        ({"format": "huggingface", "license": "mit", "push": "a"}, "expected OWNER/NAME"),
        ({"format": "huggingface", "license": "mit", "push": "a/b", "output": "c"}, "give it or --push"),
    ],
)
def test_options_that_do_not_go_together(asked: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        ExportConfig.from_values({"model": "m"} | asked)


def test_a_data_set_calibrates_on_train_and_compares_on_valid(own_birds: Path) -> None:
    classes = tuple(reversed(CLASSES))
    model = Bundle("m", classes, VARIANT, "", np.zeros(0, np.uint64))
    found = samples.of_dataset(str(own_birds), model)
    assert found.training is not None and found.labels is not None
    assert found.training.shape == (12, SIZE, SIZE, 3) and found.pixels.shape == (6, SIZE, SIZE, 3)
    assert [classes[number] for number in found.labels] == [name for name in CLASSES for _ in range(2)]
    (own_birds / "valid" / CLASSES[0] / "1.jpg").write_bytes(b"no image")
    again = samples.of_dataset(str(own_birds), model)
    assert again.labels is not None and len(again.pixels) == len(again.labels) == 5
    np.testing.assert_array_equal(again.pixels, found.pixels[1:])
    few = dataclasses.replace(model, classes=CLASSES[1:])
    assert len(samples.of_dataset(str(own_birds), few).pixels) == 4
    with pytest.raises(DataError, match="that this model has a class for"):
        samples.of_dataset(str(own_birds), dataclasses.replace(model, classes=("x", "y")))
    for split in ("valid", "test"):
        shutil.rmtree(own_birds / split)
    with pytest.raises(DataError, match=r"has no valid/ and no test/"):
        samples.of_dataset(str(own_birds), model)


def test_drawn_images_are_always_the_same_and_all_different() -> None:
    drawn = samples.drawn(SIZE).pixels
    assert drawn.shape == (8, SIZE, SIZE, 3) and drawn.dtype == np.uint8
    assert (drawn == samples.drawn(SIZE).pixels).all()
    assert len({image.tobytes() for image in drawn}) == len(drawn)


def test_images_are_spread_over_the_folder(birds: Path) -> None:
    assert len(samples.of_folder(str(birds), VARIANT).pixels) == len(list(birds.rglob("*.jpg")))
