"""Reading, computing and writing at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """The same items, made by a thread that is up to `count` ahead of whoever takes them.

    What `items` raises is raised here. Closing this closes `items`, after the one that is being made.
    """
    thread = ThreadPoolExecutor(1)
    try:
        coming = deque(thread.submit(next, items, _END) for _ in range(count))
        while (item := coming.popleft().result()) is not _END:
            coming.append(thread.submit(next, items, _END))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
        items.close()
