"""Golden files of OmniTokenizer: rebuilding the original's seeded weights with numpy, and its arguments as our model."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tokjax.config import defaults
from tokjax.conversion.omnitokenizer import from_torch
from tokjax.conversion.omnitokenizer_arguments import read_arguments
from tokjax.models.omnitokenizer import OmniTokenizer


def read_golden(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a golden file, and its `meta`."""
    with np.load(path) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("meta")))


def state_dict(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> dict[str, np.ndarray]:
    """The weights: one stream of numbers, drawn in the order of the list, or stored as they are."""
    random, weights, crc = np.random.RandomState(meta["weight_seed"]), {}, 0
    for key, shape, rule, scale, shift in meta["weights"]:
        if rule == "raw":
            value = arrays["raw/" + key]
        else:
            n = random.standard_normal(int(np.prod(shape))).reshape(shape)
            value = ((np.abs(n) if rule == "absnormal" else n) * scale + shift).astype(np.float32)
        weights[key] = value
        crc = zlib.crc32(np.ascontiguousarray(value).tobytes(), crc)
    assert crc == meta["weights_crc32"], "these are not the weights that the original ran with"
    return weights


def outputs(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the original computed."""
    return {name.removeprefix("out/"): value for name, value in arrays.items() if name.startswith("out/")}


def model_of(meta: dict[str, Any]) -> OmniTokenizer:
    config = defaults("omnitokenizer").model
    config.update(read_arguments(meta["config"]["args"]))
    config.attention = {"sdpa": "fused", "explicit": "explicit"}[meta["config"]["attention"]]
    return OmniTokenizer.from_config(config)


def variables_of(model: OmniTokenizer, state: dict[str, np.ndarray]) -> dict[str, Any]:
    return from_torch(state, model)


def template_of(model: OmniTokenizer) -> dict[str, Any]:
    """Shapes of the model's variables."""
    side = model.space_factor
    return jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1, side, side, 3), np.float32))


def channels_last(array: np.ndarray) -> np.ndarray:
    """[b,c,h,w] or [b,c,t,h,w] -> [b,t,h,w,c]."""
    return np.moveaxis(array[:, :, None] if array.ndim == 4 else array, 1, -1)


def as_video(array: np.ndarray) -> np.ndarray:
    """The original's pixels, -0.5..0.5, as ours."""
    return 2 * channels_last(array)
