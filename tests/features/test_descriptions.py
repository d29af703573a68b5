"""Descriptions of backbones: kept in the store's folder, looked at again where they are not known."""

from pathlib import Path

import pytest

from ray_birds.core import storage
from ray_birds.core.errors import ModelError
from ray_birds.features import descriptions
from ray_birds.model import backbones
from ray_birds.model.backbones import Description
from ray_birds.sweep.factors import Depth
from tests.conftest import DRAWN_WEIGHTS

NAME = "MobileNetV2-0.35"
DEPTHS: tuple[Depth, ...] = (0, 10, "all")
DIGEST = backbones.weights_digest(DRAWN_WEIGHTS)


def described(
    folder: str, weights: str = "gone.h5", digest: str = DIGEST, depths: tuple[Depth, ...] = DEPTHS
) -> Description:
    return descriptions.describe(folder, [NAME], weights, digest, 32, depths)[NAME]


@pytest.mark.ray
def test_a_backbone_is_looked_at_once_for_the_same_weights_and_depths(tmp_path: Path, local_ray: None) -> None:
    folder = str(tmp_path / "store")
    first = described(folder, DRAWN_WEIGHTS)
    assert list(first.cut_points) == list(first.trainable) == [*DEPTHS]
    assert described(folder) == first  # with weights that could not be read
    for other in ({"digest": "another"}, {"depths": (0, 10)}, {"folder": ""}):
        with pytest.raises(ModelError, match="cannot be read"):
            described(**{"folder": folder} | other)
    (kept,) = (tmp_path / "store").iterdir()
    kept.write_text(kept.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    assert described(folder, DRAWN_WEIGHTS) == first == described(folder)
    facts = storage.read_json(str(kept))
    storage.write_json(str(kept), {key: facts[key] for key in facts if key != "pooled"})
    assert described(folder, DRAWN_WEIGHTS) == first
