"""Maps of images: what is alike lies together, and the page shows each image."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import ray_birds
from ray_birds.core.errors import SettingsError
from ray_birds.prediction import embedding_map
from ray_birds.report.embedding_map import write_map
from tests.conftest import CLASSES
from tests.report.test_pages import Page, check_page

pytest.importorskip("sklearn")


def groups(each: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (3 * each, 64) in three directions, of any length; and their groups."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), each)
    units = random.normal(size=(3, 64))[labels] + random.normal(0, 0.5, (3 * each, 64))
    return (units * random.uniform(1, 50, (3 * each, 1))).astype(np.float32), labels


def test_what_is_alike_lies_together() -> None:
    features, labels = groups(40)
    places = embedding_map.layout(features)
    assert places.shape == (120, 2) and places.min() == 0 and places.max() == 1
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 10 * np.eye(120)
    assert (labels[apart.argmin(axis=1)] == labels).mean() > 0.98
    np.testing.assert_array_equal(places, embedding_map.layout(features))
    longer = embedding_map.layout(features * np.linspace(1, 9, 120, dtype=np.float32)[:, None])
    assert (
        labels[(np.linalg.norm(longer[:, None] - longer, axis=-1) + 10 * np.eye(120)).argmin(1)] == labels
    ).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 12])
def test_few_images(count: int) -> None:
    places = embedding_map.layout(groups(4)[0][:count])
    assert places.shape == (count, 2) and np.isfinite(places).all()


def table(data: Path) -> pa.Table:
    """A row for each of the drawn images, one of them a mistake, and one that failed."""
    rows = []
    for number, path in enumerate(sorted((data / "train").rglob("*.jpg"))):
        label = path.parent.name
        row: dict[str, Any] = {
            "input": str(data),
            "path": str(path.relative_to(data)),
            "label": label,
            "error": "",
        }
        row |= {"prediction": CLASSES[0] if number == 11 else label, "probability": 0.8}
        rows.append(row | {"embeddings": groups(4)[0][number].tolist()})
    rows.append({**rows[0], "path": "gone.jpg", "error": "damaged"})
    return pa.Table.from_pylist(rows)


def test_the_page_shows_each_image(birds: Path, tmp_path: Path) -> None:
    parts = [table(birds).slice(0, 6), table(birds).slice(6)]
    found = embedding_map.points(iter(parts), 100)
    assert len(found) == 12 and "embeddings" not in found[0].row
    assert len(embedding_map.points(iter(parts), 5)) == 5
    assert embedding_map.points(iter(()), 5) == []
    right = next(point for point in found if point.row["label"] == point.row["prediction"])
    gone = right._replace(row=right.row | {"path": "<gone> & lost.jpg"})
    page = Page(write_map(str(tmp_path), [*found, gone], {str(birds): str(birds)}))
    check_page(page)
    assert page.source.count("<circle") == 13 and page.source.count('data-image="data:image/jpeg') == 12
    assert page.source.count('class="wrong"') == 1 and "it is MOSS TERN" in page.source
    assert "&lt;gone&gt; &amp; lost.jpg" in page.source
    assert page.source.count("<button data-name") == len(CLASSES)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SettingsError, match=r"scikit-learn, which is not installed: .*ray-birds\[map\]"):
        embedding_map.check_installed()


@pytest.mark.slow
def test_a_job_draws_its_map(bundles: Path, birds: Path, tmp_path: Path) -> None:
    rows = ray_birds.predict(
        model=bundles / "bundle", input=[birds / "train"], output=tmp_path / "out", map=10, engine="local"
    )
    page = Page(str(tmp_path / "out" / "_map.html"))
    assert page.source.count("<circle") == 10
    assert "embeddings" in rows.to_pandas()
