"""Processes that write shards side by side. They end with the process that started them, however that ends."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokjax.data.parent import end_with_parent
from tokjax.data.shards import Rules, write_shard
from tokjax.data.sources import Source

Task = tuple[Source, Path]
_EVERY = 0.2  # seconds between reports of a worker


class WorkerError(RuntimeError):
    """A worker failed; the message is a sentence, or what Python says of a bug."""


def write_shards(tasks: Sequence[Task], rules: Rules, workers: int, progress: Callable[[int], None]) -> None:
    """Writes the shards, in this process where there is one worker.

    Args:
      tasks: (source, path) of each shard.
      progress: called with a number of records that were looked at since the last call.

    Raises:
      OSError: as of a full disk. WorkerError.
    """
    if workers == 1 or len(tasks) < 2:
        for source, path in tasks:
            write_shard(source, path, rules, lambda: progress(1))
        return
    workers = min(workers, len(tasks))
    context = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
    waiting, reports = context.Queue(), context.Queue()
    for task in [*tasks, *[None] * workers]:
        waiting.put(task)
    processes = [context.Process(target=_work, args=(waiting, reports, rules), daemon=True) for _ in range(workers)]
    try:
        for process in processes:
            process.start()
        _follow(processes, reports, len(tasks), progress)
    finally:
        for process in processes:
            process.terminate()
            process.join()
        waiting.cancel_join_thread()


def _follow(processes: list[Any], reports: Any, tasks: int, progress: Callable[[int], None]) -> None:
    """Until all tasks are done."""
    while tasks:
        try:
            records, done, error = reports.get(timeout=1)
        except queue.Empty:
            dead = [process for process in processes if process.exitcode not in (None, 0)]
            if dead:
                raise WorkerError(f"a worker ended with code {dead[0].exitcode}; the same command continues") from None
            continue
        if error is not None:
            raise error
        progress(records)
        tasks -= done


def _work(waiting: Any, reports: Any, rules: Rules) -> None:
    """Writes shards until there are no more. Reports (records, finished shards, error)."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which ends it
    reporter = _Reporter(reports)
    try:
        for source, path in iter(waiting.get, None):
            write_shard(source, path, rules, reporter.tick)
            reporter.send(done=1)
    except OSError as error:
        reports.put((0, 0, OSError(error.errno, error.strerror, error.filename) if error.errno else OSError(str(error))))
    except Exception:  # whatever it is, it is shown by the process that started this one
        reports.put((0, 0, WorkerError(traceback.format_exc())))


class _Reporter:
    """Tells how many records were looked at, now and then."""

    def __init__(self, reports: Any) -> None:
        self._reports, self._records, self._last = reports, 0, time.monotonic()

    def tick(self) -> None:
        self._records += 1
        if time.monotonic() - self._last > _EVERY:
            self.send()

    def send(self, done: int = 0) -> None:
        self._reports.put((self._records, done, None))
        self._records, self._last = 0, time.monotonic()
