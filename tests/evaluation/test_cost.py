"""What counts as cheaper, and how it is said."""

from ray_birds.evaluation.cost import Cost

SMALL, LARGE = 59_000_000, 385_000_000


def test_prediction_counts_before_training() -> None:
    small, large = Cost(900, multiply_adds=SMALL), Cost(10, multiply_adds=LARGE)
    assert small.cheaper_than(large) and not large.cheaper_than(small)


def test_where_prediction_costs_the_same_training_decides_with_the_shared_pass() -> None:
    features = Cost(10, 300, multiply_adds=LARGE)
    images = Cost(200, 0, multiply_adds=LARGE)
    assert images.cheaper_than(features) and not features.cheaper_than(images)


def test_a_few_seconds_make_nothing_cheaper() -> None:
    assert not Cost(57).cheaper_than(Cost(60)) and Cost(40).cheaper_than(Cost(60))


def test_the_words() -> None:
    one, two = Cost(40, 60, 4_000_000, LARGE), Cost(340, 60, 4_000_000, LARGE)
    assert one.against(two) == (
        "1.7 min of training instead of 6.7 min, the shared pass over frozen layers counted in; predicting costs "
        "the same"
    )
    small = Cost(40, 0, 410_000, SMALL, 120.0)
    assert small.against(Cost(50, 0, 4_050_000, LARGE, 31.0)) == (
        "prediction with 59 M instead of 385 M multiply-adds an image, 0.41 M instead of 4.05 M parameters, "
        "120 instead of 31 images/s through frozen layers; 40 s of training instead of 50 s"
    )
