"""Configuration: the defaults of every key, and `validate`.

A config is an `ml_collections.ConfigDict`. An experiment file starts from `defaults()` and changes what differs; the command line
changes single values (tokjax.experiment); `validate` refuses what cannot work before anything is allocated.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict


class ConfigError(ValueError):
    """A configuration that cannot work; the message is one sentence for the user."""


def stream(kind: str, path: str, **changes: Any) -> ConfigDict:
    """One data stream.

    Args:
      kind: "images" (a folder tree), "videos" (a folder, with or without a CSV table) or "array_record" (a glob of shards).
      path: the folder or glob.
      **changes: any of the keys below.
    """
    config = ConfigDict(
        {
            "kind": kind,
            "path": path,
            "table": "",  # videos: a CSV with a column `videos`, paths relative to `path`; "" takes every video below `path`
            "weight": 1.0,  # how often this stream is drawn, relative to the others
            "batch": 8,  # clips per step over all devices
            "frames": 1,
            "frame_rate": 0.0,  # frames per second after sampling; 0 keeps the file's own
            "frame_rule": "exact",  # "exact" keeps the interval; "vidtok" is the published rule with its end point one frame late
            "resolution": 64,  # height and width of the square crop
            "short_side": 0,  # the shorter side is resized to this first; 0 means `resolution`
            "crop": "random",  # "random" or "centre"
            "flip": True,  # half of the clips are mirrored left-right
        }
    )
    config.update(changes)
    return config


def defaults() -> ConfigDict:
    """Every key there is, with the value used where an experiment says nothing."""
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "model": {
                "family": "vidtok",
                "causality": "causal",
                "channels": 128,
                "channel_multipliers": (1, 2, 4, 4),
                "blocks_per_level": 2,
                "latent_channels": 4,
                "time_factor": 4,
                # Levels that halve a side in the encoder and double it in the decoder; () asks for the family's own choice.
                "spatial_down": (),
                "spatial_up": (),
                "time_down": (),
                "time_up": (),
                "norm": "layernorm",
                "init": "published",  # "he" trains faster from scratch, see tokjax.models.layers.Style
                "dtype": "float32",  # of the computation; parameters are always float32
                "remat": False,  # recompute each level in the backward pass instead of storing it
                "quantizer": {
                    "name": "kl",  # "kl" or "fsq"
                    "levels": (),  # fsq: codes per channel
                    "entropy_weight": 0.1,  # fsq
                    "entropy_annealing_steps": 2000,
                    "entropy_annealing_factor": 3.0,
                    "commitment_weight": 0.25,
                    "diversity_gamma": 1.0,
                },
            },
            "data": {
                "train": {},
                "validation": {},
                "workers": 0,  # processes that decode; 0 decodes in threads of the training process
                "bad_share": 0.1,  # a run stops when more than this share of a stream's records cannot be read
            },
            "loss": {
                "reconstruction": "l1",  # "l1" or "l2"
                "reconstruction_weight": 1.0,
                "regularization_weight": 1e-6,  # of the quantizer's own loss
                "perceptual_weight": 0.0,
                "adversarial_weight": 0.0,
            },
            "optimizer": {
                "name": "adam",  # "adam" or "adamw"
                "learning_rate": 1e-4,
                "schedule": "constant",  # "constant" or "cosine" (to zero at the last step)
                "warmup_steps": 0,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "clip_norm": 20.0,  # 0 does not clip
                "ema_decay": 0.0,  # 0 keeps no average
            },
            "training": {
                "steps": 1000,
                "accumulation": 1,  # micro-batches whose gradients are averaged in one step
                "log_every": 20,
                "evaluate_every": 500,
                "checkpoint_every": 500,
                "keep_checkpoints": 3,
                "nonfinite_limit": 1,  # steps in a row with a loss or gradient that is not finite before the run stops
            },
            "mesh": {"data": -1, "fsdp": 1, "context": 1},  # -1: all devices that remain
        }
    )


def nearest(key: str, known: Iterable[str]) -> str:
    """A hint that names the known key most like this one, or nothing."""
    match = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def validate(config: ConfigDict) -> None:
    """Refuses unknown keys and combinations that cannot work, each in one sentence.

    Raises:
      ConfigError
    """
    reference = defaults()
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
    "model.family": ("vidtok",),
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
