"""Configuration: `defaults` and `stream` make one, `validate` refuses what cannot work before anything is allocated."""

from __future__ import annotations

import json
import math
from typing import Any

from ml_collections import ConfigDict

from tokjax.checks import check_clip, check_model
from tokjax.defaults import GENERATORS, defaults, stage, stages, stream
from tokjax.errors import ConfigError, nearest, require
from tokjax.generator_checks import check_token_losses, check_token_stream
from tokjax.known_keys import completed, refuse_unknown
from tokjax.loss_checks import check_judges, check_losses
from tokjax.stream_checks import check_stream
from tokjax.training.stage_checks import check_borders, check_stages
from tokjax.training.stages import stage_configs

__all__ = ["ConfigError", "defaults", "from_json", "nearest", "stage", "stages", "stream", "to_json", "validate"]


def validate(config: ConfigDict) -> None:
    """Refuses unknown keys and combinations that cannot work, each in one sentence.

    Raises:
      ConfigError
    """
    refuse_unknown(config)
    check_stages(config)
    for number, own in enumerate(stage_configs(config)):
        where = f"stage {config.stages[str(number)].name!r}: " if config.stages else ""
        try:
            refuse_unknown(own)
            _validate_values(own)
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from error
    check_borders(config)


def _validate_values(config: ConfigDict) -> None:
    check_model(config.model)
    _validate_choices(config)
    _validate_ranges(config)
    for split in ("train", "validation"):
        for name, one in config.data[split].items():
            _validate_stream(one, f"config.data.{split}.{name}", config)
    (check_token_losses if config.model.family in GENERATORS else check_losses)(config)


_CHOICES = {
    "loss.reconstruction": ("l1", "l2"),
    "loss.reduction": ("frame", "mean"),
    "loss.perceptual_network": ("vgg16", "alexnet"),
    "loss.frames": ("all", "one"),
    "loss.adversarial": ("hinge", "vanilla", "non_saturating", "hinge_cross_entropy", "vanilla_cross_entropy"),
    "discriminator.kind": ("", "vidtok_2d", "vidtok_3d", "omni_image", "omni_video", "omni"),
    "discriminator.norm": ("batch", "group"),
    "discriminator.activation": ("leaky_relu", "tanh"),
    "discriminator.dtype": ("float32", "bfloat16"),
    "training.mode": ("sound", "published"),
}
_OPTIMIZERS = ("optimizer", "discriminator_optimizer")
_CHOICES |= {f"{one}.name": ("adam", "adamw") for one in _OPTIMIZERS}
_CHOICES |= {f"{one}.weight_decay_of": ("all", "kernels") for one in _OPTIMIZERS}
_CHOICES |= {f"{one}.schedule": ("constant", "cosine", "omnitokenizer") for one in _OPTIMIZERS}
_AT_LEAST_ONE = ("training.steps", "training.accumulation", "training.log_every", "training.evaluate_every")
_AT_LEAST_ONE += ("training.checkpoint_every", "training.keep_checkpoints", "training.nonfinite_limit")
_AT_LEAST_ONE += ("training.batches_per_update", "discriminator.width", "discriminator.layers")
_OF_EACH = ("learning_rate_min", "warmup_steps", "warmup_from", "weight_decay", "clip_norm")
_OF_LOSS = ("reconstruction", "laplace", "regularization", "perceptual", "adversarial", "image", "video", "lecam")
_ABOVE_ZERO = tuple(f"{one}.{name}" for one in _OPTIMIZERS for name in ("learning_rate", "eps"))
_ABOVE_ZERO += ("loss.perceptual_range", "loss.adaptive_limit", "data.slow_seconds")
_AT_LEAST_ZERO = tuple(f"{one}.{name}" for one in _OPTIMIZERS for name in _OF_EACH)
_AT_LEAST_ZERO += tuple(f"loss.{name}_weight" for name in (*_OF_LOSS, "feature_matching"))
_AT_LEAST_ZERO += ("loss.adversarial_start", "loss.adversarial_ramp", "loss.discriminator_start")
_AT_LEAST_ZERO += ("data.workers", "discriminator_optimizer.skip_below")
_BELOW_ONE = (*(f"{one}.{name}" for one in _OPTIMIZERS for name in ("b1", "b2")), "optimizer.ema_decay")


def _validate_choices(config: ConfigDict) -> None:
    flat = {".".join(path): value for path, value in _leaves(config)}
    for name, choices in _CHOICES.items():
        require(
            flat[name] in choices,
            f"config.{name} must be one of {', '.join(filter(None, choices))}{', or empty' * ('' in choices)}, not "
            f"{flat[name]!r}{nearest(flat[name], choices)}",
        )
    for name in _AT_LEAST_ONE:
        require(flat[name] >= 1, f"config.{name} must be at least 1, not {flat[name]}")


def _validate_ranges(config: ConfigDict) -> None:
    flat = {".".join(path): value for path, value in _leaves(config)}
    for name in _ABOVE_ZERO:
        require(0 < flat[name] < math.inf, f"config.{name} must be above 0 and finite, not {flat[name]}")
    for name in _AT_LEAST_ZERO:
        require(0 <= flat[name] < math.inf, f"config.{name} must be 0 or more and finite, not {flat[name]}")
    for name in _BELOW_ONE:
        require(0 <= flat[name] < 1, f"config.{name} must be 0 or more and below 1, not {flat[name]}")
    require(0 <= config.data.bad_share <= 1, f"config.data.bad_share is a share between 0 and 1, not {config.data.bad_share}")
    for one in _OPTIMIZERS:
        rate, least = config[one].learning_rate, config[one].learning_rate_min
        require(least <= rate, f"config.{one}.learning_rate_min is {least}, which is above the learning_rate of {rate}")


def _leaves(node: ConfigDict, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for key, value in node.items():
        found += _leaves(value, (*path, key)) if isinstance(value, ConfigDict) else [((*path, key), value)]
    return found


def _validate_stream(one: ConfigDict, path: str, config: ConfigDict) -> None:
    check_stream(one, path)
    if config.model.family in GENERATORS:
        return check_token_stream(one, path, config)
    require(one.kind != "tokens", f"{path} is a cache of tokens, which a tokenizer does not learn from; give it images or videos")
    check_clip(one.frames, one.resolution, path, config.model)
    if path.startswith("config.data.train"):
        check_judges(one.resolution, path, config)
    require(
        not path.startswith("config.data.train") or one.batch % config.training.accumulation == 0,
        f"{path}.batch is {one.batch}, which config.training.accumulation {config.training.accumulation} does not divide",
    )


def to_json(config: ConfigDict) -> str:
    """The config as text; `from_json` reads it back, tuples included (they are lists in between)."""
    return json.dumps(config.to_dict(), indent=2)


def from_json(text: str) -> ConfigDict:
    """The config of `to_json`, with the defaults of keys that did not exist yet when it was written.

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
    require(isinstance(content, dict), f"this is no configuration: it holds a {type(content).__name__}")
    return completed(ConfigDict(tuples(content)))
