"""What the Hub is told of a model, read back by the Hub's own client."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import EvalResult

from ray_birds.config import ExportConfig
from ray_birds.core.errors import ModelError, SettingsError
from ray_birds.data import seen
from ray_birds.model import hub
from ray_birds.model.bundle import Bundle
from ray_birds.sweep.factors import Variant

SCORES = {
    "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95},
    "macro_f1": {"value": 0.85, "low": None, "high": None},
}
METRICS: dict[str, Any] = {
    "valid": SCORES,
    "test": SCORES | {"macro_f1": {"value": None, "low": None, "high": None}},
    "dataset": 'birds: "of\nÅland"',
    "temperature": {"value": 1.5},
}


def read(text: str, metrics: dict[str, Any]) -> tuple[str, ModelCardData]:
    """The card's text, and what stands in front of it."""
    card = ModelCard(hub.card(text, hub.metadata("birds-hub", "cc-by-nc-4.0", "EfficientNetB0", metrics)))
    assert isinstance(card.data, ModelCardData)
    return card.text, card.data


def test_the_hubs_client_reads_what_is_in_front_of_the_card() -> None:
    text, data = read("# Birds\n\n---\n\nA classifier.\n", METRICS)
    assert text.strip() == "# Birds\n\n---\n\nA classifier."
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "cc-by-nc-4.0",
        "keras",
        "image-classification",
    )
    assert {"image-classification", "EfficientNetB0"} <= set(data.tags or ()) and data.model_name == "birds-hub"
    found = {(one.dataset_split, one.metric_type): one for one in data.eval_results or ()}
    assert found.keys() == {("test", "accuracy"), ("valid", "accuracy"), ("valid", "f1")}
    name = 'birds: "of\\nÅland"'
    assert found["valid", "f1"] == EvalResult(
        task_type="image-classification",
        dataset_type="birds-of-nÅland-",
        dataset_name=name,
        dataset_split="valid",
        metric_type="f1",
        metric_name="macro F1",
        metric_value=0.85,
        metric_args={"average": "macro"},
    )


def test_a_card_has_one_front_matter() -> None:
    about = hub.metadata("a", "mit", "EfficientNetB0", METRICS)
    once = hub.card("# Birds\n", about)
    assert hub.card(once, about) == once


@pytest.mark.parametrize("metrics", [{}, {"valid": {}}, {"valid": {"accuracy": {"value": float("nan")}}}])
def test_a_model_without_scores_has_none(metrics: dict[str, Any]) -> None:
    assert read("# Birds\n", metrics)[1].eval_results is None


@pytest.mark.parametrize(
    "metrics", ["[]", '{"valid": 1}', '{"valid": {"accuracy": 1}}', '{"valid": {"accuracy": {"value": "x"}}}']
)
def test_scores_that_are_none(metrics: str, tmp_path: Path) -> None:
    for name in (
        "model.keras",
        "classes.json",
        "variant.json",
        "seen.npy",
        "valid.npz",
        "ood.npz",
        "versions.json",
    ):
        (tmp_path / name).touch()
    (tmp_path / "metrics.json").write_text(metrics)
    model = Bundle(str(tmp_path), ("a",), Variant(), "", seen.NONE)
    with pytest.raises(ModelError, match=r"metrics\.json: not the scores of a model"):
        hub.write(model, tmp_path / "birds-hub", "mit")


@pytest.mark.parametrize("license", ["", "Apache 2.0", "my own\nlicense: mit"])
def test_a_license_is_one_of_the_hubs_identifiers(license: str) -> None:
    with pytest.raises(SettingsError, match="--license"):
        ExportConfig(model="m", output="birds-hub", format="huggingface", license=license)
