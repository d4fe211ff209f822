"""What the scheduler knows of runs that were handed to it: whether they still are in its queue, and why they left it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tokjax.errors import require
from tokjax.sweep.last_words import last_words
from tokjax.sweep.states import FAILED, QUEUED, STOPPED, State
from tokjax.sweep.workdir import read_record
from tokjax.training.ending import read_end


def with_queues(workdir: Path, states: Mapping[str, State]) -> dict[str, State]:
    """The states by run id, where those that depend on a scheduler are what it says now."""
    return {id: _asked(workdir, workdir / "rows" / id, state) for id, state in states.items()}


def _asked(workdir: Path, folder: Path, state: State) -> State:
    """One that left the queue without having noted its end was killed."""
    submission = read_record(folder).get("submission", "")
    there = in_queue(submission) if submission and state.name in (QUEUED, STOPPED) else None
    if there:
        return dataclasses.replace(state, name=QUEUED, reason=submission)
    if there is None or read_end(folder):
        return state
    return dataclasses.replace(
        state, name=FAILED, reason=f"{submission} is not in the queue any more; {_said(workdir, submission)}"
    )


def _said(workdir: Path, submission: str) -> str:
    if job := _slurm_job(submission):
        log = workdir / f"slurm_{job}.log"
        words = last_words(log)
        return f"the last line of {log} is: {words}" if words else f"there is nothing in {log}"
    return "its events and logs, where Kubernetes still has them, say why"


def _slurm_job(submission: str) -> str:
    job = re.fullmatch(r"Slurm job (\d+_\d+)", submission)
    return job[1] if job else ""


def in_queue(submission: str) -> bool | None:
    """Whether what `run.json` calls its submission waits or runs; None where this machine has no command to ask.

    Raises:
      ConfigError: the scheduler does not answer.
    """
    if job := _slurm_job(submission):
        return _squeue_has(job)
    if shutil.which("kubectl"):
        return jobset_state(submission.removeprefix("JobSet ")) == "there"
    return None


def _squeue_has(job: str) -> bool | None:
    if not shutil.which("squeue"):
        return None
    words = ["squeue", "--noheader", f"--jobs={job}", "--format=%T"]
    found = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    forgotten = "Invalid job id" in found.stderr  # what it says of jobs that ended a while ago
    _require_answer(found, found.returncode == 0 or forgotten)
    return bool(found.stdout.strip())


def jobset_state(name: str) -> str:
    """Of a JobSet: "there", "ended", or "" where Kubernetes has none of that name."""
    shown = "--output=jsonpath={.metadata.name}/{.status.terminalState}"
    words = ["kubectl", "get", "jobset", name, "--ignore-not-found", shown]
    found = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    _require_answer(found, found.returncode == 0)
    here, _, end = found.stdout.strip().partition("/")
    return "ended" if end else "there" if here else ""


def _require_answer(found: subprocess.CompletedProcess[str], well: bool) -> None:
    said = " ".join(found.stderr.split()) or f"exit code {found.returncode}"
    require(well, f"{found.args[0]} does not tell what is in the queue: {said}")
