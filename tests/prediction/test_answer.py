"""What a job is asked for: what is accepted, what is unknown, what an image is called, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ray_birds.config import PredictConfig
from ray_birds.core.errors import DataError, ModelError, RayBirdsError, SettingsError
from ray_birds.evaluation import ood
from ray_birds.evaluation.selective import Known
from ray_birds.model.bundle import Bundle
from ray_birds.prediction import answer, taxonomy
from ray_birds.prediction.answer import Answer
from ray_birds.sweep.factors import Variant

CLASSES = ("ATLAS FINCH", "CORAL FINCH", "CORAL OWL", "MOSS TERN")
FEATURES = np.eye(4, 5, dtype=np.float32)  # of an image of each class
SCORES = np.array(
    [[0.7, 0.1, 0.1, 0.1], [0.4, 0.4, 0.1, 0.1], [0.3, 0.25, 0.35, 0.1], [0.25, 0.25, 0.25, 0.25]], np.float32
)


@pytest.fixture
def model() -> Bundle:
    """It was right on 400 valid images as often as it said, and these lie at distances of 0 to 0.5."""
    random = np.random.default_rng(0)
    probability = random.beta(4, 1, 400).astype(np.float32)
    known = Known(probability, random.random(400) < probability, np.linspace(0, 0.5, 400, dtype=np.float32))
    reference = ood.fit(FEATURES, np.arange(4))
    return Bundle("best", CLASSES, Variant(), "0" * 32, np.zeros(0, np.uint64), known, reference)


def config(**options: Any) -> PredictConfig:
    return PredictConfig(model="best", input=("birds",), output="out", **options)


def asked(model: Bundle, **options: Any) -> Answer:
    return answer.answer(config(**options), model)


def rows(model: Bundle, scores: np.ndarray = SCORES, features: np.ndarray = FEATURES, **options: Any) -> list[Any]:
    """The columns of each image, which are just those that the schema has."""
    made = asked(model, **options)
    found = made.columns(made.among(scores), features)
    assert all({*row} == {field.name for field in answer.fields(config(**options))} for row in found)
    pa.Table.from_pylist(found, schema=pa.schema(answer.fields(config(**options))))
    return found


def test_nothing_asked_is_nothing_added(model: Bundle) -> None:
    made = asked(model)
    assert rows(model) == [{}] * 4 and made.failed == {} and made.sentences == [] and made.most(5) == 5
    assert made.among(SCORES) is SCORES and not made.by_distance


def test_what_reaches_the_threshold_is_accepted(model: Bundle) -> None:
    assert [row["accepted"] for row in rows(model, threshold=0.35)] == [True, True, True, False]
    assert asked(model, threshold=0.35).failed == {"accepted": False}


def test_the_threshold_of_a_target_is_that_of_valid(model: Bundle) -> None:
    found = asked(model, target_accuracy=0.9).threshold
    assert found is not None and found == model.known.curve().threshold(0.9) and 0.5 < found < 0.95
    near = asked(model, target_accuracy=0.9, reject_unknown=80).threshold
    assert near == model.known.curve(80).threshold(0.9) != found  # of those images that can be accepted


def test_a_target_that_none_reaches_is_refused_with_what_can_be_had(model: Bundle) -> None:
    with pytest.raises(
        SettingsError, match=r"0\.99: no threshold reaches it .* 400 valid .* one reaches is 0\.9\d$"
    ):
        asked(model, target_accuracy=0.99)


def test_what_lies_further_away_is_not_accepted(model: Bundle) -> None:
    features = np.array([[1, 0, 0, 0, 0], [1, 0, 0, 0, 0.8], [1, 0, 0, 0, 2], [0, 0, 0, 0, 1]], np.float32)
    found = rows(model, features=features, reject_unknown=90)
    scores = [row["ood_score"] for row in found]
    assert scores == sorted(scores) and scores[0] < 1 and 20 < scores[1] < 90 and scores[2:] == [100, 100]
    assert [row["accepted"] for row in found] == [True, True, False, False]
    both = rows(model, features=features, reject_unknown=90, threshold=0.5)
    assert [row["accepted"] for row in both] == [True, False, False, False]
    alone = rows(model, features=features, ood_score=True)
    assert [row["ood_score"] for row in alone] == scores and "accepted" not in alone[0]


def test_a_unit_in_which_nothing_could_be_decoded_has_no_rows(model: Bundle, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("CORAL OWL", encoding="utf-8")
    made = asked(model, threshold=0.5, reject_unknown=90, only_classes=str(tmp_path / "list.txt"))
    assert made.columns(made.among(np.zeros((0, 1))), np.zeros((0, 1))) == []


def test_a_bundle_that_knows_no_training_images_is_refused(model: Bundle) -> None:
    bare = Bundle("best", CLASSES, Variant(), "0" * 32, model.seen, Known(), ood.Reference())
    with pytest.raises(ModelError, match="best: does not say what its training images are like"):
        asked(bare, ood_score=True)
    with pytest.raises(SettingsError, match=r"0 valid images .*; nor any other target"):
        asked(bare, target_accuracy=0.5)


def test_only_some_classes_have_a_say(model: Bundle, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\ufeffcoral owl\n\nATLAS-FINCH\n", encoding="utf-8")
    made = asked(model, only_classes=str(tmp_path / "list.txt"))
    assert made.only == ("ATLAS FINCH", "CORAL OWL") and made.most(5) == 2
    np.testing.assert_allclose(made.among(SCORES)[2], [0.3 / 0.65, 0, 0.35 / 0.65, 0], rtol=1e-6)
    np.testing.assert_allclose(
        made.among(np.array([[0, 1, 0, 0]], np.float32)), [[0.5, 0, 0.5, 0]]
    )  # nothing is left of them
    assert made.sentences == ["2 of 4 classes have a say, the others get none"]


RANKS = """species,genus,order
ATLAS FINCH,Finch,Song birds
Coral finch,Finch,Song birds
CORAL OWL,Owl,Hunters
MOSS TERN,Tern,Gulls
"""


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    uri = tmp_path / "taxonomy.csv"
    uri.write_text(RANKS, encoding="utf-8-sig")
    return uri


def test_an_image_is_called_as_finely_as_is_sure(model: Bundle, ranks: Path) -> None:
    found = rows(model, threshold=0.6, taxonomy=str(ranks))
    assert [(row["taxon"], row["rank"]) for row in found] == [
        ("ATLAS FINCH", "species"),
        ("Finch", "genus"),
        (None, None),
        (None, None),
    ]
    assert [row["taxon_probability"] for row in found[:2]] == pytest.approx([0.7, 0.8])
    loose = rows(model, threshold=0.5, taxonomy=str(ranks))
    assert [row["taxon"] for row in loose] == ["ATLAS FINCH", "Finch", "Finch", "Finch"]
    assert loose[2]["accepted"] is False  # it is the class that is accepted


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("CORAL OWL", "CORAL OWLS", "'CORAL OWLS' is no class of the model; the nearest is 'CORAL OWL'"),
        ("MOSS TERN,Tern,Gulls\n", "", "has no row for 'MOSS TERN'; add what is missing"),
        ("CORAL OWL,Owl,Hunters\nMOSS TERN,Tern,Gulls\n", "", "for 'CORAL OWL' and 1 more of the model's classes"),
        ("CORAL OWL,", "CORAL-OWL,Owl,Hunters\nCORAL OWL,", "has two rows for 'CORAL OWL'; keep one"),
        ("Owl,Hunters", ",Hunters", "'CORAL OWL' has no genus; give every class one"),
        ("Owl,Hunters", "Owl", "a row has more or fewer cells than the heading"),
        ("Owl,Hunters", "Owl,Hunters,x", "a row has more or fewer cells than the heading"),
        (
            "Coral finch,Finch,Song",
            "Coral finch,Finch,Odd",
            "genus 'Finch' belongs to order 'Song birds' and 'Odd b",
        ),
        (RANKS, "", "has no rows; expected a column of classes"),
        (RANKS, "species\nCORAL OWL\n", "has one column; expected a column of classes"),
    ],
)
def test_a_taxonomy_that_does_not_fit_is_one_line(ranks: Path, old: str, new: str, words: str) -> None:
    ranks.write_text(RANKS.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=words) as error:
        taxonomy.read(str(ranks), CLASSES)
    assert str(error.value).startswith(f"--taxonomy {ranks}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"CORAL OWL\nMOS TERN", "'MOS TERN' is no class of the model; the nearest is 'MOSS TERN'"),
        (b"\n \n", "is empty; expected names of classes"),
        (b"\xff\xfe\x00", "cannot be read as a text in UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_list_that_does_not_fit_is_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    uri = tmp_path / "list.txt"
    if content is not None:
        uri.write_bytes(content)
    with pytest.raises(DataError, match=words):
        taxonomy.only(str(uri), CLASSES)
    if content is None:
        with pytest.raises(DataError, match="cannot be read"):
            taxonomy.read(str(uri), CLASSES)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 0.0}, "--threshold 0.0: expected a share between 0 and 1"),
        ({"target_accuracy": 95}, "--target-accuracy 95: expected a share between 0 and 1"),
        ({"reject_unknown": 101}, "--reject-unknown 101: expected a percentage"),
        ({"threshold": 0.5, "target_accuracy": 0.9}, "give --threshold or --target-accuracy"),
        ({"taxonomy": "t.csv"}, "--taxonomy needs --threshold"),
        ({"only_classes": "l.txt", "target_accuracy": 0.9}, "--target-accuracy promises nothing"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RayBirdsError, match=words):
        config(**options)


def test_a_resumed_job_is_asked_the_same(ranks: Path) -> None:
    one = answer.settings(config(threshold=0.5, taxonomy=str(ranks)))
    assert one == answer.settings(config(threshold=0.5, taxonomy=str(ranks)))
    ranks.write_text(RANKS.replace("Tern", "Terns"), encoding="utf-8")
    assert one != answer.settings(config(threshold=0.5, taxonomy=str(ranks)))
