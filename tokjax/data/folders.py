"""A folder that appears when it is whole: until then it has a hidden name beside it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokjax.data.records import DataError

_PLAN, _LOCK = "plan.json", ".lock"


@contextlib.contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A temporary folder beside `output` that takes its name when the block ends well, and is removed when it does not.

    Raises:
      DataError: `output` is there already and not an empty folder, or is the current folder.
    """
    partial = _partial(output)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def resumable_folder(output: Path, plan: dict[str, Any]) -> Iterator[Path]:
    """As `new_folder`, but what was written stays after a kill or an error, and is found again by a start with the same plan.

    A DataError, which the same start would raise again, leaves nothing.

    Raises:
      DataError: `output` is there already and not an empty folder, or is the current folder, or another process is writing it.
    """
    partial = _partial(output)
    partial.mkdir(parents=True, exist_ok=True)
    with open(partial / _LOCK, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"another process is writing {output} now; wait for it or choose another --output") from None
        try:
            _keep_if_planned(partial, plan)
            yield partial
            (partial / _PLAN).unlink()
            partial.rename(output)
            (output / _LOCK).unlink()  # only now, so that nobody else takes the folder for one that nobody is writing
        except DataError:
            shutil.rmtree(partial)
            raise


def _partial(output: Path) -> Path:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} already exists and is not empty; choose another --output or remove it")
    if output.exists() and output.samefile(Path()):
        raise DataError(f"the output is the folder that you are in, which cannot be replaced; name a folder in {output}")
    return output.with_name(f".{output.name}.partial")


def _keep_if_planned(partial: Path, plan: dict[str, Any]) -> None:
    """Empties a folder that was begun with another plan."""
    text = json.dumps(plan, sort_keys=True)
    path = partial / _PLAN
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    for old in partial.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != _LOCK:
            old.unlink()
    write_whole(path, text)


def write_whole(path: Path, text: str) -> None:
    """A file with this text, or after a kill none, or the one before."""
    partial = path.with_name(f".{path.name}.writing")
    with open(partial, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
