"""Finished predictions in the formats of other programs, made part by part: a row or an image for each file."""

from collections.abc import Callable
from pathlib import Path

from ray_birds.config import ExportConfig
from ray_birds.core import artifact, terminal
from ray_birds.prediction.formats import camtrap_dp, megadetector, spreadsheet
from ray_birds.prediction.formats.rows import Finished

Write = Callable[[Finished, Path, ExportConfig], None]

_WRITERS: dict[str, Write] = {
    "csv": lambda predictions, path, _: spreadsheet.write_csv(predictions, path),
    "xlsx": lambda predictions, path, _: spreadsheet.write_xlsx(predictions, path),
    "camtrap-dp": lambda predictions, path, config: camtrap_dp.write(
        predictions, path, config.utc_offset, config.deployments
    ),
    "megadetector-json": lambda predictions, path, _: megadetector.write(predictions, path),
}


def export(config: ExportConfig) -> str:
    """Write the predictions `config.predictions` as `config.format` to `config.output`; returns where.

    Raises DataError where there are none, or where they lack what the format needs; OutputError where the output
    exists or cannot be written; SettingsError for what the format cannot hold.
    """
    output = artifact.new(config.output)
    predictions = Finished.at(config.predictions)
    terminal.say(f"Writing {predictions.manifest['rows']:,} rows as {config.format}")
    with artifact.writing(output) as made:
        _WRITERS[config.format](predictions, made, config)
    if config.format == "camtrap-dp":
        terminal.say("datapackage.json holds guesses on the project (samplingDesign, captureMethod): see to them")
    return str(output)
