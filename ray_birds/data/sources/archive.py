"""Zip files from strangers: unpacked below one folder or not at all."""

import lzma
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.core.terminal import progress, say
from ray_birds.data import walk
from ray_birds.data.sources.disk import DEEPEST, LONGEST_PATH, check_cap, check_room, on_disk, takes

CHUNK = 1 << 20  # bytes
# What zipfile and its decompressors raise on damaged content; an OSError without a number is bz2's.
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


def unpack(archive: Path, folder: Path, cap: int) -> None:
    """Unpack a zip file into a new `folder`. `cap` is the most bytes that it may take.

    Every name and size is looked at before the first byte is written. zipfile hands out no more bytes than an
    entry announces and compares its checksum, so the announced sizes hold while unpacking too.
    Raises DataError where the archive is damaged or leaves the folder, OutputError where it is too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            named = [(entry, _path(entry, archive)) for entry in opened.infolist()]
            kept = [(entry, path) for entry, path in named if not any(map(walk.is_litter, path.parts))]
            entries, paths = [entry for entry, _ in kept], [path for _, path in kept]
            size = sum(on_disk(entry.file_size) for entry in entries)
            check_cap(size, cap, f"{archive.name}, unpacked,")
            check_room(folder.parent, size, f"{archive.name}, unpacked,")
            folder.mkdir()
            if len(kept) < len(named):
                say(f"note: {len(named) - len(kept):,} entries that systems leave behind are not unpacked")
            with progress("unpacking", len(entries), "files") as meter:
                for entry, path in zip(entries, paths, strict=True):
                    _write(opened, entry, folder / storage.to_os(str(path)))
                    meter.advance(1)
    except DAMAGE as error:
        raise DataError(_damaged(archive, str(error))) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(_damaged(archive, f"two entries for {Path(error.filename).name}")) from error
    except OSError as error:
        if error.errno is None:
            raise DataError(_damaged(archive, str(error))) from error
        raise


def _damaged(archive: Path, reason: str) -> str:
    return f"{archive.name}: damaged, or not a zip file ({' '.join(reason.split())[:200]}); fetch it again"


def _path(entry: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    """Where an entry goes, below the folder. Raises DataError for a link, a device, or a place elsewhere."""
    name = entry.filename.replace("\\", "/")  # Windows programs write these, and mean the same
    path = PurePosixPath(name)
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive was not made on Unix
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or not path.parts:
        reason = "leads out of the folder it is unpacked to"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "is a link" if kind == stat.S_IFLNK else "is not a file"
    elif len(path.parts) > DEEPEST + 1:
        reason = f"lies {len(path.parts) - 1:,} folders deep, more than {DEEPEST}"
    elif not all(map(takes, path.parts)) or len(name) > LONGEST_PATH:
        reason = "has a name that no disk takes"
    else:
        return path
    where = f"{archive.name}: entry {name[:200]!r}"
    raise DataError(f"{where} {reason}; nothing was unpacked, do not trust this archive")


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, uri: Path) -> None:
    if entry.is_dir() or entry.filename.endswith("\\"):
        uri.mkdir(parents=True, exist_ok=True)
        return
    uri.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(entry) as source, uri.open("xb") as target:
        while data := source.read(CHUNK):
            target.write(data)
