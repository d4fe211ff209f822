"""Checkpoints of a run: written by orbax in the background, and trusted only where every file still has its digest.

Orbax writes a step under another name and renames it when all processes are done; then its files are put on the disk and their
digests added; only then are older steps removed. So a kill at any moment leaves the steps before it whole.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from tokjax.training.digests import write_digests
from tokjax.training.saved_steps import (
    CheckpointError,
    all_damaged,
    finished_steps,
    newest_intact,
    prepare,
    remove_step,
    reported,
    set_aside,
)

_log = logging.getLogger(__name__)
_ORBAX_LOG = logging.getLogger("absl")
_SLOWEST_DIGESTS = 20 * 60 * 1000  # milliseconds


@dataclasses.dataclass(frozen=True)
class Restored:
    """Attributes:
    step: the step it was saved under.
    state: as the abstract state it was restored for.
    record: what was saved beside the state.
    """

    step: int
    state: Any
    record: dict[str, Any]


class Checkpoints:
    """Saves and restores the state of one run. In a run of several processes each makes one and calls it at the same points."""

    def __init__(self, directory: Path, keep: int = 3) -> None:
        """Creates the directory and removes saves that never finished.

        Raises:
          CheckpointError: the directory cannot be written.
        """
        self._directory, self._keep, self._leader = Path(directory).absolute(), keep, jax.process_index() == 0
        self.protected: int | None = None  # a step that is never removed
        if self._leader:
            prepare(self._directory)
        self._orbax = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self._background = ThreadPoolExecutor(1, "checkpoints")
        self._everywhere = ocp.multihost.get_barrier_sync_fn()
        self._pending: tuple[int, Future] | None = None
        self._latest: int | None = None

    def steps(self) -> list[int]:
        """The steps whose save finished, oldest first."""
        return finished_steps(self._directory)

    def save(self, step: int, state: Any, record: dict[str, Any]) -> None:
        """Copies the state from the devices and returns; the rest happens in the background. Waits for the save before it.

        The step that was saved or restored last is left as it is.

        Args:
          state: a pytree of arrays; the caller may donate them afterwards.
          record: what JSON can hold.

        Raises:
          CheckpointError: this save could not start, or the one before it failed.
        """
        self.wait()
        if step == self._latest:
            return
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        _ORBAX_LOG.addFilter(_is_not_raised_too)
        with self._saving(step):
            self._orbax.save(self._directory / str(step), args=items)
        self._pending = step, self._background.submit(self._finish, step)

    def check(self) -> None:
        """Raises what went wrong in the background, without waiting.

        Raises:
          CheckpointError: as of a full disk; the steps saved before are intact.
        """
        if self._pending and self._pending[1].done():
            with self._saving(self._pending[0]):
                self._pending[1].result()

    def wait(self) -> None:
        """Waits until the last save is complete in all processes.

        Raises:
          CheckpointError: it failed.
        """
        if not self._pending:
            return
        (step, future), self._pending = self._pending, None
        try:
            with self._saving(step):
                future.result()
        finally:
            _ORBAX_LOG.removeFilter(_is_not_raised_too)
        self._latest = step

    def close(self) -> None:
        """Waits, then ends the background threads."""
        try:
            self.wait()
        finally:
            self._background.shutdown()
            self._orbax.close()

    def newest(self) -> int | None:
        """The newest step whose files are all as they were written, or None where nothing was saved.

        A newer step that is damaged is named in a warning and moved to `<step>.damaged`.

        Raises:
          CheckpointError: every step is damaged.
        """
        # The first process reads and decides for all.
        step, damage = newest_intact(self._directory, self.steps()) if self._leader else (None, {})
        code = step if step is not None else -2 if damage else -1
        code = int(multihost_utils.broadcast_one_to_all(np.int32(code)))
        if code == -2:
            raise all_damaged(self._directory, damage, "bring one back from a copy, or remove the directory to begin anew")
        for bad, reason in damage.items():
            moved = set_aside(self._directory, bad)
            _log.warning(
                "the checkpoint of step %d is damaged: %s; step %d is used instead, %s is kept aside", bad, reason, code, moved
            )
        return None if code == -1 else code

    def restore(self, state: Any, step: int) -> Restored:
        """What was saved at the step that `newest` gave.

        Args:
          state: a pytree of `jax.ShapeDtypeStruct` with shardings, on any mesh; it need not be the one that was saved from.

        Raises:
          CheckpointError: the state has other parameters, shapes or dtypes than were saved.
        """
        path = self._directory / str(step)
        _require_same_arrays(path, state)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(state), record=ocp.args.JsonRestore())
        restored = self._orbax.restore(path, args=items)
        self._latest = step
        return Restored(step, restored["state"], restored["record"])

    def _finish(self, step: int) -> None:
        self._orbax.wait_until_finished()
        if self._leader:
            write_digests(self._directory / str(step))
            for old in self.steps()[: -self._keep]:
                if old != self.protected:
                    remove_step(self._directory, old)
        self._everywhere(key=f"digests of step {step}", timeout_ms=_SLOWEST_DIGESTS)

    def _saving(self, step: int) -> Any:
        return reported(f"saving step {step} to {self._directory} failed; the steps saved before it are intact")


def _is_not_raised_too(record: logging.LogRecord) -> bool:
    """A failed save reaches the caller as one sentence; orbax also logs it with a traceback from each of its threads."""
    return not (record.exc_info and "orbax" in Path(record.pathname).parts)


def read(
    directory: Path, step: int | None = None, keys: Sequence[str] | Callable[[int], Sequence[str]] = ("params",)
) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Parts of a saved state, such as its parameters, without knowing the rest. Changes nothing in the directory.

    Args:
      directory: of `Checkpoints`.
      step: None takes the newest that is intact.
      keys: top-level names of the state, or a function from the step to them; a part that was saved as None is None.

    Returns:
      (step, {key: pytree of numpy arrays}, record)

    Raises:
      CheckpointError: no such step or key, or the step is damaged.
    """
    directory = Path(directory).absolute()
    saved = finished_steps(directory)
    if not saved or step not in (None, *saved):
        wanted = "" if step is None else f" of step {step}"
        raise CheckpointError(
            f"there is no checkpoint{wanted} in {directory}; saved steps: {', '.join(map(str, saved)) or 'none'}"
        )
    chosen, damage = newest_intact(directory, saved if step is None else [step])
    if chosen is None:
        raise all_damaged(directory, damage, "bring one back from a copy")
    for bad, reason in damage.items():
        _log.warning("the checkpoint of step %d is damaged: %s; step %d is used instead", bad, reason, chosen)
    path = directory / str(chosen)
    parts = _read_parts(path, keys(chosen) if callable(keys) else keys)
    return chosen, parts, json.loads((path / "record" / "metadata").read_text())


def _read_parts(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    with _state_reader() as orbax:
        saved = orbax.metadata(path).item_metadata["state"].tree
        missing = [key for key in keys if key not in saved]
        if missing:
            raise CheckpointError(f"the state in {path} has no part {missing[0]!r}; it has: {', '.join(saved)}")
        parts = {key: saved[key] for key in keys}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), parts)
        items = ocp.args.Composite(state=ocp.args.PyTreeRestore(parts, as_numpy, partial_restore=True))
        return orbax.restore(path, args=items)["state"]


def _state_reader() -> ocp.Checkpointer:
    """Reads the state of a step without being told its structure."""
    handlers = ocp.CompositeCheckpointHandler(state=ocp.PyTreeCheckpointHandler(), record=ocp.JsonCheckpointHandler())
    return ocp.Checkpointer(handlers)


def _require_same_arrays(path: Path, wanted: Any) -> None:
    """Orbax would cast another dtype silently and speak of other shapes at length."""
    with _state_reader() as orbax:
        here, there = _described(wanted), _described(orbax.metadata(path).item_metadata["state"].tree)
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            raise CheckpointError(
                f"the checkpoint {path} does not fit this run: {name} is {there.get(name, 'absent')} in the checkpoint but "
                f"{here.get(name, 'absent')} here; continue with the configuration it was saved with, or use another workdir"
            )


def _described(tree: Any) -> dict[str, str]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
