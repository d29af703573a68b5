"""Where the time goes: seconds by process and by what it was at, from the stacks that py-spy has sampled.

    py-spy record --subprocesses --idle --threads --rate 20 --format raw --output stacks.txt -- \
        python jobs/tune.py --data ../shared/data/birds263 ...
    python benchmarks/stacks.py stacks.txt --rate 20

A line of the table is what the main threads of processes of one kind were at, by the first pattern that a stack
fits; `waits` is told apart, for a worker is idle where it has no work. Threads that decode or draw ahead are lines
of their own. Samples are of Python's threads: while TensorFlow computes, its caller is in `model`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ray_birds.core import terminal

_LINE = re.compile(r"^(?P<where>.*?);?(?P<stack>thread \((?P<thread>\d+)\).*) (?P<count>\d+)$")
_PROCESS = re.compile(r"process (\d+):")

# What a process is by what it ever does, the first that fits; and what a stack is, likewise.
ROLES = {
    "driver": r"ray_birds/cli\.py|jobs/\w+\.py",
    "decoder": r"ViewDecoder|prediction/pipeline\.py.*Decoder|\bDecoder\b",
    "features": r"FeatureWorker",
    "trial": r"sweep/(trials|training)\.py",
    "winner": r"sweep/bundling\.py",
    "writer": r"prediction/steps\.py.*write_part",
    "scorer": r"prediction/steps\.py|model/classifier\.py",
    "inspection": r"data/inspect_job\.py",
    "description": r"backbones\.py:\d+\).*describe|describe \(",
}
KINDS = {
    "imports": r"_find_and_load|importlib",
    "report": r"ray_birds/report/|sweep/summary\.py",
    "decoding": r"data/decode\.py|prediction/image\.py",
    "drawing views": r"data/augment\.py",
    "building a network": r"backbones\.py|keras/src/(applications|models|saving|layers/layer)",
    "tracing": r"polymorphic_function.*(trace|maybe_define|_initialize)|converter_impl|autograph",
    "model": r"quick_execute|TFE_|pywrap_tfe|call_flat|tensor_conversion|\.numpy|execute \(",
    "solving heads": r"model/probe\.py",
    "reading features": r"features/store\.py.*rows|Reader",
    "writing": r"storage\.py.*write|output\.py.*write|features/store\.py.*write",
    "statistics": r"evaluation/|prediction/statistics\.py|sweep/(results|comparison)\.py",
    "Ray starts or ends": r"core/cluster\.py.*(session|_connect)|ray/_private/worker\.py.*(init|shutdown|connect)",
    "waits": r"run_task_loop|main_loop|wait|select|poll|ray/_private/worker\.py.*get|sleep|iter_rows",
}
# Of the driver, what it waits for comes first.
PHASES = {
    "inspecting images": r"data/inspect_job\.py",
    "describing backbones": r"sweep/prepare\.py.*_describe",
    "frozen layers": r"features/compute\.py",
    "trials": r"sweep/trials\.py",
    "winner": r"sweep/selection\.py",
    "scoring": r"prediction/(run|local|pipeline)\.py.*(_follow|score)",
}
_AHEAD = ("decoding", "drawing views", "reading features")


@dataclass(frozen=True)
class Options:
    stacks: Annotated[Path, tyro.conf.Positional]
    """What py-spy has written, in its format raw."""
    rate: int = 20
    """Samples a second, as they were taken."""
    least: float = 0.2
    """Seconds; lines with fewer are left out."""


@dataclass(frozen=True)
class Sample:
    process: str
    is_main: bool
    stack: str
    count: int


def main(options: Options) -> None:
    found = table(options.stacks.read_text(encoding="utf-8").splitlines(), options.rate)
    rows = [(role, kind, f"{seconds:.1f}") for (role, kind), seconds in found if seconds >= options.least]
    terminal.show(terminal.table("Where the time goes", ("process", "at", "seconds"), rows))


def table(lines: Iterable[str], rate: int) -> list[tuple[tuple[str, str], float]]:
    """Seconds by (role, what it was at), of all processes of a role together, the longest first in each role."""
    samples = list(parse(lines))
    roles = {
        name: role([one.stack for one in samples if one.process == name]) for name in {s.process for s in samples}
    }
    counts: Counter[tuple[str, str]] = Counter()
    for one in samples:
        name, what = roles[one.process], kind(one.stack)
        if one.is_main:
            counts[name, phase(one.stack) or what if name == "driver" else what] += one.count
        elif what in _AHEAD:
            counts[name, f"{what}, by threads ahead"] += one.count
    order = [*ROLES, "other"]
    rows = sorted(counts.items(), key=lambda row: (order.index(row[0][0]), -row[1]))
    return [(key, count / rate) for key, count in rows]


def parse(lines: Iterable[str]) -> Iterator[Sample]:
    """Of each line the innermost process; its main thread is the one with the process's number."""
    for line in lines:
        if (found := _LINE.match(line)) and (processes := _PROCESS.findall(found["where"])):
            process = processes[-1]
            yield Sample(process, found["thread"] == process, found["stack"], int(found["count"]))


def role(stacks: list[str]) -> str:
    return _first(ROLES, "\n".join(stacks)) or "other"


def kind(stack: str) -> str:
    return _first(KINDS, stack) or "other"


def phase(stack: str) -> str:
    return "" if re.search(KINDS["imports"], stack) else _first(PHASES, stack)


def _first(patterns: dict[str, str], text: str) -> str:
    return next((name for name, pattern in patterns.items() if re.search(pattern, text)), "")


if __name__ == "__main__":
    main(tyro.cli(Options))
