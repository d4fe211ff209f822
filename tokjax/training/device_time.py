"""Which devices a run has used, how long, and how much of their memory: a line in `usage.jsonl` as it starts and as it ends."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from tokjax.training.workdir import write_atomically


@contextlib.contextmanager
def recorded_use(workdir: Path, leader: bool) -> Iterator[None]:
    """Records the length of the block. Starts before it have their ends by `end_what_was_killed`."""
    if leader:
        _add(workdir, {"began": time.time(), "devices": jax.device_count(), "kind": jax.devices()[0].device_kind})
    try:
        yield
    finally:
        if leader:
            peak, where = peak_memory()
            _add(workdir, {"ended": time.time(), "peak_bytes": peak, "memory": where})


def end_what_was_killed(workdir: Path) -> None:
    """Gives a start that was killed the time of the last number it logged. To be called before the log is opened again, which
    writes it anew."""
    rows = _read(workdir)
    if rows and "began" in rows[-1]:
        _add(workdir, {"ended": _last_sign(workdir, rows[-1]["began"])})


def _last_sign(workdir: Path, began: float) -> float:
    path = workdir / "metrics.jsonl"
    return max(began, path.stat().st_mtime) if path.exists() else began


def _read(workdir: Path) -> list[dict[str, Any]]:
    path = workdir / "usage.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def _add(workdir: Path, row: dict[str, Any]) -> None:
    """Whole lines only, whatever a full disk or a kill has left."""
    write_atomically(workdir / "usage.jsonl", "".join(json.dumps(one) + "\n" for one in [*_read(workdir), row]))


def peak_memory() -> tuple[int, str]:
    """The most bytes in use so far, on the first device, or by this process where devices do not count ("device", "process")."""
    on_device = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    if on_device:
        return on_device, "device"
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "process"


def read_use(workdir: Path) -> tuple[float, int | None, str]:
    """Device hours over all starts, the largest peak memory in bytes, and where that is ("device", "process" or "").

    A start that was killed, or still goes on, counts until the last number it logged.
    """
    rows = _read(workdir)
    hours = 0.0
    for number, row in enumerate(rows):
        if "began" in row:
            last = number + 1 == len(rows)
            end = _last_sign(workdir, row["began"]) if last else rows[number + 1]["ended"]
            hours += (end - row["began"]) / 3600 * row["devices"]
    peaks = [(row["peak_bytes"], row["memory"]) for row in rows if "peak_bytes" in row]
    peak, where = max(peaks, default=(None, ""))
    return hours, peak, where
