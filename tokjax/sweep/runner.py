"""Runs the rows of a sweep on this machine, each as a process of `tokjax train`, until none is left that could go on.

All that is known lies on the disk, so that a runner which is killed has lost nothing: what is done is not repeated, what was cut
short goes on, and processes that outlived the runner are waited for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokjax.sweep.last_words import why_it_ended
from tokjax.sweep.rows import PlannedRun
from tokjax.sweep.slots import Slot
from tokjax.sweep.states import DONE, FAILED, RUNNING, STALE, State, is_running, live_process, progress_of, state_of
from tokjax.sweep.workdir import command_of, folder_of, prepare, read_record, update_record, write_start

FINISHED, INCOMPLETE, STOPPED = 0, 1, 75
POLL, LOOK = 0.1, 1.0  # seconds between looks at the processes, and at what they have written


@dataclasses.dataclass
class _Active:
    """A run under way; without a process somebody else started it. `size` is that of its metrics when they were last read."""

    run: PlannedRun
    slot: Slot
    process: subprocess.Popen | None
    log_begin: int = 0
    size: int = -1


class Runner:
    """Attributes:
    states: of every run by its id, as last seen.
    """

    def __init__(
        self, workdir: Path, runs: Sequence[PlannedRun], slots: Sequence[Slot], show: Callable[[dict[str, State]], None]
    ) -> None:
        """`show` is called with the states when one may have changed. The caller holds the workdir's lock."""
        self._workdir, self._runs, self._free, self._show = workdir, {run.id: run for run in runs}, list(slots), show
        self._active: list[_Active] = []
        self._asked, self._next_look, self._unshown = False, 0.0, True
        self.states = {run.id: state_of(workdir, run) for run in runs}

    def run(self) -> int:
        """Returns FINISHED where all runs are done, STOPPED on request (Ctrl-C, SIGTERM), else INCOMPLETE."""
        left = [id for id, state in self.states.items() if state.name not in (DONE, STALE)]
        left.sort(key=lambda id: self.states[id].name != RUNNING)  # those that run already hold their devices
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self._active or (left and not self._asked):
                while left and self._free and not self._asked:
                    self._begin(left.pop(0))
                self._look()
                time.sleep(POLL if self._active else 0)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self._show(self.states)
        finished = all(state.name == DONE for state in self.states.values())
        return FINISHED if finished else STOPPED if self._asked else INCOMPLETE

    def _ask(self, number: int, frame: Any) -> None:
        """Runs save and end; a second Ctrl-C leaves them to themselves."""
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for one in self._active:
            self._stop(one)

    def _stop(self, one: _Active) -> None:
        process = live_process(folder_of(self._workdir, one.run)) if one.process is None else None
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            if one.process:
                one.process.send_signal(signal.SIGTERM)
            elif process:
                os.kill(process, signal.SIGTERM)

    def _begin(self, id: str) -> None:
        """Starts a run, or waits for it where it is under way; what somebody else has finished meanwhile is done."""
        run = self._runs[id]
        state = self.states[id] = state_of(self._workdir, run)
        if state.name == RUNNING:
            self._active.append(_Active(run, self._slot_of(run), None))
        elif state.name not in (DONE, STALE):
            self._start(run, self._free.pop(0))

    def _slot_of(self, run: PlannedRun) -> Slot:
        """Where it was started, as far as that is one of ours."""
        starts = read_record(folder_of(self._workdir, run)).get("starts", [])
        slot = next((slot for slot in self._free if starts and slot.name == starts[-1]["place"]), self._free[0])
        self._free.remove(slot)
        return slot

    def _start(self, run: PlannedRun, slot: Slot) -> None:
        folder = folder_of(self._workdir, run)
        prepare(self._workdir, [run])
        write_start(self._workdir, run, slot.name)
        # Rows and seeds share what they compile.
        environment = {"JAX_COMPILATION_CACHE_DIR": str(self._workdir.absolute() / "compilations")} | dict(os.environ)
        with (folder / "log.txt").open("ab") as log:
            begin = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "tokjax.cli", *command_of(self._workdir, run)[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment | slot.environment,
                start_new_session=True,  # Ctrl-C reaches it through us, once
            )
        update_record(folder, process={"number": process.pid, "host": socket.gethostname()})
        if slot.cores:
            os.sched_setaffinity(process.pid, slot.cores)
        one = _Active(run, slot, process, begin)
        self._active.append(one)
        if self._asked:  # while it was started
            self._stop(one)

    def _look(self) -> None:
        """Whether a process has ended is asked each time; files are looked at less often, and read where they have grown."""
        due = time.monotonic() >= self._next_look
        for one in [one for one in self._active if self._ended(one, due)]:
            self._settle(one)
        if not due:
            return
        self._next_look = time.monotonic() + LOOK
        grown = [one for one in self._active if self._has_grown(one)]
        for one in grown:
            self.states[one.run.id] = progress_of(folder_of(self._workdir, one.run), self.states[one.run.id].total)
        if grown or self._unshown:
            self._show(self.states)
        self._unshown = False

    def _ended(self, one: _Active, due: bool) -> bool:
        """A stop is not waited for where it cannot reach."""
        if one.process:
            return one.process.poll() is not None
        folder = folder_of(self._workdir, one.run)
        return due and (live_process(folder) is None if self._asked else not is_running(folder))

    def _has_grown(self, one: _Active) -> bool:
        path = folder_of(self._workdir, one.run) / "metrics.jsonl"
        before, one.size = one.size, path.stat().st_size if path.exists() else 0
        return one.size != before

    def _settle(self, one: _Active) -> None:
        """Takes note of how a run ended, and gives its slot back."""
        self._active.remove(one)
        self._free.append(one.slot)
        self._unshown = True
        folder = folder_of(self._workdir, one.run)
        if one.process and not (one.process.returncode and is_running(folder)):
            code = one.process.returncode
            code = STOPPED if self._asked and code == -signal.SIGTERM else code  # asked before it could listen
            reason = why_it_ended(code, folder / "log.txt", one.log_begin) if code not in (0, STOPPED) else ""
            update_record(folder, exit=code, reason=reason)
        state = self.states[one.run.id] = state_of(self._workdir, one.run)
        cut_short = one.process is None and state.name not in (DONE, STALE, FAILED)  # like the runner that started it
        if not self._asked and (cut_short or state.name == RUNNING):  # running: ours was refused, as another was there first
            self._begin(one.run.id)
