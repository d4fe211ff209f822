"""The directory of a run: one process at a time owns it, and a file in it is either the old one or the new one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class WorkdirBusy(RuntimeError):
    """Another process trains in this workdir."""


@contextlib.contextmanager
def lock_workdir(path: Path) -> Iterator[None]:
    """Holds the workdir, which is created where it is missing, for the length of the block.

    The kernel gives the lock back when the process ends, however it ends. On storage shared between machines it holds as far as
    that file system carries flock.

    Raises:
      WorkdirBusy: names the process that holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    with open(path / "lock", "a+") as file:
        file.seek(0)
        if not _taken(file):
            holder = file.read() or "another process"
            raise WorkdirBusy(f"the workdir {path} is in use by {holder}; stop that run or choose another workdir")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _taken(file: IO[str]) -> bool:
    """Tries for a moment: who only looks whether the workdir is in use shares its lock that long."""
    for wait in (0.0, 0.05, 0.2):
        time.sleep(wait)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file: a reader, a kill or a power cut finds the old content or the new, never a part. One writer at a time."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    flush(partial)
    partial.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a directory, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
