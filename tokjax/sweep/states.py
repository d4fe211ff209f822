"""What has become of each run, read from its folder alone: whoever started it, and however that ended."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import os
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokjax.sweep.rows import PlannedRun
from tokjax.sweep.workdir import change_since, folder_of, read_record
from tokjax.training.ending import read_end
from tokjax.training.saved_steps import finished_steps
from tokjax.training.stages import stages_of
from tokjax.training.telemetry import duration

DONE, STALE, RUNNING, FAILED, STOPPED, QUEUED, WAITING = "done", "stale", "running", "failed", "stopped", "queued", "waiting"
_TAIL = 16_384  # bytes of metrics.jsonl that its last rows are in


@dataclasses.dataclass(frozen=True)
class State:
    """Attributes:
    name: one of the above.
    step, total: how far it is.
    metric: the last number it logged, as text.
    eta: seconds that remain by the speed it last logged; NaN where it does not run.
    reason: why it failed or is stale, in one line.
    """

    name: str
    step: int
    total: int
    metric: str = ""
    eta: float = math.nan
    reason: str = ""


def state_of(workdir: Path, run: PlannedRun) -> State:
    folder, total = folder_of(workdir, run), stages_of(run.config)[-1].end
    if is_running(folder):
        return progress_of(folder, total)
    rows = _last_rows(folder / "metrics.jsonl")
    saved, record = finished_steps(folder / "checkpoints"), read_record(folder)
    shown = {"step": int(rows[-1]["step"]) if rows else 0, "total": total, "metric": _metric(rows)}
    if change := change_since(folder, run):
        return State(STALE, **shown, reason=f"{change}; remove {folder} to run it anew")
    if saved and saved[-1] >= total:
        return State(DONE, **shown)
    ended = read_end(folder) or record
    if ended.get("exit") not in (None, 0, 75):
        return State(FAILED, **shown, reason=ended.get("reason", ""))
    if ended.get("exit") is None and record.get("submission") and not saved:
        return State(QUEUED, **shown, reason=record["submission"])
    return State(STOPPED if saved or record else WAITING, **shown)


def progress_of(folder: Path, total: int) -> State:
    """Of a run that is under way."""
    rows = _last_rows(folder / "metrics.jsonl")
    step = int(rows[-1]["step"]) if rows else 0
    return State(RUNNING, step, total, _metric(rows), _eta(rows, total - step))


def is_running(folder: Path) -> bool:
    """Whether a process trains in it, or was started to and has not come that far."""
    return live_process(folder) is not None or _is_locked(folder)


def live_process(folder: Path) -> int | None:
    """The number of the process that a runner started for it on this machine, as long as that lives."""
    record = read_record(folder)
    started = record.get("process")
    if not started or started["host"] != socket.gethostname():
        return None
    try:  # numbers are given out again
        words = Path(f"/proc/{started['number']}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return started["number"] if "\0".join(record["command"][1:]) in words else None


def _is_locked(folder: Path) -> bool:
    """The lock is tried only where its holder may live, and shared, so as not to be in the way of a start or of another look."""
    path = folder / "lock"
    if not path.exists():
        return False
    holder = re.fullmatch(r"process (\d+) on (.+)", path.read_text())
    if holder and holder[2] == socket.gethostname() and not _lives(int(holder[1])):
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _last_rows(path: Path) -> list[dict[str, float]]:
    """Whole lines near the end of a file that grows."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        lines = file.read().split(b"\n")[:-1]
    return [json.loads(line) for line in (lines if size <= _TAIL else lines[1:]) if line]


def _metric(rows: Sequence[dict[str, float]]) -> str:
    """PSNR of the last evaluation, else what training logged last."""
    for row in reversed(rows):
        for key, value in row.items():
            if key.startswith("validation/") and key.endswith("/psnr"):
                return f"held-out PSNR {value:.2f} dB at {int(row['step'])}"
    return f"loss {rows[-1]['loss']:.4g}" if rows and "loss" in rows[-1] else ""


def _eta(rows: Sequence[dict[str, float]], steps: int) -> float:
    speeds = [row["steps_per_second"] for row in rows if row.get("steps_per_second")]
    return steps / speeds[-1] if speeds else math.nan


def status_table(states: Mapping[str, State]) -> str:
    """One line a run: name, state, step, last metric, ETA; the reason of a failure below it."""
    heads = ("run", "state", "step", "last metric", "ETA")
    remains = {id: duration(one.eta) if math.isfinite(one.eta) else "" for id, one in states.items()}
    cells = [(id, one.name, f"{one.step}/{one.total}", one.metric, remains[id]) for id, one in states.items()]
    widths = [max(len(line[column]) for line in (heads, *cells)) for column in range(len(heads))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(heads, widths, strict=True)).rstrip()]
    for line, state in zip(cells, states.values(), strict=True):
        lines.append("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
        if state.reason:
            lines.append(f"    {state.reason}")
    return "\n".join(lines)
