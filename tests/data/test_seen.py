"""The list of the images that a model has seen."""

import io

import numpy as np
import pytest

from ray_birds.core import storage
from ray_birds.data import seen

CONTENTS = [bytes([number]) * 9 for number in range(50)]


def test_it_holds_the_contents_it_was_made_of_and_no_other() -> None:
    known = seen.listed(storage.digest([content]) for content in [*CONTENTS[:25], *CONTENTS[:5]])
    assert known.nbytes == 25 * 8
    kept = seen.from_bytes(seen.to_bytes(known))
    assert [seen.holds(kept, content) for content in CONTENTS] == [True] * 25 + [False] * 25


def test_an_empty_list_knows_nothing() -> None:
    assert seen.holds(seen.NONE, b"x") is None and len(seen.from_bytes(seen.to_bytes(seen.NONE))) == 0


@pytest.mark.parametrize("value", [np.zeros((2, 2), np.uint64), np.zeros(2), np.array([{}], object)])
def test_another_file_is_refused(value: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    for data in (buffer.getvalue(), buffer.getvalue()[:-3], b""):
        with pytest.raises(ValueError):
            seen.from_bytes(data)
