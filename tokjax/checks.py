"""What a model's section of the configuration must fulfil, family by family."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tokjax.defaults import GENERATORS
from tokjax.errors import nearest, require
from tokjax.generator_checks import check_generator

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_CHOICES = {
    "vidtok": {
        "causality": ("causal", "causal_v1_1", "noncausal"),
        "architecture": ("published", "full_3d", "no_blender", "no_3d"),
        "norm": ("layernorm", "groupnorm"),
        "init": ("published", "he"),
    },
    "omnitokenizer": {
        "mode": ("published", "sound"),
        "position": ("rope", "relative"),
        "attention": ("fused", "explicit"),
        "embedding": ("linear", "plain", "cnn"),
        "init": ("published", "vit"),
    },
}
_AT_LEAST_ONE = {
    "vidtok": ("channels", "blocks_per_level"),
    "omnitokenizer": ("width", "heads", "head_width", "patch", "temporal_depth", "window", "upscale"),
}


def check_model(model: ConfigDict) -> None:
    """Refuses what cannot work.

    Raises:
      ConfigError
    """
    if model.family in GENERATORS:
        return check_generator(model)
    choices = _CHOICES[model.family] | {"dtype": ("float32", "bfloat16")}
    for name, known in choices.items():
        _check_choice(f"config.model.{name}", model[name], known)
    _check_choice("config.model.quantizer.name", model.quantizer.name, ("kl", "fsq", "lfq", "vq", "none"))
    for name in (*_AT_LEAST_ONE[model.family], "latent_channels", "time_factor"):
        require(model[name] >= 1, f"config.model.{name} must be at least 1, not {model[name]}")
    {"vidtok": _check_vidtok, "omnitokenizer": _check_omnitokenizer}[model.family](model)
    _check_quantizer(model.quantizer, model.latent_channels)


def _check_choice(path: str, value: str, known: tuple[str, ...]) -> None:
    require(value in known, f"{path} must be one of {', '.join(known)}, not {value!r}{nearest(value, known)}")


def check_clip(frames: int, resolution: int, path: str, model: ConfigDict) -> None:
    """Training compares a clip with its reconstruction, so the model has to give all of it back.

    Raises:
      ConfigError
    """
    _check_length(frames, path, model)
    side = _side_unit(model)
    require(resolution % side == 0, f"{path}.resolution is {resolution}, which the model's factor {side} does not divide")
    upscale = model.get("upscale", 1)
    require(
        upscale == 1,
        f"{path} cannot be compared with its reconstruction, which config.model.upscale makes {upscale} times as large",
    )


def _side_unit(model: ConfigDict) -> int:
    """What divides the sides of frames that need no padding."""
    if model.family == "vidtok":
        return 2 ** len(model.spatial_down or model.channel_multipliers[1:])
    windows = "w" in model.encoder_blocks + model.decoder_blocks
    return model.patch * 2 ** sum(letter in "aml" for letter in model.encoder_blocks) * (model.window if windows else 1)


def _check_length(frames: int, path: str, model: ConfigDict) -> None:
    factor, causality = model.time_factor, model.get("causality", "causal")
    if causality == "causal_v1_1":
        return  # it pads by itself
    whole, lengths = (
        (frames % factor == 0, "a multiple")
        if causality == "noncausal"
        else ((frames - 1) % factor == 0, "1 more than a multiple")
    )
    require(whole, f"{path}.frames is {frames}, but this model gives back whole only clips of {lengths} of {factor} frames")


def _check_vidtok(model: ConfigDict) -> None:
    """Levels, factors and norm groups agree."""
    levels = len(model.channel_multipliers)
    down = model.spatial_down or tuple(range(levels - 1))
    up = model.spatial_up or tuple(range(1, levels))
    shrink = [i for i in (model.time_down or (levels - 2, levels - 3)) if i in down]
    grow = [i for i in (model.time_up or (1, 2)) if i in up]
    require(levels >= 2, "config.model.channel_multipliers needs at least 2 levels")
    for name in ("spatial_down", "spatial_up", "time_down", "time_up"):
        beyond = [level for level in model[name] if not 0 <= level < levels]
        require(not beyond, f"config.model.{name} names level {beyond[:1]}, but the model has the levels 0 to {levels - 1}")
    require(len(down) == len(up), f"config.model halves space at {len(down)} levels but doubles it at {len(up)}")
    require(
        2 ** len(shrink) == 2 ** len(grow) == model.time_factor,
        f"config.model.time_factor is {model.time_factor}, but time is halved at levels {tuple(shrink)} and doubled at "
        f"{tuple(grow)} (only levels that also halve or double space count)",
    )
    require(
        model.architecture == "published" or model.causality == "causal",
        f"config.model.architecture {model.architecture!r} is an ablation of the causal model; it needs causality='causal', not "
        f"{model.causality!r}",
    )
    if model.norm == "groupnorm":
        odd = [model.channels * m for m in model.channel_multipliers if model.channels * m % 32]
        require(
            not odd, f"groupnorm has 32 groups, which do not divide the width {odd[:1]}; use norm='layernorm' or other channels"
        )


def _check_omnitokenizer(model: ConfigDict) -> None:
    """Letters, widths and factors agree."""
    for name, letters in (("encoder_blocks", "twaml"), ("decoder_blocks", "twnr")):
        unknown = [letter for letter in model[name] if letter not in letters]
        require(
            model[name] and not unknown, f"config.model.{name} is {model[name]!r}; it is made of the letters {', '.join(letters)}"
        )
    halved = sum(letter in "aml" for letter in model.encoder_blocks)
    doubled = sum(letter in "nr" for letter in model.decoder_blocks)
    require(halved == doubled, f"config.model halves the grid {halved} times but doubles it {doubled} times")
    require(
        model.position != "rope" or model.head_width % 4 == 0,
        f"config.model.head_width is {model.head_width}, but position='rope' needs a multiple of 4",
    )
    require(
        "w" not in model.encoder_blocks + model.decoder_blocks or model.width % model.heads == 0,
        f"config.model.width is {model.width}, which the {model.heads} heads of window attention do not divide",
    )
    deferred = {"defer_time_pool": "time_factor", "defer_space_pool": "patch"}
    for name, factor in deferred.items():
        require(not model[name] or model[factor] % 2 == 0, f"config.model.{name} halves {factor}, which is {model[factor]}")
        require(not model[name] or model.embedding == "linear", f"config.model.{name} works with embedding='linear' only")
    require(
        model.mode == "published" or model.position == "rope" or model.attention == "explicit",
        "config.model.position='relative' takes no part in attention='fused'; choose attention='explicit' or position='rope'",
    )


def _check_quantizer(q: ConfigDict, latent_channels: int) -> None:
    """The number of codes, their width and the latents' agree, and the codebook is trained in one way."""
    path = "config.model.quantizer"
    coded = q.name in ("fsq", "lfq", "vq")
    require(
        q.num_codebooks >= 1 and q.codebook_width >= 0,
        f"{path} needs num_codebooks of at least 1 and a codebook_width of 0 or more",
    )
    require(
        coded or (q.num_codebooks, q.codebook_width) == (1, 0),
        f"{path}.name is {q.name!r}, which has no codes: leave num_codebooks at 1 and codebook_width at 0",
    )
    require(q.name == "fsq" or not q.levels, f"{path}.levels is read by fsq only; leave it empty for {q.name}")
    require(
        q.codebook_width > 0 or latent_channels % q.num_codebooks == 0,
        f"{path}.num_codebooks is {q.num_codebooks}, which does not divide the {latent_channels} latent channels; set "
        "codebook_width to project them",
    )
    width = q.codebook_width or latent_channels // q.num_codebooks
    if q.name == "fsq":
        _check_fsq(q, width, path)
    elif q.name == "lfq":
        require(
            0 < width < 31 and q.codebook_size == 2**width,
            f"{path}.codebook_size is {q.codebook_size:,}, but lfq has 2 ** {width} = {2**width:,} codes of {width} channels, at "
            "most 2 ** 30",
        )
    elif q.name == "vq":
        _check_vq(q, path)


def _check_fsq(q: ConfigDict, width: int, path: str) -> None:
    require(q.codebook_size == 0, f"{path}.codebook_size is not read by fsq, whose codes follow from levels; leave it at 0")
    require(
        len(q.levels) == width,
        f"{path}.levels has {len(q.levels)} entries, but fsq needs one for each of the {width} "
        f"{'channels of a code' if q.codebook_width or q.num_codebooks > 1 else 'latent channels'}",
    )
    require(all(level >= 2 for level in q.levels), f"{path}.levels must be 2 or more each, not {q.levels}")
    require(math.prod(q.levels) < 2**31, f"{path}.levels make {math.prod(q.levels):,} codes, more than int32 holds")


def _check_vq(q: ConfigDict, path: str) -> None:
    require(2 <= q.codebook_size < 2**31, f"{path}.codebook_size is {q.codebook_size}, but vq needs from 2 to 2 ** 31 - 1 codes")
    require(0 <= q.ema_decay < 1, f"{path}.ema_decay must be 0 or more and below 1, not {q.ema_decay}")
    require(
        not (q.ema_decay and q.codebook_weight),
        f"{path} has both ema_decay {q.ema_decay} and codebook_weight {q.codebook_weight}: codes are moving averages or learn by "
        "gradients, so set one of the two to 0",
    )
    require(
        q.ema_decay > 0 or not (q.data_init or q.restart_threshold),
        f"{path}.data_init and restart_threshold work on moving averages only; set ema_decay, or leave them off",
    )
