"""What a large table of labels costs on the driver: seconds and memory until it is a data set.

    python benchmarks/table.py --rows 1000000

As many empty files are made in a temporary folder, for each path of the table is looked up; then a process of its
own reads each form of the table and says how much memory it needed.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from ray_birds.data.dataset import scan
from ray_birds.data.table import Labels

FOLDERS, CLASSES, GROUPS = 1000, 500, 50_000


def draw(root: Path, rows: int) -> list[Path]:
    """The files, and a CSV and a Parquet table of them, with splits and groups."""
    random = np.random.default_rng(0)
    paths = [f"place {number % FOLDERS:04}/{number:07}.jpg" for number in random.permutation(rows)]
    for folder in range(min(FOLDERS, rows)):
        (root / f"place {folder:04}").mkdir(parents=True)
    for path in paths:
        (root / path).touch()
    columns = {
        "path": paths,
        "label": [f"SPECIES {number:03}" for number in random.integers(0, CLASSES, rows)],
        "split": random.choice(["train", "valid", "test"], rows, p=[0.8, 0.1, 0.1]).tolist(),
        "group": [f"burst {number}" for number in random.integers(0, GROUPS, rows)],
    }
    table = pa.table(columns)
    files = [root / "labels.csv", root / "labels.parquet"]
    csv.write_csv(table, files[0])
    parquet.write_table(table, files[1])
    return files


def read(root: str, file: str) -> None:
    """Read a table and say what it took."""
    before = most_memory()
    start, cpu = time.perf_counter(), time.process_time()
    dataset = scan(root, labels=Labels(file))
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    rows = sum(map(len, dataset.splits.values()))
    name = Path(file).name
    print(
        f"{name}: {rows:,} rows in {seconds:.1f} s, {cpu:.1f} of them of a CPU; {most_memory():.2f} GB at most, "
        f"{before:.2f} of them before"
    )


def most_memory() -> float:
    """GB that this process has held at most; what `getrusage` says is that of whoever started it, if more."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--read", nargs=2, metavar=("ROOT", "TABLE"), help="read one that is there, in this process"
    )
    given = parser.parse_args()
    if given.read:
        read(*given.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in draw(Path(folder), given.rows):
            subprocess.run([sys.executable, __file__, "--read", folder, str(file)], check=True)


if __name__ == "__main__":
    main()
