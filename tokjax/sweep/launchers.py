"""Hands the runs of a sweep to a scheduler, one job each, through the scripts in `launch/`; or prints their commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tokjax.errors import ConfigError, require
from tokjax.sweep.queues import in_queue, jobset_state
from tokjax.sweep.rows import PlannedRun
from tokjax.sweep.workdir import command_of, folder_of, prepare, read_record, update_record, write_start

_SCRIPTS = Path(__file__).parents[2] / "launch"
_NAME_LENGTH = 40  # a pod's name adds to it, and has 63 letters at most


def print_commands(workdir: Path, runs: Sequence[PlannedRun]) -> None:
    """One line a run, to be run in this folder."""
    prepare(workdir, runs)
    for run in runs:
        print(shlex.join(command_of(workdir, run)))


def submit_slurm(workdir: Path, runs: Sequence[PlannedRun], options: str) -> str:
    """One array job, a task each, by `sbatch` with the options. Returns a sentence. Runs that still are in the queue stay there.

    Raises:
      ConfigError: sbatch refuses, or there is no launch/slurm.sh.
    """
    runs = [run for run in runs if not _waits(folder_of(workdir, run))]
    if not runs:
        return "all runs that are left are in the queue"
    prepare(workdir, runs)
    script = workdir / "slurm_array.sh"
    script.write_text(array_script(workdir, runs))
    logs = workdir.absolute() / "slurm_%A_%a.log"
    words = ["sbatch", "--parsable", f"--array=0-{len(runs) - 1}", f"--output={logs}", *_words(options), str(script)]
    job = _called(words).strip().split(";")[0]
    for number, run in enumerate(runs):
        write_start(workdir, run, "slurm")
        update_record(folder_of(workdir, run), submission=f"Slurm job {job}_{number}")
    return f"submitted {len(runs)} runs as Slurm job {job}"


def _words(options: str) -> list[str]:
    try:
        return shlex.split(options)
    except ValueError as error:
        raise ConfigError(f"cannot read --options {options!r}: {str(error).lower()}") from None


def array_script(workdir: Path, runs: Sequence[PlannedRun]) -> str:
    """launch/slurm.sh in which each task of the array takes the arguments of its run."""
    text = _script("slurm.sh").read_text()
    begin = text.index("set -uo pipefail")
    cases = "".join(f"  {i}) set -- {shlex.join(command_of(workdir.absolute(), run)[2:])} ;;\n" for i, run in enumerate(runs))
    return f"{text[:begin]}case $SLURM_ARRAY_TASK_ID in\n{cases}esac\n{text[begin:]}"


def _waits(folder: Path) -> bool:
    submission = read_record(folder).get("submission", "")
    return bool(submission.startswith("Slurm") and in_queue(submission))


def submit_gke(workdir: Path, runs: Sequence[PlannedRun], sweep: str, options: str) -> str:
    """A JobSet each, by launch/gke.sh and its environment. One that still is there is left alone, one that ended makes room.

    Args:
      options: "gpu" or "tpu".
    """
    require(options in ("gpu", "tpu"), f'say which nodes, --options gpu or --options tpu, not "{options}"')
    script = _script("gke.sh")
    names = {run.id: _kubernetes_name(f"{sweep}-{run.id}") for run in runs}
    require(len(set(names.values())) == len(names), "two rows get the same name in Kubernetes; give them shorter names")
    require(bool(shutil.which("kubectl")), "there is no kubectl here; submit from a machine that has it, or use --launcher print")
    before = {run.id: jobset_state(names[run.id]) for run in runs}
    left = [run for run in runs if before[run.id] != "there"]
    prepare(workdir, left)
    for run in left:
        if before[run.id]:
            _called(["kubectl", "delete", "jobset", names[run.id]])
        _called([str(script), options, *command_of(workdir.absolute(), run)[2:]], NAME=names[run.id])
        write_start(workdir, run, "gke")
        update_record(folder_of(workdir, run), submission=f"JobSet {names[run.id]}")
    if not left:
        return "all runs that are left are in the queue"
    return f"applied {len(left)} JobSets: {', '.join(names[run.id] for run in left)}"


def _kubernetes_name(text: str) -> str:
    """Small letters, digits and dashes; the end of a long one, which says the row and the seed."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[-_NAME_LENGTH:].strip("-")


def _script(name: str) -> Path:
    path = _SCRIPTS / name
    require(path.is_file(), f"there is no {path}; submit from a checkout of tokjax, which has the launch scripts")
    return path


def _called(words: Sequence[str], **environment: str) -> str:
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=dict(os.environ) | environment)
    except FileNotFoundError:
        raise ConfigError(f"there is no {words[0]} here; submit from a machine that has it, or use --launcher print") from None
    require(done.returncode == 0, f"{Path(words[0]).name} refused: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout
