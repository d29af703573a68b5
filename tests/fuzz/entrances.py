"""What strangers hand in, damaged, at each of the three entrances; test_fuzz runs a process for each.

    python -m tests.fuzz.entrances images|bundles|tables FOLDER COUNT SEED

Works in FOLDER and writes outcomes.json there: how many inputs came to what, what was unexpected, the peak of
memory. progress.txt holds the number of the input at work, for when the process itself dies.
"""

import io
import json
import shutil
import signal
import sys
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from ray_birds.config import DownloadConfig
from ray_birds.core import storage
from ray_birds.core.errors import RayBirdsError
from ray_birds.data import decode
from ray_birds.data.sources.download import download
from tests.fuzz.mutator import Mutator

SIZE = 32
PATIENCE = 20  # seconds for one input
LOADED = 40  # bundles that Keras opens too: half a second each
CLASSES = ("A", "B", "C")

Outcomes = Iterator[Callable[[], str]]  # what each input came to, in a word, once it is called


class HangError(Exception):
    """An input took too long."""


def images(folder: Path, count: int, seed: int) -> Outcomes:
    from tests.data.test_decode import ENCODED
    from tests.model.test_lines import FILES, made

    corpus = [data for data in (*ENCODED.values(), *map(made, FILES)) if len(data) < 50_000]
    mutator = Mutator(seed, corpus)

    def one() -> str:
        (folder / "photo.jpg").write_bytes(mutator.damaged(mutator.choice(corpus)))
        found = decode.load(str(folder / "photo.jpg"), SIZE)
        if found.pixels is None:
            assert found.error and "\n" not in found.error and len(found.error) < 400, found.error
            return found.error.partition(":")[0]
        assert not found.error and found.pixels.shape == (SIZE, SIZE, 3) and found.pixels.dtype == np.uint8
        return "decoded"

    yield from [one] * count


def bundles(folder: Path, count: int, seed: int) -> Outcomes:
    import keras

    from ray_birds.model import bundle, classifier
    from tests.model.test_bundle import seal

    good, bad = save(folder / "good"), folder / "bad"
    files = {path.name: path.read_bytes() for path in good.iterdir()}
    with zipfile.ZipFile(good / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    mutator = Mutator(seed, [*files.values(), *members.values()])
    whole, loaded = bundle.verify(str(good)).digest, 0

    def one() -> str:
        nonlocal loaded
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        name = mutator.choice([*files, *members, *members])
        if name in members:
            changed = mutator.damaged if name.endswith("h5") else mutator.damaged_text
            with zipfile.ZipFile(bad / "model.keras", "w") as archive:
                for member, data in (members | {name: changed(members[name])}).items():
                    archive.writestr(member, data)
        else:
            changed = mutator.damaged_text if name.endswith("json") else mutator.damaged
            (bad / name).write_bytes(changed(files[name]))
        if name != "versions.json" and mutator.random() < 0.9:
            seal(bad)  # a stranger can do that too
        about = bundle.verify(str(bad))
        if about.digest == whole or loaded == LOADED:
            return "verified"
        loaded += 1
        keras.backend.clear_session()
        scores = classifier.load(about)(np.zeros((1, SIZE, SIZE, 3), np.uint8))
        assert scores.shape == (1, len(about.classes)) and np.isfinite(scores).all()
        return "loaded"

    yield from [one] * count


def save(uri: Path) -> Path:
    """A bundle of a small network."""
    import keras
    from keras import layers

    from ray_birds.model import bundle
    from ray_birds.sweep.factors import Variant

    pixels = keras.Input((SIZE, SIZE, 3))
    features = layers.Conv2D(4, 3, strides=4, activation="relu")(layers.Rescaling(1 / 255)(pixels))
    features = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(features))
    network = keras.Model(pixels, layers.Dense(len(CLASSES), activation="softmax")(features))
    bundle.save(network, str(uri), CLASSES, Variant(image_size=SIZE), lambda path: bundle.Measured({}))
    return uri


def tables(folder: Path, count: int, seed: int) -> Outcomes:
    corpus = [*zips(), *parquets()]
    mutator = Mutator(seed, corpus)
    output = folder / "output"

    def one() -> str:
        chosen = mutator.choice(corpus)
        source = folder / ("train.parquet" if chosen.startswith(b"PAR1") else "birds.zip")
        source.write_bytes(mutator.damaged(chosen))
        try:
            download(DownloadConfig(output=str(output), source=str(source), max_size=0.05))
            return "laid out"
        except RayBirdsError:
            assert not output.exists(), sorted(map(str, output.rglob("*")))
            raise
        finally:
            shutil.rmtree(output, ignore_errors=True)
            source.unlink()

    yield from [one] * count


def photo(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 100, 50)).save(file, "JPEG")
    return file.getvalue()


def zips() -> Iterator[bytes]:
    for packed in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", packed) as archive:
            for number in range(6):
                archive.writestr(f"birds/train/{CLASSES[number % 3]}/{number}.jpg", photo(30 * number))
        yield file.getvalue()


def parquets() -> Iterator[bytes]:
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    rows = [{"bytes": photo(30 * number), "path": f"{number}.jpg"} for number in range(6)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    plain = pa.table({"image": pa.array(rows, kind), "label": [number % 3 for number in range(6)]})
    named = plain.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    texts = plain.set_column(1, "label", pa.array([CLASSES[number % 3] for number in range(6)]))
    for table in (named, texts):
        for packed, version, dictionary in (
            ("snappy", "1.0", True),
            ("zstd", "2.0", False),
            ("none", "1.0", False),
        ):
            file = io.BytesIO()
            parquet.write_table(
                table,
                file,
                compression=packed,
                data_page_version=version,
                use_dictionary=dictionary,
                row_group_size=4,
            )
            yield file.getvalue()


ENTRANCES: dict[str, Callable[[Path, int, int], Outcomes]] = {
    "images": images,
    "bundles": bundles,
    "tables": tables,
}


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return int(Path("/proc/self/status").read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) * 1024


def main(entrance: str, folder: Path, count: int, seed: int) -> None:
    outcomes: Counter[str] = Counter()
    unexpected: list[str] = []

    def hang(number: int, frame: FrameType | None) -> None:
        raise HangError(f"more than {PATIENCE} s")

    signal.signal(signal.SIGALRM, hang)
    for number, outcome in enumerate(ENTRANCES[entrance](folder, count, seed)):
        (folder / "progress.txt").write_text(str(number), encoding="ascii")
        signal.alarm(PATIENCE)
        try:
            outcomes[outcome()] += 1
        except RayBirdsError as error:
            text = str(error)
            if "\n" in text or len(text) > 1000:
                unexpected.append(f"{number}: {text[:2000]!r}")
            outcomes[type(error).__name__] += 1
        except BaseException:
            unexpected.append(f"{number}: {traceback.format_exc()[-2000:]}")
            outcomes["unexpected"] += 1
        finally:
            signal.alarm(0)
    found = {"outcomes": outcomes, "unexpected": unexpected, "peak": peak()}
    storage.write_json(str(folder / "outcomes.json"), found)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
