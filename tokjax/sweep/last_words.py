"""What a training said last, from its log."""

from __future__ import annotations

import signal
from pathlib import Path


def last_words(log: Path, begin: int = 0) -> str:
    """The sentence that tokjax ended with, else the last line; "" where there is none. Of the log from byte `begin` on."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(begin)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix("tokjax: ") for line in lines if line.startswith("tokjax: ")]
    return (said or lines or [""])[-1]


def why_it_ended(code: int, log: Path, begin: int) -> str:
    """One line for an exit code of a process, negative where a signal ended it."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}" + (", as a system does that runs out of memory" if code == -9 else "")
    if not log.exists():
        return f"ended with code {code}, and its folder was removed meanwhile"
    return last_words(log, begin) or f"ended with code {code} and said nothing"
