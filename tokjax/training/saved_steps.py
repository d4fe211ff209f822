"""The folders of saved steps: which saves finished, which are intact, and how one goes away.

A step is `<directory>/<step>`. A finished save has its digests; a folder without them is a save that was cut short.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokjax.training import digests

_log = logging.getLogger(__name__)
_DAMAGED = ".damaged"


class CheckpointError(RuntimeError):
    """A checkpoint that could not be written, read or believed; the message is one sentence for the user."""


@contextlib.contextmanager
def reported(what: str) -> Iterator[None]:
    """Turns whatever orbax, the disk or JSON raise into a CheckpointError of one sentence."""
    try:
        yield
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{what}: {reason}") from error


def prepare(directory: Path) -> None:
    """Creates the directory and removes saves that were cut short.

    Raises:
      CheckpointError: it cannot be written.
    """
    with reported(f"cannot write checkpoints to {directory}; choose another workdir"):
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError("this user may only read it")
        for path in directory.glob("[0-9]*"):  # <step>, or <step>.<the suffix orbax writes under>
            if not path.name.endswith(_DAMAGED) and not (path / digests.NAME).exists():
                _log.warning("removed %s, a checkpoint whose save never finished (it has no %s)", path, digests.NAME)
                shutil.rmtree(path)


def finished_steps(directory: Path) -> list[int]:
    """The steps whose save finished, oldest first."""
    names = [path.name for path in directory.glob("*") if path.name.isdecimal() and (path / digests.NAME).exists()]
    return sorted(int(name) for name in names)


def newest_intact(directory: Path, steps: Iterable[int]) -> tuple[int | None, dict[int, str]]:
    """Compares files with digests, newest step first.

    Returns:
      The newest step without damage, or None; and the damage of the steps newer than it.

    Raises:
      CheckpointError: this user may not read a file.
    """
    damage: dict[int, str] = {}
    for step in sorted(steps, reverse=True):
        with reported(f"cannot read step {step} in {directory}"):
            reason = digests.find_damage(directory / str(step))
        if reason is None:
            return step, damage
        damage[step] = reason
    return None, damage


def all_damaged(directory: Path, damage: dict[int, str], advice: str) -> CheckpointError:
    """The error to raise where no step can be used."""
    reasons = "; ".join(f"step {step}: {reason}" for step, reason in damage.items()) or "the first process says which files"
    return CheckpointError(f"no intact checkpoint in {directory} ({reasons}); {advice}")


def remove_step(directory: Path, step: int) -> None:
    """Digests go first: a kill in between leaves a step that is known to be incomplete."""
    (directory / str(step) / digests.NAME).unlink()
    shutil.rmtree(directory / str(step))


def set_aside(directory: Path, step: int) -> Path:
    """Moves a damaged step out of the way, for a person to look at, and returns where it is."""
    target = directory / f"{step}{_DAMAGED}"
    if target.exists():
        shutil.rmtree(target)
    return (directory / str(step)).rename(target)
