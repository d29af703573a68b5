"""What is made ahead: in order, by several threads, a bounded number at a time, and nothing hangs on an error."""

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from ray_birds.core.prefetch import prefetch

pytestmark = pytest.mark.timeout(30)


class Made:
    """Counts how many of the arrays that it made are alive."""

    def __init__(self) -> None:
        self.arrays: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
        self.calls = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self, number: int) -> np.ndarray:
        array = np.full(1000, number).view(Counted)
        with self._lock:
            self.calls += 1
            self.arrays.add(array)
            self.most = max(self.most, len(self.arrays))
        return array


class Counted(np.ndarray):
    """An array that can be a member of a set."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize(("threads", "window"), [(1, 1), (1, 2), (3, 4), (8, 16), (4, 2)])
def test_no_more_than_the_window_and_one_are_alive(threads: int, window: int) -> None:
    made = Made()
    for number, array in enumerate(prefetch(made, range(100), threads, window)):
        assert (np.asarray(array) == number).all()
        time.sleep(0.001)  # a consumer slower than the threads: they run ahead as far as they may
    del array
    gc.collect()
    assert made.calls == 100 and made.most <= window + 1 and len(made.arrays) == 0


def test_the_order_is_that_of_the_items_whichever_is_made_first() -> None:
    def late(number: int) -> int:
        time.sleep(0.002 * (7 - number % 8))
        return number

    assert list(prefetch(late, iter(range(40)))) == list(range(40))
    assert list(prefetch(late, [])) == []


def test_several_are_made_at_a_time() -> None:
    meeting = threading.Barrier(4, timeout=10)
    assert len(list(prefetch(lambda _: meeting.wait(), range(8), threads=4))) == 8


def test_the_next_is_made_while_one_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]
    results = prefetch(lambda number: begun[number].set(), range(3), threads=1, window=2)
    next(results)
    assert begun[1].wait(10) and not begun[2].is_set()


def test_what_is_not_ready_is_waited_for_where_the_consumer_says() -> None:
    ready, waits = threading.Event(), 0

    def make(number: int) -> int:
        if number == 1:
            assert ready.wait(10)
        return number

    @contextmanager
    def waiting() -> Iterator[None]:
        nonlocal waits
        waits += 1
        ready.set()
        yield

    results = prefetch(make, range(3), threads=2, window=3, waiting=waiting)
    first = next(results)
    before = waits  # of the first: the threads had no time before it was asked for
    assert [first, *results] == [0, 1, 2] and before <= 1 and before < waits <= 3


def test_an_error_of_the_maker_comes_in_its_place() -> None:
    begun: list[int] = []

    def make(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise ValueError("the sixth")
        return number

    taken = []
    with pytest.raises(ValueError, match="the sixth"):
        for number in prefetch(make, range(1000), threads=2, window=3):
            taken.append(number)
    assert taken == [0, 1, 2, 3, 4] and len(begun) <= 8


def test_an_error_of_the_items_comes_too() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(prefetch(lambda number: number, items(), threads=2))


def test_a_consumer_that_stops_leaves_no_thread_behind() -> None:
    before, made = threading.active_count(), Made()
    with pytest.raises(ZeroDivisionError):
        for number in prefetch(made, range(1000), threads=3, window=4):
            assert int(number[0]) // 0
    gc.collect()
    assert threading.active_count() == before and made.calls <= 5


@pytest.mark.integration
def test_a_process_that_fails_with_some_pending_ends() -> None:
    code = (
        "import time; from ray_birds.core.prefetch import prefetch\n"
        "results = prefetch(lambda _: time.sleep(0.01), range(10**9))\n"
        "next(results); raise SystemExit(3)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=20).returncode == 3
