"""Images of a prediction job on a plane: those that the model takes for alike lie close together.

Principal components, then t-SNE (L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008),
both by scikit-learn.
"""

import importlib.util
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_birds.core.errors import SettingsError
from ray_birds.prediction.statistics import Lowest

COLUMNS = ["input", "path", "label", "prediction", "probability", "error", "embeddings"]
_COMPONENTS, _PERPLEXITY = 50, 30.0  # what the method's authors take
_SEED = 0

Row = dict[str, Any]  # of a part, without its embedding


class Point(NamedTuple):
    """A row, and where its image lies, from 0 to 1 both ways."""

    row: Row
    x: float
    y: float


def check_installed() -> None:
    """Raises SettingsError, before any work, without scikit-learn."""
    if importlib.util.find_spec("sklearn") is None:
        raise SettingsError("--map needs scikit-learn, which is not installed: pip install 'ray-birds[map]'")


def points(parts: Iterable[pa.Table], count: int) -> list[Point]:
    """Up to `count` of the scored rows, at random; `parts` have COLUMNS."""
    random, lowest = np.random.default_rng(_SEED), Lowest(count)
    for part in parts:
        rows = part.filter(pc.equal(part["error"], ""))
        lowest.add(random.random(len(rows)), rows)
    rows = lowest.rows
    if not rows:
        return []
    places = layout(np.array([row.pop("embeddings") for row in rows], np.float32))
    return [Point(row, float(x), float(y)) for row, (x, y) in zip(rows, places, strict=True)]


def layout(features: np.ndarray) -> np.ndarray:
    """(n, d) features -> (n, 2) places from 0 to 1, always the same; of features their direction counts."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count = len(features)
    units = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    if count < 4:  # too few for neighbours
        return np.column_stack([np.linspace(0, 1, count), np.full(count, 0.5)])
    few = PCA(min(_COMPONENTS, count - 1, features.shape[1]), random_state=_SEED).fit_transform(units)
    perplexity = min(_PERPLEXITY, (count - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=_SEED).fit_transform(few)
    places -= places.min(axis=0)
    return places / np.maximum(places.max(axis=0), 1e-12)
