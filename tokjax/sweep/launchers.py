"""Hands the runs of a sweep to a scheduler, one job each, through the scripts in `launch/`; or prints their commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tokjax.errors import ConfigError, require
from tokjax.sweep.rows import PlannedRun
from tokjax.sweep.runner import command_of
from tokjax.sweep.workdir import folder_of, read_record, update_record, write_start

_SCRIPTS = Path(__file__).parents[2] / "launch"
_NAME_LENGTH = 40  # a pod's name adds to it, and has 63 letters at most


def print_commands(workdir: Path, runs: Sequence[PlannedRun]) -> None:
    """One line a run, to be run in this folder."""
    for run in runs:
        print(shlex.join(command_of(workdir, run)))


def submit_slurm(workdir: Path, runs: Sequence[PlannedRun], options: str) -> str:
    """One array job, a task each, by `sbatch` with the options. Returns a sentence. Runs that still are in the queue stay there.

    Raises:
      ConfigError: sbatch refuses, or there is no launch/slurm.sh.
    """
    runs = [run for run in runs if not _in_queue(folder_of(workdir, run))]
    if not runs:
        return "all runs that are left are in the queue"
    script = workdir / "slurm_array.sh"
    script.write_text(array_script(workdir, runs))
    logs = workdir.absolute() / "slurm_%A_%a.log"
    words = ["sbatch", "--parsable", f"--array=0-{len(runs) - 1}", f"--output={logs}", *shlex.split(options), str(script)]
    job = _called(words).strip().split(";")[0]
    for number, run in enumerate(runs):
        write_start(workdir, run, command_of(workdir, run), "slurm")
        update_record(folder_of(workdir, run), submission=f"Slurm job {job}_{number}")
    return f"submitted {len(runs)} runs as Slurm job {job}"


def array_script(workdir: Path, runs: Sequence[PlannedRun]) -> str:
    """launch/slurm.sh in which each task of the array takes the arguments of its run."""
    text = _script("slurm.sh").read_text()
    begin = text.index("set -uo pipefail")
    cases = "".join(f"  {i}) set -- {shlex.join(command_of(workdir.absolute(), run)[2:])} ;;\n" for i, run in enumerate(runs))
    return f"{text[:begin]}case $SLURM_ARRAY_TASK_ID in\n{cases}esac\n{text[begin:]}"


def _in_queue(folder: Path) -> bool:
    submission = read_record(folder).get("submission", "")
    job = re.fullmatch(r"Slurm job (\d+_\d+)", submission)
    if job is None:
        return False
    found = subprocess.run(["squeue", "--noheader", f"--jobs={job[1]}", "--format=%T"], capture_output=True, text=True)
    return bool(found.stdout.strip())


def submit_gke(workdir: Path, runs: Sequence[PlannedRun], sweep: str, options: str) -> str:
    """A JobSet each, by launch/gke.sh and its environment. One that exists is left as it is by Kubernetes.

    Args:
      options: "gpu" or "tpu".
    """
    require(options in ("gpu", "tpu"), f'say which nodes, --options gpu or --options tpu, not "{options}"')
    script = _script("gke.sh")
    names = {run.id: _kubernetes_name(f"{sweep}-{run.id}") for run in runs}
    require(len(set(names.values())) == len(names), "two rows get the same name in Kubernetes; give them shorter names")
    for run in runs:
        command = command_of(workdir, run)
        _called([str(script), options, *command[2:]], NAME=names[run.id])
        write_start(workdir, run, command, "gke")
        update_record(folder_of(workdir, run), submission=f"JobSet {names[run.id]}")
    return f"applied {len(runs)} JobSets: {', '.join(names.values())}"


def _kubernetes_name(text: str) -> str:
    """Small letters, digits and dashes; the end of a long one, which says the row and the seed."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[-_NAME_LENGTH:].strip("-")


def _script(name: str) -> Path:
    path = _SCRIPTS / name
    require(path.is_file(), f"there is no {path}; submit from a checkout of tokjax, which has the launch scripts")
    return path


def _called(words: Sequence[str], **environment: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ) | environment)
    except FileNotFoundError:
        raise ConfigError(f"there is no {words[0]} here; submit from a machine that has it, or use --launcher print") from None
    require(done.returncode == 0, f"{Path(words[0]).name} refused: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout
