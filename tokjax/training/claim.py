"""A workdir belongs to one configuration: a run that is continued computes what it computed before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tokjax.config import from_json, to_json
from tokjax.errors import ConfigError
from tokjax.training.saved_steps import finished_steps
from tokjax.training.stages import OWN_KEYS, Stage, stage_of, stages_of
from tokjax.training.workdir import write_atomically

# How long, how often and where a run computes may change, and where a file lies whose digest is checked.
_FREE = ("training.", "mesh.", "data.workers", "data.bad_share", "data.validation.", "name", "loss.perceptual_weights_file")
_FREE += ("data.tokenizer",)
_KEPT = ("training.mode", "training.batches_per_update")


def claim_workdir(config: ConfigDict, workdir: Path, leader: bool) -> None:
    """Writes the config into the workdir, after a check that a run saved there trains the same thing.

    Raises:
      ConfigError: it does not.
    """
    path, saved = workdir / "config.json", finished_steps(workdir / "checkpoints")
    if path.exists() and saved:
        _refuse_other_config(from_json(path.read_text()), config, saved[-1], workdir)
    if leader:
        write_atomically(path, to_json(config))


def _refuse_other_config(old: ConfigDict, new: ConfigDict, saved: int, workdir: Path) -> None:
    """What a run computes must not change in the stages it has begun; those to come may."""
    begun = stages_of(old)[: stage_of(stages_of(old), saved).number + 1]
    now = stages_of(new)
    for before in begun:
        if before.number >= len(now):
            raise ConfigError(f"{workdir} holds a run that has begun stage {before.name!r}, which this config has not")
        after = now[before.number]
        _refuse_other_values(before, after, workdir)
        over = before.number < begun[-1].number
        if after.end != before.end if over else after.end < saved and after is not now[-1]:
            raise ConfigError(
                f"{workdir} holds a run whose stage {before.name!r} has taken {min(saved, before.end) - before.begin} of its "
                f"{before.end - before.begin} steps, so that config.stages.{before.number}.training.steps cannot be "
                f"{after.end - after.begin}"
            )


def _refuse_other_values(old: Stage, new: Stage, workdir: Path) -> None:
    before, after = _values(old), _values(new)
    where = f" in stage {old.name!r}" if old.name else ""
    for key in sorted(before.keys() | after.keys()):
        if (key in _KEPT or not key.startswith(_FREE)) and before.get(key) != after.get(key):
            raise ConfigError(
                f"{workdir} holds a run with another config: config.{key}{where} is {before.get(key)!r} there and "
                f"{after.get(key)!r} here; give another --workdir"
            )


def _values(stage: Stage) -> dict[str, Any]:
    own = {f"stages.{stage.number}.{key}": getattr(stage, key) for key in OWN_KEYS if key != "name"}
    return _flat(stage.config.to_dict()) | own


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
