"""The benchmarks' scripts fit the package: each imports, those with a command line show its help, one runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DRAWN_WEIGHTS, REPOSITORY, benchmark

SCRIPTS = sorted((REPOSITORY / "benchmarks").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_each_script_imports_and_shows_its_help(script: Path) -> None:
    command = [sys.executable, str(script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    is_command = '__name__ == "__main__"' in script.read_text(encoding="utf-8")
    assert done.stdout.startswith("usage: ") == is_command


@pytest.mark.slow
@pytest.mark.parametrize("sides", ["e", "ec", "dbe", "abf", ""])
def test_sides_that_cannot_be_compared(sides: str) -> None:
    with pytest.raises(SystemExit, match=r"--sides .*(put c before it|some of abcde)"):
        benchmark("accuracy").Options(data=("birds",), sides=sides)


def test_stacks_are_added_up_by_process_and_by_what_it_was_at() -> None:
    """As py-spy writes them, of a driver and of a worker that also decodes ahead."""
    stacks = benchmark("stacks")
    called = "FeatureWorker.__call__ (ray_birds/features/compute.py:1);compute (ray_birds/features/steps.py:1)"
    driver = [
        "thread (7): MainThread;main (ray_birds/cli.py:1);_find_and_load (<frozen importlib._bootstrap>:1) 20",
        "thread (7): MainThread;main (ray_birds/cli.py:1);_run (ray_birds/features/compute.py:1);wait (x.py:1) 60",
        "thread (70): another;run (ray_birds/core/terminal.py:1) 80",
        "what is no sample",
    ]
    worker = [
        "thread (9): MainThread;main_loop (ray/_private/worker.py:1) 30",
        f"thread (9): MainThread;main_loop (ray/_private/worker.py:1);{called};quick_execute (execute.py:1) 40",
        "thread (91): ThreadPoolExecutor-0_0;load_known (ray_birds/data/decode.py:1) 10",
    ]
    assert dict(stacks.table([list(stacks.parse(lines)) for lines in (driver, worker)], rate=20)) == {
        ("driver", "frozen layers"): 3.0,
        ("driver", "imports"): 1.0,
        ("features", "model"): 2.0,
        ("features", "waits"): 1.5,
        ("features", "decoding, by threads ahead"): 0.5,
    }


def smallest(script: str, birds: Path, bundles: Path, folder: Path) -> list[str]:
    """What has a script do all that it does on as little as it takes."""
    model = ["--backbone", "MobileNetV2-0.35", "--image-size", "64"]
    return {
        "honesty": ["--sweeps", "5"],
        "searched": ["--sweeps", "2"],
        "folding": ["--networks", "MobileNetV2-0.35:64", "--seconds", "0.1", "--turns", "1"],
        "probe": ["--images", "600", "--features", "32", "--classes", "5"],
        "duplicates": [str(birds), "--copied", "2", "--codes", "500"],
        "unknown": [str(birds), str(birds), *model, "--weights", DRAWN_WEIGHTS],
        "calibrate": [str(birds), "MobileNetV2-0.35", "64", str(folder / "random.weights.h5")],
        "predict": ["--data", str(birds), "--count", "130", "--repeat", "1", *model],
        "update": ["--model", str(bundles / "bundle"), "--files", "8", "--new", "2", "--changed", "1"],
        "sweep": [
            *("--sweep", "heads", "--parts", "keras", "store", "--data", str(birds), "--weights", DRAWN_WEIGHTS),
            *("--head-epochs", "1", "--fine-tune-epochs", "1", "--output", str(folder / "sweep.jsonl"), *model),
        ],
        "scale": ["--nodes", "1", "--trials", "1", "--seconds", "1", "--files", "600", "--rate", "6000"],
        "million": ["--files", "70", "--different", "3", "--side", "64", "--engine", "local"],
        "feeding": ["--nodes", "1", "--cpus", "4", "--images", "70", "--views", "1"],
    }[script]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        *("honesty", "searched", "folding", "probe", "duplicates", "unknown", "calibrate"),
        *("predict", "update", "sweep", "scale", "feeding", "million"),
    ],
)
def test_each_script_runs_at_its_smallest(script: str, birds: Path, bundles: Path, tmp_path: Path) -> None:
    command = [sys.executable, f"benchmarks/{script}.py", *smallest(script, birds, bundles, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    promises = script in ("honesty", "searched")  # of which so few sweeps say nothing
    assert done.returncode in ((0, 1) if promises else (0,)), done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stdout.strip()


@pytest.mark.ray
@pytest.mark.slow
def test_the_workers_of_a_trial_are_measured() -> None:
    command = [sys.executable, "benchmarks/scale.py", "--workers", "2", "--step", "0.01", "--megabytes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"2 .* 6400 .* \d+ .* 0\.\d+ .* \d\.\d+ ", done.stdout)


@pytest.mark.slow
def test_the_list_of_a_job_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/listing.py", "--files", "5", "10", "--per-folder", "4"]
    command += ["--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert re.search(r"10 .* \d+ .* 0\.0 ", done.stdout) and not list(tmp_path.iterdir())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_accuracy_is_measured_on_each_side(birds: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "benchmarks/accuracy.py",
        "--data",
        str(birds),
        "--sides",
        "bcd",
        "--image-size",
        "64",
    ]
    command += ["--backbone", "MobileNetV2-0.35", "--weights", DRAWN_WEIGHTS, "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(
        r"^birds \| (\w) \| 0 \| .+ \| (\S+) \[.+\] \| \S+ \[.+\] \| \d+$", done.stdout, re.MULTILINE
    )
    assert [side for side, _ in found] == ["b", "c", "d"]
    assert all(float(valid) > 0.5 for _, valid in found)  # chance is a third
    assert re.search(
        r"^birds: our test accuracy \S+ points beside the best by hand \([bc]\), in ", done.stdout, re.MULTILINE
    )
