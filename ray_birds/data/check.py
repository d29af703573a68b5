"""What is in a folder, before GPU hours are spent on it: counts, faults, a page, and a line of verdict."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ray_birds.config import CheckConfig
from ray_birds.core import cluster, storage, terminal
from ray_birds.core.errors import OutputError, first_line
from ray_birds.data import findings, groups, inspect_job, near_duplicates
from ray_birds.data.dataset import Dataset, survey
from ray_birds.data.inspection import Finding, ImageRecord
from ray_birds.data.table import SPLIT_FOLDERS, Labels

if TYPE_CHECKING:
    import pandas as pd


_FILES = ("report.html", "findings.csv", "classes.csv")  # what report.check writes
_MARK = b'<meta name="generator" content="ray-birds check">'
_HEAD = 500  # bytes of a page, in which its mark is found


@dataclass(frozen=True)
class Check:
    """What was found in a folder of labelled images; `report` is the page, beside it lie the tables."""

    dataset: Dataset
    records: dict[str, ImageRecord]
    found: tuple[Finding, ...]
    report: str

    @property
    def findings(self) -> "pd.DataFrame":
        """One row per finding: `kind`, `blocking`, `text`, and `images`, the number that it is about."""
        import pandas as pd

        rows = [(one.kind, one.blocking, one.text, sum(map(len, one.groups))) for one in self.found]
        return pd.DataFrame(rows, columns=["kind", "blocking", "text", "images"])

    @property
    def blocking(self) -> str:
        """One line on the findings that block a sweep; empty where none does."""
        count = sum(finding.blocking for finding in self.found)
        verb = "finding blocks" if count == 1 else "findings block"
        return f"{self.dataset.root}: {count} {verb} a sweep; see {self.report}" if count else ""

    def __repr__(self) -> str:
        return f"<Check: {self.dataset.root!r}, {len(self.found)} findings, blocking: {bool(self.blocking)}>"


def check(config: CheckConfig) -> Check:
    """Read every image of the folder once.

    Raises DataError where there is nothing to look at, OutputError where `output` holds other files of the names
    that a check writes, or cannot be written.
    """
    output = _output(config.output)
    dataset, problems = survey(config.data, config.exclude_class, config.max_bytes, Labels.of(config))
    with cluster.session(config.verbose):
        cluster.check_reachable({}, {"--data": dataset.uri(dataset.splits["train"].paths[0])})
        records = inspect_job.read(dataset, near_duplicates.SIZE)
    dataset = groups.by_time(dataset, records)
    found = [
        *(Finding("classes", True, problem, ()) for problem in problems),
        *findings.of_groups(dataset),
        *findings.of_images(dataset, records),
        *findings.of_classes(dataset, records),
        *(Finding("classes", False, note, ()) for note in dataset.notes),
        *(
            Finding("split", False, f"there is no {split}/; a sweep takes it from train/", ())
            for split in SPLIT_FOLDERS
            if split not in dataset.splits
        ),
    ]
    from ray_birds.report.check import write_check_report  # drawing is of no use before

    report = write_check_report(output, dataset, records, found)
    return Check(dataset, records, tuple(found), report)


def _output(folder: str) -> str:
    """Where the check is written; an earlier check there is replaced, nothing else is."""
    uri = storage.resolve(folder)
    try:
        there = next((name for name in _FILES if storage.exists(storage.join(uri, name))), "")
        if there and not _is_check(storage.join(uri, _FILES[0])):
            raise OutputError(f"{storage.join(uri, there)}: is not of an earlier check; choose another --output")
        storage.check_writable(uri)
    except OSError as error:
        raise OutputError(
            f"--output {uri}: cannot be written ({first_line(error)}); choose another folder"
        ) from error
    return uri


def _is_check(report: str) -> bool:
    return storage.exists(report) and _MARK in storage.read(report, _HEAD)


def show(check: Check) -> None:
    """Print the splits, the findings and where the page lies."""
    columns = ("split", "images", "unreadable", "classes", "smallest class", "largest class")
    dataset, rows = check.dataset, []
    for name, split in dataset.splits.items():
        bad = sum(bool(check.records[path].error) for path in split.paths)
        counts = [(split.labels == number).sum() for number in range(len(dataset.classes))]
        rows.append((name, len(split), bad, sum(map(bool, counts)), min(counts), max(counts)))
    terminal.show(terminal.table(dataset.root, columns, rows))
    for finding in check.found:
        terminal.say(f"{'blocking' if finding.blocking else 'note'}: {finding.text}")
    terminal.say(f"page      {check.report}")
    terminal.say(f"findings  {storage.join(storage.parent(check.report), 'findings.csv')}")
    if not check.blocking:
        terminal.say(f"{dataset.root}: nothing in it blocks a sweep")
