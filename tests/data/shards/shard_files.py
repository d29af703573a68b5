"""Shards as others write them: WebDataset's tar files by tarfile, Hugging Face's Parquet by pyarrow."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from tests.conftest import CLASSES


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return path


def write_parquet(path: Path, images: Iterable[tuple[bytes | None, int | None]], group: int = 5) -> Path:
    """Rows of an image and the number of its class, `group` of them in a row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"image": {"bytes": data, "path": "x.jpg"}, "label": label} for data, label in images]
    names = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(CLASSES)}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", image), ("label", pa.int64())],
        {"huggingface": json.dumps({"info": {"features": names}})},
    )
    parquet.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=group)
    return path


def images_of(folder: Path) -> list[Path]:
    """The images below a split, in the order that a data set has them in."""
    return sorted(folder.rglob("*.jpg"), key=lambda path: path.relative_to(folder).as_posix())


def as_tar(birds: Path, root: Path) -> Path:
    """A folder data set as WebDataset shards, two for each split: `train/0.tar::000003.jpg` with 000003.cls."""
    for split in ("train", "valid", "test"):
        images = images_of(birds / split)
        for shard in range(2):
            numbers = range(shard * len(images) // 2, (shard + 1) * len(images) // 2)
            samples = ((f"{n:06}", images[n].read_bytes(), images[n].parent.name.encode()) for n in numbers)
            members = (one for key, data, name in samples for one in ((f"{key}.jpg", data), (f"{key}.cls", name)))
            write_tar(root / split / f"{shard}.tar", members)
    return root


def as_parquet(birds: Path, root: Path) -> Path:
    """A folder data set as Hugging Face has it: `data/train-00000-of-00001.parquet`."""
    for split, name in (("train", "train"), ("valid", "validation"), ("test", "test")):
        rows = [(one.read_bytes(), CLASSES.index(one.parent.name)) for one in images_of(birds / split)]
        write_parquet(root / f"data/{name}-00000-of-00001.parquet", rows)
    return root
