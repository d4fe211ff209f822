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

from tokjax.sweep.rows import PlannedRun
from tokjax.sweep.slots import Slot
from tokjax.sweep.states import DONE, FAILED, RUNNING, STALE, State, is_running, progress_of, state_of
from tokjax.sweep.workdir import folder_of, update_record, write_start

FINISHED, INCOMPLETE, STOPPED = 0, 1, 75
POLL, LOOK = 0.1, 1.0  # seconds between looks at the processes, and at what they have written


@dataclasses.dataclass
class _Active:
    """A run under way; without a process it was started by a runner before this one."""

    run: PlannedRun
    slot: Slot
    process: subprocess.Popen | None
    log_begin: int = 0


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
        self._asked, self._next_look = False, 0.0
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
                for one in [one for one in self._active if self._ended(one)]:
                    self._settle(one)
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
            if one.process:
                with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                    one.process.send_signal(signal.SIGTERM)

    def _begin(self, id: str) -> None:
        run, slot = self._runs[id], self._free.pop(0)
        if self.states[id].name == RUNNING and is_running(folder_of(self._workdir, run)):
            self._active.append(_Active(run, slot, None))
            return
        folder = folder_of(self._workdir, run)
        command = command_of(self._workdir, run)
        write_start(self._workdir, run, command, slot.name)
        # Rows and seeds share what they compile.
        environment = {"JAX_COMPILATION_CACHE_DIR": str(self._workdir.absolute() / "compilations")} | dict(os.environ)
        with (folder / "log.txt").open("ab") as log:
            begin = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "tokjax.cli", *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment | slot.environment,
                start_new_session=True,  # Ctrl-C reaches it through us, once
            )
        update_record(folder, process={"number": process.pid, "host": socket.gethostname()})
        if slot.cores:
            os.sched_setaffinity(process.pid, slot.cores)
        self._active.append(_Active(run, slot, process, begin))

    def _ended(self, one: _Active) -> bool:
        return one.process.poll() is not None if one.process else not is_running(folder_of(self._workdir, one.run))

    def _settle(self, one: _Active) -> None:
        """Takes note of how a run ended, and gives its slot back."""
        self._active.remove(one)
        self._free.append(one.slot)
        folder = folder_of(self._workdir, one.run)
        if one.process:
            code = one.process.returncode
            code = STOPPED if self._asked and code == -signal.SIGTERM else code  # asked before it could listen
            reason = _last_words(folder / "log.txt", one.log_begin, code) if code not in (0, 75) else ""
            update_record(folder, exit=code, reason=reason)
        self.states[one.run.id] = state_of(self._workdir, one.run)
        if one.process is None and self.states[one.run.id].name not in (DONE, STALE, FAILED) and not self._asked:
            self._begin(one.run.id)  # cut short like the runner that started it

    def _look(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK
        for one in self._active:
            self.states[one.run.id] = progress_of(folder_of(self._workdir, one.run), self.states[one.run.id].total)
        self._show(self.states)


def command_of(workdir: Path, run: PlannedRun) -> list[str]:
    """What trains it, as a person would type it."""
    return ["tokjax", "train", "--workdir", str(folder_of(workdir, run)), *run.arguments]


def _last_words(log: Path, begin: int, code: int) -> str:
    """The sentence that tokjax ended with; else the last line, or the signal that ended it."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}" + (", as a system does that runs out of memory" if code == -9 else "")
    with log.open("rb") as file:
        file.seek(begin)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix("tokjax: ") for line in lines if line.startswith("tokjax: ")]
    return (said or lines or [f"ended with code {code} and said nothing"])[-1]
