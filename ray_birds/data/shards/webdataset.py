"""Images in a tar file, a shard of WebDataset's above all: where in it they lie, and the labels beside them.

Members of one sample share a name up to its first dot, and what follows says what each is: 000123.jpg with
000123.cls, .json or .txt (https://github.com/webdataset/webdataset). A tar file has no list of its members: it is
read from one header to the next, once, and then a range at a time.
"""

import bisect
import io
import json
import posixpath
import tarfile
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ray_birds.core import storage, text
from ray_birds.core.errors import first_line
from ray_birds.data import formats

_BUFFER, _BUFFER_REMOTE = 1 << 12, 1 << 18  # bytes read at a time while headers are looked for
_LABELS = ("cls", "json", "txt")  # the first one that a sample has, counts
_KEYS = ("label", "cls", "class")  # in .json
_LARGEST_LABEL = 1_000_000  # bytes of a member
_LONGEST_LABEL = 200  # characters: what is longer describes the image
_CLASS_NAMES = "classnames.txt"  # a line for each number of .cls, in the shard's folder or the one above


@dataclass(frozen=True, eq=False)
class Tar:
    """The images of a tar file: `names` sorted, the `labels` beside them, null for none, `offsets` and `sizes`
    (n,) int64 in bytes. `others` are members that are no images, with the reason; a `fault` says why more may be
    missing.
    """

    uri: str
    size: int
    names: pa.StringArray
    labels: pa.StringArray
    offsets: np.ndarray
    sizes: np.ndarray
    others: tuple[tuple[str, str], ...]
    fault: str

    def place(self, member: str) -> int:
        """The number of an image among the names; -1 where there is none of this name."""
        place = bisect.bisect_left(self.names, member, key=pa.StringScalar.as_py)
        return place if place < len(self.names) and self.names[place].as_py() == member else -1

    def read(self, member: str, most: int) -> bytes:
        """The bytes of an image. Raises TooLargeError, or OSError where they are not there."""
        if (place := self.place(member)) < 0:
            raise FileNotFoundError(f"{self.uri}: has no {member}")
        offset, size = int(self.offsets[place]), int(self.sizes[place])
        if size > most:
            raise storage.TooLargeError(size)
        system, path = storage.filesystem(self.uri)
        with system.open_input_file(path) as file:
            if file.size() != self.size:
                raise OSError("its shard has changed since it was listed")
            data = bytes(file.read_at(size, offset))
        if len(data) < size:
            raise OSError(f"its shard ends {size - len(data):,} bytes too early")
        return data


@dataclass
class _Members:
    """Members as they come. Of a name that comes again the last one counts, as for tar."""

    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)  # by sample, then extension
    others: dict[str, str] = field(default_factory=dict)

    def take(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        name = posixpath.normpath(member.name).lstrip("/")
        extension = _parts(name)[1]
        if not text.is_utf8(name):
            self.others[name.encode(errors="surrogateescape").decode(errors="backslashreplace")] = formats.NOT_UTF8
        elif not member.isreg() or member.issparse():
            if formats.by_name(name):
                self.others[name] = "a link or a sparse file inside of an archive"
        elif formats.by_name(name):
            self.images[name] = member.offset_data, member.size
        elif extension in _LABELS and member.size <= _LARGEST_LABEL:
            self._label(name, _data(member, archive))
        elif formats.by_content(_data(member, archive, formats.BEGINNING)):
            self.images[name] = member.offset_data, member.size
        else:
            self.others[name] = formats.NOT_AN_IMAGE

    def _label(self, name: str, data: bytes) -> None:
        sample, extension = _parts(name)
        label = " ".join((_of_json(data) if extension == "json" else data.decode(errors="replace")).split())
        if label and len(label) <= _LONGEST_LABEL:
            self.labels.setdefault(sample, {})[extension] = label
        self.others[name] = formats.NOT_AN_IMAGE

    def tar(self, uri: str, size: int, fault: str) -> Tar:
        names = sorted(self.images)
        places = np.array([self.images[name] for name in names], np.int64).reshape(-1, 2)
        beside = [self.labels.get(_parts(name)[0], {}) for name in names]
        texts = [next((some[one] for one in _LABELS if one in some), None) for some in beside]
        samples = {_parts(name)[0] for name in names}
        others = tuple((name, why) for name, why in self.others.items() if _parts(name)[0] not in samples)
        return Tar(
            uri,
            size,
            pa.array(names, pa.string()),
            pa.array(texts, pa.string()),
            places[:, 0].copy(),
            places[:, 1].copy(),
            others,
            fault,
        )


def index(uri: str) -> Tar:
    """What is in a tar file. Never raises on what it holds; raises OSError where it cannot be read."""
    system, path = storage.filesystem(uri)
    found = _Members()
    with system.open_input_file(path) as file:
        size = file.size()
        # On an object store many requests take longer.
        buffer = _BUFFER if storage.is_local(uri) else _BUFFER_REMOTE
        fault = _walk(io.BufferedReader(file, buffer), size, found)
    return found.tar(uri, size, fault)


def _walk(file: io.BufferedReader, size: int, found: _Members) -> str:
    """Take all members; returns what is wrong with the file, or ""."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if member.size < 0:
                    return f"a damaged shard: {member.name[:100]!r} has a size below 0"
                end = member.offset_data + member.size
                if end <= size or formats.by_name(member.name):
                    found.take(member, archive)
                if end > size:
                    return f"a shard that is cut short, within {member.name[:100]!r}"
            file.seek(archive.offset)
            block = file.read(tarfile.BLOCKSIZE)
    except OSError:
        raise
    except Exception as error:  # on damaged content it raises whatever it meets
        return f"a damaged shard: {first_line(error)}"
    if block and not any(block):
        return ""
    return f"a damaged shard: no header at byte {archive.offset:,}" if block else "a shard without its end"


def _data(member: tarfile.TarInfo, archive: tarfile.TarFile, most: int = -1) -> bytes:
    opened = archive.extractfile(member)
    return opened.read(most) if opened else b""


def _parts(name: str) -> tuple[str, str]:
    """The sample that a member belongs to, and what of it it is: `a/1.left.jpg` is left.jpg of a/1."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash + stem, extension.lower()


def _of_json(data: bytes) -> str:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    values = (found.get(key) for key in _KEYS) if isinstance(found, dict) else ()
    return next((str(one) for one in values if isinstance(one, str | int)), "")


def class_names(uri: str) -> tuple[str, ...]:
    """The names that go with numbers in .cls of a shard, as far as a file tells them."""
    for folder in (storage.parent(uri), storage.parent(storage.parent(uri))):
        try:
            return tuple(storage.read(storage.join(folder, _CLASS_NAMES)).decode().splitlines())
        except (OSError, UnicodeError):
            continue
    return ()
