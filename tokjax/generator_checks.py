"""What the configuration of a model of tokens must fulfil: its own section, and the streams and losses beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tokjax.errors import nearest, require

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_CHOICES = {
    "language_model": {"mode": ("sound", "published"), "block": ("modern", "published")},
    "diffusion": {"prediction": ("noise", "flow")},
}
_TOKEN_LOSSES = ("adversarial_weight", "perceptual_weight", "lecam_weight", "feature_matching_weight", "laplace_weight")


def check_generator(model: ConfigDict) -> None:
    """Refuses what cannot work.

    Raises:
      ConfigError
    """
    for name, known in (_CHOICES[model.family] | {"dtype": ("float32", "bfloat16")}).items():
        sentence = f"config.model.{name} must be one of {', '.join(known)}, not {model[name]!r}{nearest(model[name], known)}"
        require(model[name] in known, sentence)
    for name in ("width", "depth", "heads", *(("codes",) if model.family == "language_model" else ("channels", "patch"))):
        require(model[name] >= 1, f"config.model.{name} must be at least 1, not {model[name]}")
    grid = model.grid
    require(len(grid) == 3 and min(grid) >= 1, f"config.model.grid must be (frames, rows, columns) of tokens, not {grid}")
    require(model.classes >= 0, f"config.model.classes must be 0 or more, not {model.classes}")
    require(0 <= model.condition_dropout <= 1, f"config.model.condition_dropout is a share, not {model.condition_dropout}")
    require(model.width % model.heads == 0, f"config.model.width is {model.width}, which the {model.heads} heads do not divide")
    {"language_model": _check_language_model, "diffusion": _check_diffusion}[model.family](model)


def _check_language_model(model: ConfigDict) -> None:
    published, channels = model.mode == "published", model.width // model.heads
    require(
        model.block == "published" or (not published and channels % 2 == 0 and channels >= 8),
        "config.model.block='modern' rotates pairs of channels by places in the grid: it needs mode='sound' and heads of an even "
        f"width of 8 or more, not mode={model.mode!r} and a width of {channels}",
    )
    require(
        published or not (model.start_token or model.class_first),
        "config.model.start_token and class_first belong to mode='published'; leave them False",
    )
    require(
        not (model.start_token or model.class_first) or model.classes > 0,
        "config.model.start_token and class_first belong to a model of classes; set config.model.classes, or leave them False",
    )
    if model.factors:
        require(
            not published and min(model.factors) >= 2 and math.prod(model.factors) == model.codes,
            f"config.model.factors {tuple(model.factors)} write codes in digits, in mode='sound' only; their product must be the "
            f"{model.codes:,} codes",
        )
    needed = (2 if published and model.classes and model.start_token else 1) + math.prod(model.grid) - 1
    require(
        model.positions == 0 or model.positions >= needed,
        f"config.model.positions is {model.positions}, but training needs {needed}; leave it at 0",
    )


def _check_diffusion(model: ConfigDict) -> None:
    _, height, width = model.grid
    require(
        height % model.patch == 0 and width % model.patch == 0,
        f"config.model.grid is {tuple(model.grid)}, whose sides patches of {model.patch} do not divide",
    )
    require(model.width % 4 == 0, f"config.model.width is {model.width}, but tables of places need a multiple of 4")
    require(
        model.prediction == "noise" or not model.learned_range,
        "config.model.learned_range learns the variance of noise; with prediction='flow' set it to False",
    )
    require(0 <= model.scaling < math.inf, f"config.model.scaling must be 0 or more and finite, not {model.scaling}")


def check_token_stream(one: ConfigDict, path: str, config: ConfigDict) -> None:
    """A stream for a model of tokens: a cache, or clips for the tokenizer of `config.data.tokenizer`.

    Raises:
      ConfigError
    """
    made = one.kind == "tokens" or bool(config.data.tokenizer)
    require(
        made,
        f"{path} is a stream of {one.kind}, but a {config.model.family} learns from tokens: name a cache (kind 'tokens', which "
        "`tokjax encode MODEL --data ... --output DIR` writes), or a tokenizer in config.data.tokenizer",
    )
    require(
        one.batch % config.training.accumulation == 0,
        f"{path}.batch is {one.batch}, which config.training.accumulation {config.training.accumulation} does not divide",
    )


def check_token_losses(config: ConfigDict) -> None:
    """Refuses losses of pixels, which a model of tokens has none of.

    Raises:
      ConfigError
    """
    for name in _TOKEN_LOSSES:
        require(not config.loss[name], f"config.loss.{name} is {config.loss[name]}, but a {config.model.family} sees no pixels")
    require(not config.discriminator.kind, f"config.discriminator.kind is set, but a {config.model.family} sees no pixels")
    require(not config.loss.log_variance, "config.loss.log_variance is of reconstructions, which a model of tokens makes none of")
    require(config.training.mode == "sound", "config.training.mode='published' is of discriminators; a model of tokens has none")
    measured = config.model.family == "diffusion" and not config.model.scaling and config.data.train
    cached = any(one.kind == "tokens" for one in config.data.train.values())
    require(
        not measured or cached,
        "config.model.scaling=0 takes the latents' mean and deviation from a cache, but config.data.train has none; add one, "
        "with weight 0 where it is for that alone (`tokjax encode MODEL --data` makes it), or set config.model.scaling",
    )
