"""Golden files: rebuilding the PyTorch originals' seeded weights with numpy, and their configs as ours."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from tokjax.config import defaults
from tokjax.conversion.vidtok import from_torch
from tokjax.models.tokenizer import build

_RULES = {
    "w": lambda n, fan_in: n / math.sqrt(fan_in),
    "w2": lambda n, fan_in: n * math.sqrt(2.0 / fan_in),
    "w3": lambda n, fan_in: n * 2.5 / math.sqrt(fan_in),
    "g": lambda n, fan_in: 1.0 + 0.1 * n,
    "b": lambda n, fan_in: 0.05 * n,
    "mix": lambda n, fan_in: 0.25 + 0.5 * n,
    "lin": lambda n, fan_in: np.abs(n),
    "rmean": lambda n, fan_in: 0.1 * n,
    "rvar": lambda n, fan_in: np.exp(0.3 * n),
    "scalar": lambda n, fan_in: 0.1 * n,
}


def fill_array(key: str, shape: list[int], rule: str, seed: int) -> np.ndarray:
    """One tensor; each has a generator of its own, so their order does not matter."""
    if rule == "zero_int":  # a counter
        return np.zeros(shape, np.int64)
    n = np.random.RandomState(zlib.crc32(f"{seed}|{key}".encode()) & 0xFFFFFFFF).standard_normal(tuple(shape))
    fan_in = int(np.prod(shape[1:])) if len(shape) >= 2 else 1
    return np.asarray(_RULES[rule](n, fan_in), np.float32)


def read_golden(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a golden file, and its `meta`."""
    with np.load(path) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("meta")))


def state_dict(meta: dict[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """The weights of `spec`; constants are in the file's arrays."""
    return {
        key: arrays["const:" + key] if rule == "const" else fill_array(key, shape, rule, meta["seed"])
        for key, shape, rule in meta["spec"]
    }


def model_config(meta: dict[str, Any]) -> ConfigDict:
    """Our `config.model` for the original's yaml."""
    params = meta["config"]["params"]
    theirs, regularizer = params["encoder_config"]["params"], params["regularizer_config"]
    target = params["encoder_config"]["target"]
    config = defaults().model
    config.causality = "noncausal" if "noncausal" in target else "causal_v1_1" if "v1_1" in target else "causal"
    config.channels, config.channel_multipliers = theirs["ch"], tuple(theirs["ch_mult"])
    config.blocks_per_level, config.latent_channels = theirs["num_res_blocks"], theirs["z_channels"]
    config.time_factor, config.norm = theirs["time_downsample_factor"], theirs["norm_type"]
    names = {"spatial_ds": "spatial_down", "spatial_us": "spatial_up", "tempo_ds": "time_down", "tempo_us": "time_up"}
    for name, ours in names.items():
        config[ours] = tuple(theirs.get(name, ()))
    if regularizer["target"].endswith("FSQRegularizer"):
        config.quantizer.name, config.quantizer.levels = "fsq", tuple(regularizer["params"]["levels"])
    return config


def channels_last(array: np.ndarray) -> np.ndarray:
    """[b,c,t,h,w] -> [b,t,h,w,c]."""
    return np.moveaxis(array, 1, -1)


def load_model(meta: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(module, variables) of a golden file of VidTok."""
    config = model_config(meta)
    model = build(config)
    template = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1, 16, 16, 3), np.float32))["params"]
    return model, {"params": from_torch(state_dict(meta), template, config.norm, config.causality)}
