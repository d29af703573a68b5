"""The learning rate by hand at the steps that matter."""

import math

import pytest

from ray_birds.model.schedule import Schedule


def test_cosine_rises_to_its_peak_and_falls_to_nothing() -> None:
    schedule = Schedule(peak=0.4, steps=12, warmup=4, kind="cosine")
    assert [schedule.rate(step) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert schedule.rate(8) == pytest.approx(0.2)  # half way down
    assert schedule.rate(6) == pytest.approx(0.4 * (1 + math.cos(math.pi / 4)) / 2)
    assert schedule.rate(12) == schedule.rate(13) == 0


def test_constant_is_the_same_number_at_every_step() -> None:
    schedule = Schedule(1e-4, steps=7)
    assert {schedule.rate(step) for step in range(7)} == {1e-4}


def test_a_schedule_that_is_all_warm_up_ends_at_its_peak() -> None:
    assert Schedule(1.0, steps=4, warmup=4, kind="cosine").rate(3) == 1.0


@pytest.mark.parametrize(("steps", "warmup"), [(0, 0), (3, 4), (3, -1)])
def test_a_warm_up_that_does_not_fit_is_refused(steps: int, warmup: int) -> None:
    with pytest.raises(ValueError, match="warm-up"):
        Schedule(1.0, steps, warmup)
