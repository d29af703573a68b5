"""What is in a folder, before GPU hours are spent on it: counts, faults, a page, and a line of verdict."""

from ray_birds.config import CheckConfig
from ray_birds.core import cluster, storage, terminal
from ray_birds.core.errors import BlockingFindings
from ray_birds.data import findings, inspect_job, near_duplicates
from ray_birds.data.dataset import SPLIT_FOLDERS, Dataset, survey
from ray_birds.data.inspection import Finding, ImageRecord


def check(config: CheckConfig) -> None:
    """Carry out `jobs/check.py`. Raises DataError where there is nothing to look at, DataSpoiled where the
    folder holds what blocks a sweep."""
    dataset, problems = survey(config.data, config.exclude_class)
    with cluster.session(config.verbose):
        cluster.check_reachable({}, {"--data": dataset.uri(dataset.splits["train"].paths[0])})
        records = inspect_job.read(dataset, near_duplicates.SIZE, alike=True)
    found = [
        *(Finding("classes", True, problem, ()) for problem in problems),
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

    output = storage.resolve(config.output)
    page = write_check_report(output, dataset, records, found)
    _show(dataset, records, found)
    terminal.say(f"page      {page}")
    terminal.say(f"findings  {storage.join(output, 'findings.csv')}")
    blocking_findings = [finding for finding in found if finding.blocking]
    if blocking_findings:
        raise BlockingFindings(f"{dataset.root}: {len(blocking_findings)} finding(s) blocks a sweep; see {page}")
    terminal.say(f"{dataset.root}: nothing in it blocks a sweep")


def _show(dataset: Dataset, records: dict[str, ImageRecord], found: list[Finding]) -> None:
    columns = ("split", "images", "unreadable", "classes", "smallest class", "largest class")
    rows = []
    for name, split in dataset.splits.items():
        bad = sum(bool(records[path].error) for path in split.paths)
        counts = [(split.labels == number).sum() for number in range(len(dataset.classes))]
        rows.append((name, len(split), bad, sum(map(bool, counts)), min(counts), max(counts)))
    terminal.show(terminal.table(dataset.root, columns, rows))
    for finding in found:
        terminal.say(f"{'blocking' if finding.blocking else 'note'}: {finding.text}")
