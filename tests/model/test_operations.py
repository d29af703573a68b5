"""Multiply-adds, against those that the papers give; and what training keeps."""

import pytest

from ray_birds.model import backbones, head
from ray_birds.model.cut import PIXELS, CutPoint, freeze
from ray_birds.model.operations import activations, multiply_adds
from ray_birds.sweep.factors import Depth

pytestmark = pytest.mark.slow  # TensorFlow


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("EfficientNetB0", 390e6),
        ("MobileNetV2-0.35", 59e6),
        ("MobileNetV2-1.0", 300e6),
        ("ResNet50V2", 3.5e9),
        ("NASNetMobile", 564e6),
    ],
)
def test_they_are_those_of_the_papers(name: str, published: float) -> None:
    """Published with ImageNet's head, which is not there: 1 M to 2 M less."""
    assert multiply_adds(backbones.build(name, "none", 224)) == pytest.approx(published, rel=0.03)


def test_the_head_counts_too() -> None:
    network = backbones.build("MobileNetV2-0.35", "none", 64)
    whole = head.classifier(network, CutPoint(PIXELS, (64, 64, 3)), 7)
    assert multiply_adds(whole) == multiply_adds(network) + 1280 * 7


def test_training_keeps_what_its_layers_put_out() -> None:
    network = backbones.build("EfficientNetB0", "none", 224)

    def kept(depth: Depth) -> int:
        freeze(network, depth)
        return activations(network)

    assert kept(0) == 0
    assert kept(3) == 3 * 7 * 7 * 1280  # top_conv, top_bn, top_activation
    assert kept(len(network.layers)) == kept("all") > kept(100)
