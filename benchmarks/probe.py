"""What solving the head takes at the size of the article's data: seconds, and memory beside the stored features.

    python benchmarks/probe.py

Features are made up: float16 in a memory-mapped file as a store has them, read 1,024 at a time, their variance
falling along their axes as that of pooled features does, classes around means of their own. As in a sweep the
penalty is chosen on valid images, and each image's features have one norm.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from timing import machine

from ray_birds.model import device, probe

ROWS = 1024  # at a time


def write(path: Path, images: int, features: int, classes: int, seed: int) -> np.ndarray:
    """Features (images, features) float16 at `path`; returns the labels (images,) int32."""
    means = np.random.default_rng(0).normal(size=(classes, features)).astype(np.float32)
    apart = 5.4 / np.sqrt(features)  # so that some are told wrong
    scales = (1 / np.sqrt(1 + np.arange(features))).astype(np.float32)
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(features, features)))[0].astype(np.float32)
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images).astype(np.int32)
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(images, features))
    for start in range(0, images, ROWS):
        part = labels[start : start + ROWS]
        noise = random.normal(size=(len(part), features)).astype(np.float32)
        stored[start : start + ROWS] = (scales * (apart * means[part] + noise)) @ axes
    stored.flush()
    return labels


def batches(path: Path, labels: np.ndarray) -> probe.Batches:
    """Goes through the file; each image's features are brought to the norm that a sweep gives them."""

    def read() -> Iterator[probe.Batch]:
        stored = np.load(path, mmap_mode="r")
        for start in range(0, len(labels), ROWS):
            rows = stored[start : start + ROWS].astype(np.float32)
            rows *= np.sqrt(rows.shape[1]) / np.linalg.norm(rows, axis=1, keepdims=True)
            yield rows, labels[start : start + ROWS]

    return read


def peak() -> float:
    """Most memory that this process has held so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=58_388)
    parser.add_argument("--features", type=int, default=1_280)
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    device.use_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "train.npy"), Path(folder, "valid.npy")
        sizes = given.images, min(2_000, given.images)
        train, valid = (
            batches(path, write(path, size, given.features, given.classes, seed))
            for seed, (path, size) in enumerate(zip(paths, sizes, strict=True), 2)
        )
        before, start, spent = peak(), time.perf_counter(), time.process_time()
        found = probe.solve(train, valid, np.ones(given.classes, np.float32))
        seconds, cpu = time.perf_counter() - start, time.process_time() - spent
        held = sum(path.stat().st_size for path in paths) / 1e9
    for one in found.tried:
        print(
            f"penalty {one.penalty:.0e}: {one.iterations} iterations, loss {one.train_loss:.4f}, "
            f"valid {one.valid_loss:.4f}, accuracy {one.valid_accuracy:.4f}"
        )
    print(f"{given.images:,} x {given.features:,} x {given.classes}: {seconds:.0f} s, {cpu:.0f} CPU seconds")
    print(
        f"memory: {before:.2f} GB before, {peak():.2f} GB at most; the files {held:.2f} GB are mapped, and in it"
    )
    print(machine())


if __name__ == "__main__":
    main()
