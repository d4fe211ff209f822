"""Hugging Face diffusers' `AutoencoderVidTok` directories, both ways: config.json and diffusion_pytorch_model.safetensors.

The class holds the causal v1.1 and the non-causal models with KL or FSQ. Its tensors have the names and shapes of the original's.
Given the same frames it computes the same, but around the model it differs: its causal `decode` always drops the first f-1 frames
(f is the time factor); its `forward` puts f-1 frames in front whatever the length, and fills up at the end; its non-causal model
takes multiples of 16 frames only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tokjax.config import ConfigError
from tokjax.conversion.foreign_values import typed
from tokjax.conversion.vidtok_yaml import published_config

CLASS = "AutoencoderVidTok"
WEIGHTS = "diffusion_pytorch_model.safetensors"

_KEYS = {
    "ch": "channels",
    "ch_mult": "channel_multipliers",
    "num_res_blocks": "blocks_per_level",
    "z_channels": "latent_channels",
}
_POSITIONS = {"spatial_ds": "spatial_down", "spatial_us": "spatial_up", "tempo_ds": "time_down", "tempo_us": "time_up"}


def config_from_diffusers(directory: Path) -> ConfigDict:
    """Our config of the model in a directory.

    Raises:
      ConfigError: it holds another class, or its config.json cannot be read. OSError.
    """
    path = directory / "config.json"
    try:
        theirs = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: it is no JSON ({error})") from error
    name = theirs.get("_class_name") if isinstance(theirs, dict) else None
    if name != CLASS:
        raise ConfigError(f"{path} describes {name or 'no class'}, not {CLASS} of diffusers")
    for key in (*_KEYS, "is_causal", "regularizer"):
        if key not in theirs:
            raise ConfigError(f"{path} lacks the key {key}")
    if (theirs.get("in_channels", 3), theirs.get("out_channels", 3)) != (3, 3):
        raise ConfigError(f"{path}: in_channels and out_channels must be 3")
    config = published_config(directory.resolve().name, "causal_v1_1" if theirs["is_causal"] else "noncausal")
    _fill(config.model, theirs, path)
    return config


def _fill(model: ConfigDict, theirs: Mapping[str, Any], path: Path) -> None:
    for key, ours in (_KEYS | _POSITIONS).items():
        value = theirs.get(key)
        model[ours] = typed(f"{path}: {key}", () if value is None else value, model[ours])
    model.time_factor = 2 ** len(model.time_down) if model.time_down else 4
    if theirs["regularizer"] == "fsq":
        model.quantizer.name, model.quantizer["levels"] = "fsq", (8,) * model.latent_channels
    elif theirs["regularizer"] != "kl":
        raise ConfigError(f"{path}: the regularizer must be kl or fsq, not {theirs['regularizer']!r}")


def config_for_diffusers(model: ConfigDict) -> dict[str, Any]:
    """The config.json of a model of ours.

    Raises:
      ConfigError: a model that diffusers cannot compute.
    """
    quantizer = model.quantizer
    fsq = quantizer.name == "fsq"
    obstacles = {
        "it knows the causal models of v1.1 only, and v1.0 computes otherwise with the same tensors": model.causality == "causal",
        "it has layer norms only": model.norm != "layernorm",
        "its codes are FSQ with 8 levels in each channel": fsq and tuple(quantizer["levels"]) != (8,) * model.latent_channels,
        "its latents are KL or FSQ": quantizer.name not in ("kl", "fsq"),
    }
    for obstacle in (text for text, holds in obstacles.items() if holds):
        raise ConfigError(f"diffusers' {CLASS} cannot hold this model: {obstacle}")
    config = {key: model[ours] for key, ours in _KEYS.items()}
    config |= {key: list(model[ours]) or None for key, ours in _POSITIONS.items()}
    config |= {"_class_name": CLASS, "in_channels": 3, "out_channels": 3, "dropout": 0.0, "double_z": not fsq}
    config |= {"regularizer": quantizer.name, "is_causal": model.causality != "noncausal"}
    return config | ({"codebook_size": math.prod(quantizer["levels"])} if fsq else {})
