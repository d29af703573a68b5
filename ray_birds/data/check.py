"""What is in a folder, before GPU hours are spent on it: counts, faults, a page, and a line of verdict."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ray_birds.config import CheckConfig
from ray_birds.core import cluster, storage, terminal
from ray_birds.core.errors import OutputError
from ray_birds.data import findings, groups, inspect_job, near_duplicates
from ray_birds.data.dataset import Dataset, survey
from ray_birds.data.inspection import Finding, ImageRecord, Judgement
from ray_birds.data.table import SPLIT_FOLDERS, Labels

if TYPE_CHECKING:
    import pandas as pd


# What report.check and report.suspects write.
_SUSPECTS = ("suspects.csv", "suspects.html")
_FILES = ("report.html", "findings.csv", "classes.csv", *_SUSPECTS)
_MARK = b'<meta name="generator" content="ray-birds check">'
_HEAD = 500  # bytes of a page, in which its mark is found


@dataclass(frozen=True)
class Check:
    """What was found in a folder of labelled images; `report` is the page, beside it lie the tables."""

    dataset: Dataset
    records: dict[str, ImageRecord]
    found: tuple[Finding, ...]
    report: str
    judgement: Judgement | None = None

    @property
    def suspects(self) -> "pd.DataFrame":
        """One row per suspect label, as in suspects.csv, the most suspicious first; none without --suspects."""
        import pandas as pd

        from ray_birds.report.suspects import COLUMNS, rows

        return pd.DataFrame(rows(self.dataset, self.judgement) if self.judgement else (), columns=[*COLUMNS])

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
    that a check writes, or cannot be written, ModelError where `weights` cannot be had or do not fit.
    """
    from ray_birds.features import suspects_job  # a room above, for --suspects alone

    output = _output(config.output)
    features = storage.resolve(config.features_dir) if config.features_dir else storage.join(output, "features")
    if config.suspects:
        suspects_job.check_locally(config, features)
    dataset, problems = survey(config.data, config.exclude_class, config.max_bytes, Labels.of(config))
    with cluster.session(config.verbose) as resources:
        cluster.check_reachable(*_places(config, dataset, features))
        records = inspect_job.read(dataset, near_duplicates.SIZE)
        dataset = groups.by_time(dataset, records)
        asked = config.suspects
        judgement = suspects_job.judge(config, features, dataset, records, resources) if asked else None
    found = [
        *(Finding("classes", True, problem, ()) for problem in problems),
        *findings.of_groups(dataset),
        *findings.of_images(dataset, records),
        *findings.of_classes(dataset, records),
        *(findings.of_features(judgement) if judgement else ()),
        *(Finding("classes", False, note, ()) for note in dataset.notes),
        *(
            Finding("split", False, f"there is no {split}/; a sweep takes it from train/", ())
            for split in SPLIT_FOLDERS
            if split not in dataset.splits
        ),
    ]
    from ray_birds.report.check import write_check_report  # drawing is of no use before
    from ray_birds.report.suspects import write_suspects

    report = write_check_report(output, dataset, records, found)
    if judgement:
        write_suspects(output, dataset, judgement)
    else:
        for name in _SUSPECTS:  # of an earlier check
            storage.remove_file(storage.join(output, name))
    return Check(dataset, records, tuple(found), report, judgement)


def _places(config: CheckConfig, dataset: Dataset, features: str) -> tuple[dict[str, str], dict[str, str]]:
    """What every node must be able to write, and to read, by option."""
    read = {"--data": dataset.uri(dataset.splits["train"].paths[0])}
    if not config.suspects:
        return {}, read
    return {"--features-dir": features}, read | (
        {} if config.weights == "imagenet" else {"--weights": config.weights}
    )


def _output(folder: str) -> str:
    """Where the check is written; an earlier check there is replaced, nothing else is."""
    uri = storage.resolve(folder)
    storage.check_writable(uri, "--output")
    there = next((name for name in _FILES if storage.exists(storage.join(uri, name))), "")
    if there and not _is_check(storage.join(uri, _FILES[0])):
        raise OutputError(f"{storage.join(uri, there)}: is not of an earlier check; choose another --output")
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
    if check.judgement:
        terminal.say(f"suspects  {storage.join(storage.parent(check.report), 'suspects.html')}, and suspects.csv")
    if not check.blocking:
        terminal.say(f"{dataset.root}: nothing in it blocks a sweep")
