"""Pieces of a batch side by side: how many of what size, and that the numbers are those of one after another."""

from pathlib import Path

import numpy as np
import pytest

from ray_birds.model import device


@pytest.mark.parametrize(
    ("batch", "size", "images"), [(32, 224, 8), (32, 96, 32), (100, 96, 43), (4, 224, 4), (32, 4096, 1)]
)
def test_on_cpus_a_piece_is_smaller_the_larger_its_images(
    monkeypatch: pytest.MonkeyPatch, batch: int, size: int, images: int
) -> None:
    monkeypatch.setattr(device, "_has_gpu", lambda: False)
    assert device.piece(batch, size) == images


def test_a_gpu_takes_whole_batches_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(device, "_has_gpu", lambda: True)
    monkeypatch.setattr(device, "use_threads", lambda *threads, operations: asked.append((*threads, operations)))
    assert device.piece(32, 224) == 32
    assert device.use_lanes(4) == 1 and asked == [(4, 1)]


@pytest.mark.parametrize(("threads", "lanes", "each"), [(1, 1, 1), (2, 2, 1), (8, 8, 1), (64, 8, 8)])
def test_cpus_are_shared_among_lanes(monkeypatch: pytest.MonkeyPatch, threads: int, lanes: int, each: int) -> None:
    asked = []
    monkeypatch.setattr(device, "_has_gpu", lambda: False)
    monkeypatch.setattr(device, "use_threads", lambda *threads, operations: asked.append((*threads, operations)))
    assert device.use_lanes(threads) == lanes and asked == [(each, lanes)]


@pytest.mark.slow  # TensorFlow
def test_numbers_are_those_of_one_lane_and_of_plain_keras(bundles: Path) -> None:
    from ray_birds.model.classifier import Classifier, opened

    model = opened(str(bundles / "bundle" / "model.keras"))
    size = model.input.shape[1]
    pixels = np.random.default_rng(0).integers(
        0, 256, (75, size, size, 3), dtype=np.uint8
    )  # the last one is padded
    alone, beside = Classifier(model), Classifier(model, lanes=3)
    for one, other in zip(alone.embed(pixels), beside.embed(pixels), strict=True):
        assert np.array_equal(one, other)
    assert np.allclose(beside(pixels), model.predict(pixels, verbose=0), atol=1e-5)
