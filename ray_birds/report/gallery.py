"""Images on the page: small tiles with captions, and the same as one PNG sheet."""

import base64
import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps, get_data_path
from PIL import Image, ImageDraw, ImageFont

from ray_birds.core import storage
from ray_birds.core.errors import DataError
from ray_birds.core.prefetch import prefetch
from ray_birds.data import augment, decode, splits
from ray_birds.data.dataset import Dataset, scan
from ray_birds.data.table import FOLDERS, Labels
from ray_birds.sweep.outcome import Predictions

TILE, GAP, CAPTION = 160, 10, 62  # pixels
VIEWS = 4
_MOST_COLOUR = 0.75  # of the hottest pixel


@dataclass(frozen=True)
class Tile:
    """An image (TILE, TILE, 3) uint8 with a caption and a note; `mark` is right, wrong or empty."""

    pixels: np.ndarray
    caption: str
    note: str = ""
    mark: str = ""

    @property
    def uri(self) -> str:
        """The image as a JPEG inside an address."""
        data = io.BytesIO()
        Image.fromarray(self.pixels).save(data, "JPEG", quality=80)
        return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


class Album:
    """The images of a data set, without the classes to `exclude`, in the splits that `where` gives by path.

    `missing` says why there are none, where the folder is no longer there.
    """

    def __init__(
        self, root: str, exclude: tuple[str, ...], where: dict[str, str], labels: Labels = FOLDERS
    ) -> None:
        self.dataset: Dataset | None = None
        self.missing = ""
        try:
            self.dataset = splits.assigned(scan(root, exclude, labels=labels), where)
        except (DataError, OSError) as error:
            self.missing = f"The images cannot be shown: {error}"

    def mistakes(self, rows: Predictions, limit: int = 12) -> list[tuple[Tile, Tile | None]]:
        """The most confident mistakes, each with a training image of the class it was taken for."""
        if self.dataset is None:
            return []
        pairs: list[tuple[Tile, Tile | None]] = []
        for row in rows.mistakes():
            pixels = load(self.dataset.uri(rows.path[row]))
            if pixels is None:
                continue
            taken_for = rows.prediction[row]
            note = f"taken for {taken_for}, {rows.probability[row]:.0%} sure"
            pairs.append((Tile(pixels, rows.label[row], note, "wrong"), self._training_image(taken_for)))
            if len(pairs) == limit:
                break
        return pairs

    def _training_image(self, name: str) -> Tile | None:
        assert self.dataset is not None
        train = self.dataset.splits["train"]
        if name not in self.dataset.classes:
            return None
        for number in np.flatnonzero(train.labels == self.dataset.classes.index(name)):
            pixels = load(self.dataset.uri(train.paths[number]))
            if pixels is not None:
                return Tile(pixels, name, "a training image")
        return None

    def samples(self, seed: int, views: int, policy: str, limit: int = 6) -> list[list[Tile]]:
        """Training images from all over the data set, each followed by its first augmented views.

        `views` is the number of different views there are; 0 where images are not augmented. `policy` names how
        these are drawn.
        """
        if self.dataset is None:
            return []
        train = self.dataset.splits["train"]
        lines = []
        for position in np.unique(np.linspace(0, len(train) - 1, limit).astype(int)):
            pixels = load(self.dataset.uri(train.paths[position]))
            if pixels is None:
                continue
            name = self.dataset.classes[train.labels[position]]
            number = int(train.numbers[position])
            drawn = augment.POLICIES.get(policy, augment.LIGHT)
            shown = [augment.view(pixels, seed, number, index, drawn) for index in range(min(views, VIEWS))]
            changed = [Tile(view, name, f"view {index + 1} of {policy}") for index, view in enumerate(shown)]
            lines.append([Tile(pixels, name, "as it is"), *changed])
        return lines


def load(uri: str) -> np.ndarray | None:
    """(TILE, TILE, 3) uint8: all of an image in its own proportions, whatever a model makes of it; None where it
    cannot be read."""
    return decode.load(uri, TILE, resize="pad").pixels


def square(pixels: np.ndarray, side: int = TILE) -> np.ndarray:
    """An image (size, size, 3) uint8 as (side, side, 3)."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """`heat` (h, w) from 0 to 1 as colours over a tile's pixels, the more of them the hotter."""
    smooth = np.asarray(Image.fromarray(heat).resize((TILE, TILE), Image.Resampling.BILINEAR))
    colours = 255 * colormaps["inferno"](smooth)[..., :3]
    share = _MOST_COLOUR * smooth[..., None]
    return ((1 - share) * pixels + share * colours).astype(np.uint8)


def tiles(wanted: Iterable[tuple[str, str, str, str]]) -> list[Tile | None]:
    """A tile for each (uri, caption, note, mark), several at a time; None where the image cannot be read."""

    def tile(uri: str, *words: str) -> Tile | None:
        pixels = load(uri)
        return None if pixels is None else Tile(pixels, *words)

    return list(prefetch(lambda one: tile(*one), wanted))


def write_sheet(uri: str, lines: Sequence[Sequence[Tile | None]]) -> None:
    """All tiles with their captions in one PNG, a line of tiles below the other."""
    font = ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 10)
    columns = max(len(line) for line in lines)
    sheet = Image.new("RGB", (columns * (TILE + GAP) + GAP, len(lines) * (TILE + CAPTION) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        for column, tile in enumerate(line):
            if tile is not None:
                x, y = GAP + column * (TILE + GAP), GAP + row * (TILE + CAPTION)
                sheet.paste(Image.fromarray(tile.pixels), (x, y))
                text = textwrap.wrap(tile.caption, 27)[:2] + textwrap.wrap(tile.note, 27)[:2]
                pen.multiline_text((x, y + TILE + 2), "\n".join(text), fill="black", font=font, spacing=1)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    storage.write(uri, data.getvalue())
