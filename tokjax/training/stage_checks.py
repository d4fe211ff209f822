"""What stages must fulfil, beyond that each one's config is valid."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from tokjax.errors import nearest, require
from tokjax.training.stages import OWN_KEYS, SECTIONS, Stage, in_order, stages_of

_INFLATIONS = ("", "sound", "average", "first")


def check_stages(config: ConfigDict) -> None:
    """Refuses stages that are no list, or that change what belongs to the whole run.

    Raises:
      ConfigError
    """
    numbers = sorted(config.stages, key=lambda key: (len(key), key))
    require(
        numbers == [str(number) for number in range(len(numbers))],
        f"config.stages has the keys {', '.join(numbers)} where 0, 1, ... belong; make the section with tokjax.config.stages()",
    )
    for number in numbers:
        _check_keys(config.stages[number], f"config.stages.{number}")
        _check_shared(config.stages[number], config, f"config.stages.{number}")
    names = [part.name for part in in_order(config)]
    require(len({*names, ""}) == len(names) + 1, f"each stage needs a name of its own; there are: {', '.join(map(repr, names))}")


def check_borders(config: ConfigDict) -> None:
    """Refuses what a stage cannot take over from the stage before it. Each stage's config has been found valid.

    Raises:
      ConfigError
    """
    stages = stages_of(config)
    for before, stage in zip([None, *stages], stages, strict=False):
        carries = stage.keep_optimizer or stage.fresh or stage.inflate
        first = f"stage {stage.name!r} is the first, so keep_optimizer, fresh and inflate have nothing to work on"
        require(before is not None or not carries, first)
        if stage.keep_optimizer:
            _check_kept_optimizer(before, stage)
        if stage.inflate:
            model = stage.config.model
            linear = model.family == before.config.model.family == "omnitokenizer" and model.embedding != "cnn"
            require(linear, f"stage {stage.name!r} has inflate, which works on an omnitokenizer without embedding 'cnn' only")


def _check_keys(part: Any, path: str) -> None:
    is_stage = isinstance(part, ConfigDict) and "name" in part
    require(is_stage, f"{path} is no stage; make it with tokjax.config.stage()")
    known = (*OWN_KEYS, *SECTIONS)
    for key, value in part.items():
        require(key in known, f"unknown key {path}.{key}{nearest(key, known)}; a stage may change {', '.join(SECTIONS)}")
        kind = ConfigDict if key in SECTIONS else type(OWN_KEYS[key])
        wanted = "section" if key in SECTIONS else f"value of type {kind.__name__}"
        require(isinstance(value, kind), f"{path}.{key} must be a {wanted}, not {value!r}")
    how = part.get("inflate", "")
    require(how in _INFLATIONS, f"{path}.inflate must be one of {', '.join(_INFLATIONS[1:])}, or empty, not {how!r}")


def _check_shared(part: ConfigDict, config: ConfigDict, path: str) -> None:
    """What stages have in common."""
    data = part.get("data", {})
    for split in ("train", "validation"):
        known = config.data[split]
        for name in data.get(split, {}):
            hint = "; a stream has to be in the config too, there with weight 0 where most stages leave it out"
            require(name in known, f"unknown stream {path}.data.{split}.{name}{nearest(name, known)}{hint}")
    for key in ("keep_checkpoints", "evaluation_metrics", "evaluation_weights", "best_metric"):
        given = key in part.get("training", {})
        require(not given, f"{path}.training.{key} cannot differ between stages; set config.training.{key}")


def _check_kept_optimizer(before: Stage, stage: Stage) -> None:
    """It has moments for the parameters of its own stage, and no others."""
    old, new = before.config.optimizer, stage.config.optimizer
    same = all(old[key] == new[key] for key in ("name", "freeze")) and bool(old.clip_norm) == bool(new.clip_norm)
    older, newer = before.config, stage.config
    theirs, new_theirs = older.discriminator_optimizer, newer.discriminator_optimizer
    same &= theirs.name == new_theirs.name and bool(theirs.clip_norm) == bool(new_theirs.clip_norm)
    same &= older.discriminator == newer.discriminator and older.loss.log_variance == newer.loss.log_variance
    same &= older.training.batches_per_update == newer.training.batches_per_update and older.model == newer.model
    require(
        same and not stage.fresh,
        f"stage {stage.name!r} cannot keep the optimizer of stage {before.name!r}: its model, discriminator, loss.log_variance, "
        "training.batches_per_update, optimizer.name, optimizer.freeze or whether gradients are clipped differ, or it has fresh "
        "parameters",
    )
