"""Results that threads make ahead of whoever uses them: in order, and no more at a time than a window holds."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

REQUESTS = 8  # files read at a time by one process: what hides the answering time of an object store


def prefetch(
    make: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int = REQUESTS,
    window: int | None = None,
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Result]:
    """`make(item)` for each item, in the order of the items, made by `threads` threads.

    At most `window` results (by default two for each thread) are made or being made and not yet taken; with the
    one that the consumer still holds when it asks for the next, window + 1 are alive. What `make` raises is raised
    where its result would have come, what `items` raises at once. Then, and where the consumer stops early, no
    further call is begun. A result that is not ready when it is asked for is waited for within `waiting()`.
    """
    window = 2 * threads if window is None else window
    todo = iter(items)
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        while True:
            pending.extend(pool.submit(make, item) for item in islice(todo, window - len(pending)))
            if not pending:
                return
            if not pending[0].done():
                with waiting():
                    wait([pending[0]])
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
