"""A thread that keeps a few items of an iterator ready, and knows how many there were when they were asked for."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any

DEPTH = 2  # items that wait, beyond what the iterator itself reads ahead


class Ahead:
    """Items in their order; what the iterator raises comes in its place, and again after that."""

    def __init__(self, iterator: Any) -> None:
        """`iterator` has a method `close`."""
        self._iterator = iterator
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(DEPTH)
        self._ended, self._error = threading.Event(), None
        self._seen, self._asked = 0, 0
        self._thread = threading.Thread(target=self._fill, name="tokjax-batches", daemon=True)
        self._thread.start()

    def _fill(self) -> None:
        error = None
        while error is None and not self._ended.is_set():
            item = None
            try:
                item = next(self._iterator)
            except BaseException as raised:  # whatever it is, it is raised where the item is asked for
                error = raised
            self._put((item, error))

    def _put(self, pair: tuple[Any, BaseException | None]) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(queue.Full):
                return self._ready.put(pair, timeout=0.1)

    def __next__(self) -> Any:
        if self._error is None:
            self._seen, self._asked = self._seen + self._ready.qsize(), self._asked + 1
            item, self._error = self._ready.get()
        if self._error is not None:
            raise self._error
        return item

    def mean_depth(self) -> float:
        """Items that were ready when one was asked for, on average since the last call; at most `DEPTH`."""
        mean = self._seen / self._asked if self._asked else 0.0
        self._seen = self._asked = 0
        return mean

    def close(self) -> None:
        """Ends the thread, then the iterator."""
        self._ended.set()
        with contextlib.suppress(queue.Empty):  # room, so that the thread does not wait for some
            while True:
                self._ready.get_nowait()
        self._thread.join(timeout=30)
        self._iterator.close()
