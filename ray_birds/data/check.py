"""What is in a folder, before GPU hours are spent on it: counts, faults, a page, and a line of verdict."""

from ray_birds.config import CheckConfig
from ray_birds.core import cluster, storage, terminal
from ray_birds.core.errors import DataSpoiled
from ray_birds.data import findings, inspect_job, near_duplicates
from ray_birds.data.dataset import SPLIT_FOLDERS, Dataset, survey
from ray_birds.data.inspection import Facts, Finding
from ray_birds.report.check import write_check_report


def check(config: CheckConfig) -> None:
    """Carry out `jobs/check.py`. Raises DataError where there is nothing to look at, DataSpoiled where the
    folder holds what would spoil a sweep."""
    dataset, problems = survey(config.data, config.exclude_class)
    with cluster.session(config.verbose):
        cluster.check_places({}, {"--data": dataset.place(dataset.splits["train"].paths[0])})
        facts = inspect_job.read(dataset, near_duplicates.SIZE, alike=True)
    found = [
        *(Finding("classes", True, problem, ()) for problem in problems),
        *findings.of_pictures(dataset, facts),
        *findings.of_classes(dataset, facts),
        *(Finding("classes", False, note, ()) for note in dataset.notes),
        *(
            Finding("split", False, f"there is no {split}/; a sweep takes it from train/", ())
            for split in SPLIT_FOLDERS
            if split not in dataset.splits
        ),
    ]
    output = storage.resolve(config.output)
    page = write_check_report(output, dataset, facts, found)
    _show(dataset, facts, found)
    terminal.say(f"page      {page}")
    terminal.say(f"findings  {storage.join(output, 'findings.csv')}")
    spoiling = [finding for finding in found if finding.spoils]
    if spoiling:
        raise DataSpoiled(f"{dataset.root}: {len(spoiling)} finding(s) would spoil a sweep; see {page}")
    terminal.say(f"{dataset.root}: nothing in it would spoil a sweep")


def _show(dataset: Dataset, facts: dict[str, Facts], found: list[Finding]) -> None:
    columns = ("split", "images", "unreadable", "classes", "smallest class", "largest class")
    rows = []
    for name, split in dataset.splits.items():
        bad = sum(bool(facts[path].error) for path in split.paths)
        counts = [(split.labels == number).sum() for number in range(len(dataset.classes))]
        rows.append((name, len(split), bad, sum(map(bool, counts)), min(counts), max(counts)))
    terminal.show(terminal.table(dataset.root, columns, rows))
    for finding in found:
        terminal.say(f"{'spoils a sweep' if finding.spoils else 'note'}: {finding.text}")
