"""A trial's checkpoint: its history, weights and optimizer as of the end of an epoch, to bytes and back.

The weights of the epoch that is kept are in it too, where that is an earlier one.
"""

import io
import json
import zipfile
from dataclasses import asdict, dataclass, field

import numpy as np

from ray_birds.sweep.directory import SweepDirectory
from ray_birds.sweep.epochs import Epoch

# What reading an archive of arrays raises where it was cut short, as by a full disk, or its bytes were changed.
DAMAGED = (
    *(ValueError, OSError, KeyError, TypeError, EOFError, zipfile.BadZipFile),
    RuntimeError,  # of zipfile: what says how it is compressed or encrypted is damaged
)


@dataclass
class Checkpoint:
    """All that a killed trial needs to resume the same numbers: as of the end of its last epoch."""

    history: list[Epoch] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)  # of what is trained, by Keras path
    optimizer: list[np.ndarray] = field(default_factory=list)
    earlier: dict[str, np.ndarray] = field(default_factory=dict)  # of the epoch that is kept, unless the last

    @property
    def kept(self) -> dict[str, np.ndarray]:
        """The weights of the epoch that is kept."""
        return self.earlier or self.weights

    def to_bytes(self) -> bytes:
        arrays = {f"weight:{path}": value for path, value in self.weights.items()}
        arrays |= {f"earlier:{path}": value for path, value in self.earlier.items()}
        arrays |= {f"optimizer:{number:04d}": value for number, value in enumerate(self.optimizer)}
        # The names of the arrays too: no checksum covers the archive's own list of them.
        about = np.array(json.dumps({"history": [asdict(epoch) for epoch in self.history], "arrays": [*arrays]}))
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, about=about, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Checkpoint":
        """Raises ValueError, OSError or KeyError where the bytes are cut short or damaged."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            if {*arrays.files} != {"about", *about["arrays"]}:
                raise ValueError("arrays are missing")
            history = [Epoch(**epoch) for epoch in about["history"]]
            weights, earlier = (
                {key.partition(":")[2]: arrays[key] for key in arrays.files if key.startswith(f"{kind}:")}
                for kind in ("weight", "earlier")
            )
            optimizer = [arrays[key] for key in sorted(arrays.files) if key.startswith("optimizer:")]
        return cls(history, weights, optimizer, earlier)


def last(directory: SweepDirectory, name: str) -> Checkpoint:
    """What a trial resumes from: the newer of its two states that can be read; from nothing where none can."""
    checkpoints = [found for data in directory.checkpoints(name) if (found := _read(data)) is not None]
    return max(checkpoints, key=lambda state: len(state.history), default=Checkpoint())


def _read(data: bytes) -> Checkpoint | None:
    try:
        return Checkpoint.from_bytes(data)
    except DAMAGED:
        return None
