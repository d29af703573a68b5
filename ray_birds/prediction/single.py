"""One photo: the classes it most probably shows, on the terminal and, if asked for, as an image.

It is scored in this process: Ray would take longer to start than the model takes to load.
"""

from pathlib import Path, PurePath
from typing import Any

from ray_birds.config import PredictConfig
from ray_birds.core import storage, terminal
from ray_birds.core.errors import DataError, SettingsError
from ray_birds.data import decode
from ray_birds.model import classifier
from ray_birds.model.bundle import Bundle
from ray_birds.prediction import inputs, output

_SIDE = 512  # pixels of the saved image, before it gets its own shape again


def predict(config: PredictConfig, model: Bundle) -> None:
    """Score the one image that --input leads to.

    Raises SettingsError where there are several, DataError where it cannot be read or decoded, or ModelError.
    """
    found = inputs.find(config.input)
    if len(found.images) > 1:
        raise SettingsError(
            f"--output is missing: the folder for the predictions of {len(found.images):,} images; "
            "without it a single photo is shown"
        )
    given, path = found.images[0]
    uri = storage.join(found.roots[given], path)
    image = decode.load(uri, model.variant.image_size, config.max_pixels)
    if image.pixels is None:
        raise DataError(f"{uri}: {image.error}")
    with terminal.quiet(config.verbose):
        scores = classifier.load(model, batch_size=1)(image.pixels[None])[0]
    label = inputs.label(found.roots[given], path, frozenset(model.classes))
    show(config, uri, label, output.top_k(scores, model.classes, config.top_k))


def show(config: PredictConfig, uri: str, label: str | None, choices: list[dict[str, Any]]) -> None:
    """Print the most probable classes of the photo at `uri`, and with --show save it with the first of them.

    `choices` are those of the column top_k; `label` is None where it is not known.
    """
    first = choices[0]
    judged = "" if label is None else ": right" if first["label"] == label else f": wrong, it is {label}"
    terminal.say(f"{uri}{judged}")
    terminal.bars([(choice["label"], choice["probability"]) for choice in choices])
    if config.show:
        from ray_birds.report.photo import write_photo  # matplotlib

        image = decode.load(uri, _SIDE, config.max_pixels)
        if image.pixels is None:
            raise DataError(f"{uri}: {image.error}")
        title = f"{first['label']}, {first['probability']:.0%}{judged}"
        right = None if label is None else first["label"] == label
        target = Path.cwd() / f"{PurePath(uri).stem}-prediction.png"
        write_photo(str(target), image.pixels, (image.width, image.height), title, right)
        terminal.say(f"image        {target}")
