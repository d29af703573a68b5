"""The compact list of training images: 8 bytes each, and it tells which files are in it."""

import pytest

from ray_birds.core import storage
from ray_birds.data import digests


def test_listed_files_are_known_and_no_others() -> None:
    train = [storage.digest([f"train {number}"]) for number in range(500)]
    others = [storage.digest([f"other {number}"]) for number in range(500)]
    packed = digests.pack([*train, train[0]])
    assert len(packed) == 8 * len(train)
    assert digests.listed(packed, [*others, *train]).tolist() == [False] * 500 + [True] * 500
    assert digests.pack([]) == b"" and not digests.listed(b"", others).any()
    with pytest.raises(ValueError):
        digests.listed(b"not a list", others)
