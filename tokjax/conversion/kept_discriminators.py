"""The discriminators of released checkpoints, as training goes on from them.

`tokjax convert --with-discriminator` keeps the tensors of the training losses beside a model, with their published names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from tokjax.conversion.checkpoint_files import CheckpointError, read_checkpoint
from tokjax.conversion.discriminators import PREFIXES, from_torch
from tokjax.models.discriminators import build_discriminator

KEPT = "discriminator.safetensors"
LOG_VARIANCE = "loss.logvar"
_FIRST = {
    "vidtok": ("loss.discriminator.main.0.weight",),
    "omni": ("image_discriminator.model0.0.weight", "video_discriminator.model0.0.weight"),
}


@dataclasses.dataclass(frozen=True)
class Kept:
    """What training can go on from.

    Attributes:
      config: the values of `config.discriminator` that these discriminators have.
      variables: their collections "params" and "batch_stats".
      log_variance: VidTok's learned scalar; None where there is none.
    """

    config: dict[str, Any]
    variables: dict[str, Any]
    log_variance: float | None


def read_kept(path: Path) -> Kept:
    """The discriminators in a released checkpoint, or in the file that was kept of one.

    Raises:
      CheckpointError: the file holds no discriminator, or a damaged one. OSError.
    """
    return kept_in(read_checkpoint(path).tensors, path)


def kept_in(state: Mapping[str, np.ndarray], path: Path) -> Kept:
    """The same of tensors that were read from `path`.

    Raises:
      CheckpointError
    """
    try:
        config = describe(state)
        variables = from_torch(state, build_discriminator(ConfigDict(config)))
    except ValueError as error:
        raise CheckpointError(f"{path} holds no discriminator that could be trained further: {error}") from error
    scalar = state.get(LOG_VARIANCE)
    return Kept(config, variables, None if scalar is None else float(np.asarray(scalar, np.float32)))


def describe(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The values of `config.discriminator` for the discriminators in a published state dict.

    Its tensors do not tell the activation: leaky_relu, as in every published recipe.

    Raises:
      ValueError: there are none.
    """
    family, found = next(((f, here) for f, names in _FIRST.items() if (here := [n for n in names if n in state])), ("", []))
    if not found:
        raise ValueError(f"it has none of the tensors {', '.join(sum(_FIRST.values(), ()))}")
    first = np.asarray(state[found[0]])
    if family == "vidtok":
        kind = "vidtok_2d" if first.ndim == 4 else "vidtok_3d"
    else:
        kind = "omni" if len(found) == 2 else f"omni_{found[0].partition('_')[0]}"
    names = [name for name in state if name.startswith(tuple(PREFIXES[family].values()))]
    last = max(int(number[1]) for name in names if (number := re.search(r"\.(?:main\.|model)(\d+)\.", name)))
    return {
        "kind": kind,
        "width": first.shape[0],
        "layers": (last + 1) // 3 - 1 if family == "vidtok" else last - 1,
        "norm": "batch" if any(name.endswith("running_mean") for name in names) else "group",
        "activation": "leaky_relu",
        "noise": any(name.endswith(".noise.weight") for name in names),
        "dtype": "float32",
    }
