"""From a name, an address, a zip file or a folder to the folder that a sweep takes.

All work is done in OUTPUT/.download, so that nothing is written elsewhere and a run that was stopped goes on:
fetched/ (what came from the net), unpacked/, arranged/ (the folder being laid out) and ready/ (the same,
complete). The contents of ready/ are moved to OUTPUT; the record of the finished download moves last.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from ray_birds.config import DownloadConfig
from ray_birds.core import storage
from ray_birds.core.errors import DataError, OutputError, SettingsError
from ray_birds.core.terminal import say
from ray_birds.data import formats
from ray_birds.data.dataset import scan
from ray_birds.data.sources import parquet, transfer
from ray_birds.data.sources.archive import unpack
from ray_birds.data.sources.disk import FULL, GB
from ray_birds.data.sources.folder import check_listed, copy_tree, files_below, find_root
from ray_birds.data.sources.source import Source, choose
from ray_birds.data.table import Labels

STAGING = ".download"
RECORD = ".download.json"
CLAIM = "source.json"
TABLES = (".csv", ".parquet")


def download(config: DownloadConfig) -> str:
    """Fetch a data set and lay it out; returns its folder. Raises SettingsError, DataError, OutputError."""
    if not storage.is_local(config.output):
        raise SettingsError(f"--output {config.output}: expected a folder on this machine or on a shared disk")
    output = storage.local(storage.resolve(config.output))
    source = choose(config, output)
    if config.labels:
        source = dataclasses.replace(source, identity=storage.digest([source.identity, config.labels]))
    if _finished(output, source):
        say(f"{output} holds the finished download of {source.name}; remove the folder to repeat it")
    else:
        _carry_out(source, output, round(config.max_size * GB), config.labels)
    return str(output)


def _carry_out(source: Source, output: Path, cap: int, labels: str) -> None:
    was_there = output.exists()
    try:
        staging = _claim(output, source)
        try:
            if not (staging / "ready").exists():
                _prepare(source, staging, cap, labels)
            _publish(staging / "ready", output)
            shutil.rmtree(staging)
        finally:
            _tidy(output, was_there)
    except OSError as error:
        uri = error.filename or output
        if error.errno in FULL:
            reason = "the disk, or your quota on it, is full; make room"
        else:
            reason = f"{error.strerror or error}; mend this"
        raise OutputError(f"{uri}: {reason} and run the same command again") from error


def _finished(output: Path, source: Source) -> bool:
    """Whether `output` holds this download, complete. Raises OutputError where it holds a part or another."""
    try:
        record = json.loads((output / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise OutputError(f"{output / RECORD}: cannot be read; remove the folder and download again") from error
    if record["identity"] != source.identity:
        raise OutputError(f"{output}: holds the download of {record['source']}; choose another --output")
    missing = [name for name in record["entries"] if not (output / name).exists()]
    if missing:
        raise OutputError(
            f"{output}: {missing[0]} is missing from the download; remove the folder and download again"
        )
    return True


def _claim(output: Path, source: Source) -> Path:
    """The staging folder: a new one in an empty `output`, or that of the same download, unfinished."""
    staging = output / STAGING
    claim = staging / CLAIM
    if claim.exists():
        begun = json.loads(claim.read_text(encoding="utf-8"))
        if begun["identity"] != source.identity:
            raise OutputError(f"{staging}: an unfinished download of {begun['source']}; finish that, or remove it")
        return staging
    if output.exists() and any(entry.name != STAGING for entry in output.iterdir()):
        raise OutputError(
            f"{output}: holds other files; choose another --output, one that is empty or does not exist"
        )
    staging.mkdir(parents=True, exist_ok=True)
    storage.write_json(storage.from_os(str(claim)), {"source": source.name, "identity": source.identity})
    return staging


def _prepare(source: Source, staging: Path, cap: int, labels: str) -> None:
    """Bring, unpack and arrange, up to staging/ready with the record in it."""
    fetched, unpacked, arranged = (staging / name for name in ("fetched", "unpacked", "arranged"))
    for rest in (unpacked, arranged):  # of a run that was stopped
        shutil.rmtree(rest, ignore_errors=True)
    fetched.mkdir(exist_ok=True)
    uri = source.bring(fetched, cap)
    try:
        digest = _digest(uri) if uri.is_file() else ""
        if uri.is_file() and not parquet.is_parquet(uri):
            unpack(uri, unpacked, cap)
            uri = unpacked
        ours = source.fetched or uri == unpacked
        if labels:
            _place(_with_table(uri, labels), arranged, ours, cap)
        else:
            _arrange(uri, arranged, ours, cap)
    except DataError:
        shutil.rmtree(fetched)  # damaged or hostile: the next run fetches it again
        raise
    found = files_below(arranged)
    record = {
        "source": source.name,
        "identity": source.identity,
        "blake2b": digest,
        "files": len(found),
        "bytes": sum(file.stat().st_size for file in found),
        "entries": sorted(entry.name for entry in arranged.iterdir()),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    storage.write_json(storage.from_os(str(arranged / RECORD)), record)
    arranged.rename(staging / "ready")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _arrange(content: Path, arranged: Path, ours: bool, cap: int) -> None:
    """Lay out a folder or a Parquet file as the folder contract asks. Raises DataError where it cannot be."""
    found = files_below(content) if content.is_dir() else [content]
    tables = [file for file in found if file.suffix == ".parquet" or file == content]
    if tables and not any(formats.by_name(file.name) for file in found):
        parquet.convert(tables, arranged, cap)
        return
    root = find_root(content)
    if root is None:
        check_listed(content)
        what = f"neither a folder train/ nor Parquet files among {len(found):,} files"
        raise DataError(f"the data set has {what}; expected train/ with one folder per class")
    outside = len(found) - len(files_below(root))
    if outside:
        say(f"train/ is in {root.relative_to(content)}/; {outside:,} files outside that folder are left out")
    _place(root, arranged, ours, cap)


def _with_table(content: Path, labels: str) -> Path:
    """A folder that has a table of labels. Raises DataError where it has none."""
    if not (content / storage.to_os(labels)).is_file():
        tables = [str(file.relative_to(content)) for file in files_below(content) if file.suffix in TABLES]
        raise DataError(f"the data set has no {labels} (--labels); its tables: {', '.join(tables[:5]) or 'none'}")
    return content


def _place(root: Path, arranged: Path, ours: bool, cap: int) -> None:
    if ours:
        root.rename(arranged)
    else:
        copy_tree(root, arranged, cap)


def _publish(ready: Path, output: Path) -> None:
    """Move all that is ready to `output`, over nothing, the record last."""
    for entry in sorted(ready.iterdir(), key=lambda entry: entry.name == RECORD):
        if os.path.lexists(output / entry.name):
            raise OutputError(
                f"{output / entry.name}: was put here meanwhile; move it away and run the same command again"
            )
        entry.rename(output / entry.name)


def _tidy(output: Path, was_there: bool) -> None:
    """After a failure: leave nothing behind but what a next run can use."""
    staging = output / STAGING
    if not staging.exists():
        return
    for rest in ("unpacked", "arranged"):
        shutil.rmtree(staging / rest, ignore_errors=True)
    transfer.discard(staging / "fetched")
    if not any((staging / "fetched").glob("*")) and not (staging / "ready").exists():
        shutil.rmtree(staging)
        if not was_there and not any(output.iterdir()):
            output.rmdir()


def show(output: str, labels: str = "") -> None:
    """Print what the folder holds, with labels by its folders or a table in it, and whether a sweep takes it."""
    table = storage.join(output, labels) if labels else ""
    try:
        dataset = scan(output, labels=Labels(table))
    except DataError as error:
        say(f"in place, but a sweep would not take it yet: {error}")
        return
    counts = ", ".join(f"{name} {len(split):,}" for name, split in dataset.splits.items())
    say(f"{len(dataset.classes):,} classes; images: {counts}")
    for note in dataset.notes:
        say(f"note: {note}")
    say(f"next: ray-birds check --data {output}" + (f" --labels {table}" if table else ""))
