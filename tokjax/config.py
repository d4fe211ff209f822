"""Configuration: `defaults` and `stream` make one, `validate` refuses what cannot work before anything is allocated."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from tokjax.defaults import MODELS, defaults, stream


class ConfigError(ValueError):
    """A configuration that cannot work; the message is one sentence for the user."""


def nearest(key: str, known: Iterable[str]) -> str:
    """A hint that names the known key most like this one, or nothing."""
    match = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def validate(config: ConfigDict) -> None:
    """Refuses unknown keys and combinations that cannot work, each in one sentence.

    Raises:
      ConfigError
    """
    family = config.get("model", {}).get("family", "")
    _require(family in MODELS, f"config.model.family must be one of {', '.join(MODELS)}, not {family!r}{nearest(family, MODELS)}")
    reference = defaults(family)
    for split in ("train", "validation"):
        for name in config.get("data", {}).get(split, {}):
            reference.data[split][name] = stream("images", "")
    _refuse_unknown(config, reference, "config")
    _validate_model(config.model)
    _validate_choices(config)
    for split in ("train", "validation"):
        for name, one in config.data[split].items():
            _validate_stream(one, f"config.data.{split}.{name}", config)
    for name in ("perceptual_weight", "adversarial_weight"):
        _require(config.loss[name] == 0, f"config.loss.{name} must be 0: this version has no such loss yet")


def _refuse_unknown(node: ConfigDict, reference: ConfigDict, path: str) -> None:
    for key, value in node.items():
        _require(key in reference, f"unknown key {path}.{key}{nearest(key, reference)}")
        if isinstance(reference[key], ConfigDict):
            _require(isinstance(value, ConfigDict), f"{path}.{key} must be a section with the keys {', '.join(reference[key])}")
            _refuse_unknown(value, reference[key], f"{path}.{key}")
    missing = [key for key in reference if key not in node]
    _require(not missing, f"{path} lacks the key {missing[0] if missing else ''}; start from tokjax.config.defaults()")


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ConfigError(sentence)


def _validate_model(model: ConfigDict) -> None:
    """Levels, factors, norm groups and the quantizer's width agree."""
    levels = len(model.channel_multipliers)
    down = model.spatial_down or tuple(range(levels - 1))
    up = model.spatial_up or tuple(range(1, levels))
    shrink = [i for i in (model.time_down or (levels - 2, levels - 3)) if i in down]
    grow = [i for i in (model.time_up or (1, 2)) if i in up]
    _require(levels >= 2, "config.model.channel_multipliers needs at least 2 levels")
    for name in ("spatial_down", "spatial_up", "time_down", "time_up"):
        beyond = [level for level in model[name] if not 0 <= level < levels]
        _require(not beyond, f"config.model.{name} names level {beyond[:1]}, but the model has the levels 0 to {levels - 1}")
    _require(len(down) == len(up), f"config.model halves space at {len(down)} levels but doubles it at {len(up)}")
    _require(
        2 ** len(shrink) == 2 ** len(grow) == model.time_factor,
        f"config.model.time_factor is {model.time_factor}, but time is halved at levels {tuple(shrink)} and doubled at "
        f"{tuple(grow)} (only levels that also halve or double space count)",
    )
    if model.norm == "groupnorm":
        odd = [model.channels * m for m in model.channel_multipliers if model.channels * m % 32]
        _require(
            not odd, f"groupnorm has 32 groups, which do not divide the width {odd[:1]}; use norm='layernorm' or other channels"
        )
    if model.quantizer.name == "fsq":
        given = model.quantizer.levels
        _require(
            len(given) == model.latent_channels,
            f"config.model.quantizer.levels has {len(given)} entries, but fsq needs one for each of the "
            f"{model.latent_channels} latent channels",
        )
        _require(all(level >= 2 for level in given), f"config.model.quantizer.levels must be 2 or more each, not {given}")
        _require(
            math.prod(given) < 2**31, f"config.model.quantizer.levels make {math.prod(given):,} codes, more than int32 holds"
        )


_CHOICES = {
    "model.causality": ("causal",),
    "model.norm": ("layernorm", "groupnorm"),
    "model.init": ("published", "he"),
    "model.dtype": ("float32", "bfloat16"),
    "model.quantizer.name": ("kl", "fsq"),
    "loss.reconstruction": ("l1", "l2"),
    "optimizer.name": ("adam", "adamw"),
    "optimizer.schedule": ("constant", "cosine"),
}
_AT_LEAST_ONE = ("training.steps", "training.accumulation", "training.log_every", "training.evaluate_every")
_AT_LEAST_ONE += ("training.checkpoint_every", "training.keep_checkpoints", "training.nonfinite_limit")
_AT_LEAST_ONE += ("model.channels", "model.blocks_per_level", "model.latent_channels")


def _validate_choices(config: ConfigDict) -> None:
    flat = {".".join(path): value for path, value in _leaves(config)}
    for name, choices in _CHOICES.items():
        _require(
            flat[name] in choices,
            f"config.{name} must be one of {', '.join(choices)}, not {flat[name]!r}{nearest(flat[name], choices)}",
        )
    for name in _AT_LEAST_ONE:
        _require(flat[name] >= 1, f"config.{name} must be at least 1, not {flat[name]}")
    _require(0 <= config.data.bad_share <= 1, f"config.data.bad_share is a share between 0 and 1, not {config.data.bad_share}")


def _leaves(node: ConfigDict, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for key, value in node.items():
        found += _leaves(value, (*path, key)) if isinstance(value, ConfigDict) else [((*path, key), value)]
    return found


def _validate_stream(one: ConfigDict, path: str, config: ConfigDict) -> None:
    side = 2 ** len(config.model.spatial_down or config.model.channel_multipliers[1:])
    kinds = ("images", "videos", "array_record")
    _require(one.kind in kinds, f"{path}.kind must be one of {', '.join(kinds)}, not {one.kind!r}")
    _require(one.crop in ("random", "centre"), f"{path}.crop must be random or centre, not {one.crop!r}")
    _require(one.frame_rule in ("exact", "vidtok"), f"{path}.frame_rule must be exact or vidtok, not {one.frame_rule!r}")
    _require(
        one.frames >= 1 and one.batch >= 1 and one.weight > 0,
        f"{path} needs frames and batch of at least 1 and a positive weight",
    )
    _require(one.kind != "images" or one.frames == 1, f"{path} is a stream of images, so frames must be 1, not {one.frames}")
    _require(
        (one.frames - 1) % config.model.time_factor == 0,
        f"{path}.frames is {one.frames}, but this model gives back whole only clips of 1 more than a multiple of "
        f"{config.model.time_factor} frames",
    )
    _require(
        one.resolution % side == 0, f"{path}.resolution is {one.resolution}, which the model's factor {side} does not divide"
    )
    _require(
        one.resolution <= (one.short_side or one.resolution), f"{path}.short_side is smaller than the crop of {one.resolution}"
    )
    _require(
        not path.startswith("config.data.train") or one.batch % config.training.accumulation == 0,
        f"{path}.batch is {one.batch}, which config.training.accumulation {config.training.accumulation} does not divide",
    )


def to_json(config: ConfigDict) -> str:
    """The config as text; `from_json` reads it back, tuples included (they are lists in between)."""
    return json.dumps(config.to_dict(), indent=2)


def from_json(text: str) -> ConfigDict:
    """The config of `to_json`.

    Raises:
      ConfigError: another text.
    """

    def tuples(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: tuples(value) for key, value in node.items()}
        return tuple(node) if isinstance(node, list) else node

    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"this is no configuration in JSON: {error}") from error
    _require(isinstance(content, dict), f"this is no configuration: it holds a {type(content).__name__}")
    return ConfigDict(tuples(content))
