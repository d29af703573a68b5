"""Which predictions are explained, and how they come into the report."""

from pathlib import Path

import numpy as np
import pytest

import ray_birds
from ray_birds.core.errors import SettingsError
from ray_birds.model import saliency
from ray_birds.prediction import explain
from ray_birds.prediction.output import Output
from ray_birds.report.gallery import TILE, overlay
from tests.prediction.test_statistics import counted, many

__all__ = ["many"]  # a fixture


def test_a_third_are_mistakes_a_third_uncertain_and_none_is_there_twice(many: Output) -> None:
    tally = counted(many)
    for count in (1, 2, 7, 24, 48):
        found = explain.chosen(tally, count)
        rows = [row["path"] for group in found.values() for row in group]
        assert len(rows) == len(set(rows)) <= count and len(rows) >= min(count, 40)
        assert all(row["label"] not in (None, row["prediction"]) for row in found["mistakes"])
    found = explain.chosen(tally, 24)
    assert [len(group) for group in found.values()] == [8, 8, 8]
    assert found["mistakes"] == tally.mistakes.rows[:8]


def test_the_overlay_leaves_what_is_cold_as_it_is() -> None:
    pixels = np.full((TILE, TILE, 3), 90, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 1
    shown = overlay(pixels, heat)
    assert (shown[TILE // 2 :, : TILE // 2] == 90).all()
    assert np.abs(shown[5, TILE - 5].astype(int) - 90).max() > 60


def test_how_many() -> None:
    for wrong in ({"explain": 49, "output": "out"}, {"explain": -1, "output": "out"}, {"explain": 3}):
        with pytest.raises(SettingsError, match="--explain"):
            ray_birds.predict(model="m", input=["i"], **wrong)


@pytest.mark.slow
def test_the_report_shows_what_the_model_looked_at(
    bundles: Path, birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(name: str, count: int) -> str:
        options = {"model": bundles / "bundle", "input": [birds / "test", birds / "valid"], "engine": "local"}
        return Path(ray_birds.predict(output=tmp_path / name, explain=count, **options).report).read_text(
            encoding="utf-8"
        )

    assert "What the model looked at" not in report("off", 0)
    page = report("on", 6)
    section = page.partition("What the model looked at")[2].partition("<h2>")[0]
    assert section.count("<figcaption>what speaks for") == section.count("<img ") / 2 == 6
    monkeypatch.setattr(saliency, "_last_map", lambda network: None)
    assert "What the model looked at" not in report("none", 6)
    assert "--explain: MobileNetV2-0.35 ends in no map of the image" in capsys.readouterr().out
    monkeypatch.setattr(saliency, "_last_map", lambda network: network.nothing)
    assert "What the model looked at" not in report("broken", 6)
    assert "the predictions are complete, but --explain failed" in capsys.readouterr().out
