"""How the last start of a run ended, in its workdir as `ended.json`, for who was not there to see its exit code and its words."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokjax.errors import in_one_line

_NAME = "ended.json"


@contextlib.contextmanager
def recorded_end(workdir: Path, leader: bool) -> Iterator[Callable[[int], int]]:
    """Gives the block a function that notes its exit code; an error that leaves the block is noted with what it says.

    Nothing stands there while the run goes on, nor after it was killed. Of several processes the first to fail is noted.
    """
    if leader:
        forget_end(workdir)

    def note(code: int) -> int:
        if leader:
            _write(workdir, code, "")
        return code

    try:
        yield note
    except Exception as error:
        _write(workdir, 1, in_one_line(error))
        raise


def _write(workdir: Path, code: int, reason: str) -> None:
    with contextlib.suppress(FileExistsError), (workdir / _NAME).open("x") as file:  # another process was first
        file.write(json.dumps({"exit": code, "reason": reason}) + "\n")


def forget_end(workdir: Path) -> None:
    (workdir / _NAME).unlink(missing_ok=True)


def read_end(workdir: Path) -> dict[str, Any]:
    """`exit` and `reason` of the last start; nothing where it goes on, was killed, or never was."""
    path = workdir / _NAME
    text = path.read_text() if path.exists() else ""
    return json.loads(text) if text.endswith("\n") else {}
