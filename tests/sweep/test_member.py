"""The workers of a trial take every row of a batch between them, and as many each."""

import numpy as np
import pytest

from ray_birds.sweep.member import ALONE, Member


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_the_shares_are_the_batch_and_rows_that_fill_up_weigh_nothing(workers: int, size: int) -> None:
    rows, weights = np.arange(10, 10 + size), np.linspace(0.5, 2, size, dtype=np.float32)
    members = [Member(rank, workers) for rank in range(workers)]
    shares, weighed = ([*map(part, members)] for part in (lambda m: m.share(rows), lambda m: m.shares(weights)))
    assert {len(share) for share in shares} == {-(-size // workers)} == {len(share) for share in weighed}
    taken, weight = np.concatenate(shares), np.concatenate(weighed)
    np.testing.assert_array_equal(taken[weight > 0], rows)
    np.testing.assert_array_equal(weight[weight > 0], weights)
    assert weight.dtype == np.float32 and {*taken} == {*rows}


def test_one_alone_has_it_all() -> None:
    rows = np.arange(5)
    assert ALONE.share(rows) is rows and ALONE.shares(rows) is rows and ALONE.once(lambda: 3) == 3
