"""Room on a disk: what files take there, whether they fit, whether a write failed for want of it."""

import errno
import shutil
from pathlib import Path

from ray_birds.core.errors import OutputError

GB = 10**9
BLOCK = 4096  # bytes; a file takes whole blocks, and one more for its entry, so that empty files count too
LONGEST = 255  # bytes of a name that disks take
LONGEST_PATH = 1000  # letters below the folder; Linux takes 4,096 bytes in all
DEEPEST = 64  # folders within folders; beyond a thousand not even Python removes them again
FULL = (errno.ENOSPC, errno.EDQUOT)


def on_disk(size: int) -> int:
    """Bytes that a file of `size` bytes takes on a disk."""
    return -(-size // BLOCK) * BLOCK + BLOCK


def takes(name: str) -> bool:
    """Whether a disk takes a file or folder of this name."""
    return len(name.encode(errors="surrogatepass")) <= LONGEST and "\0" not in name


def check_cap(size: int, cap: int, what: str) -> None:
    """Raises OutputError where `size` bytes are over `cap`."""
    if size > cap:
        raise OutputError(
            f"{what} would take {size / GB:,.1f} GB, over the cap of {cap / GB:,.1f} GB; "
            "if that is right, raise --max-size"
        )


def check_room(folder: Path, size: int, what: str) -> None:
    """Raises OutputError where `size` more bytes do not fit on the disk of an existing folder."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"{folder}: {what} needs {size / GB:,.3f} GB and the disk has {free / GB:,.3f} GB free; "
            "make room or choose another --output"
        )
