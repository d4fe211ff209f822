"""Names and layouts of VidTok's published PyTorch state dict, and ours: one rule, used in both directions.

The ablations of the paper were never published as code; their state dicts are named as the published modules in the same places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import flax.traverse_util
import numpy as np

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_LEVEL_PARTS = {
    "block": "{side}.{level}.block.{index}",
    "joint_block": "{side}.{level}.block.{index}",
    "temporal_block": "{side}_temporal.{level}.block.{index}",
    "downsample": "down.{level}.downsample",
    "joint_downsample": "down.{level}.downsample",
    "temporal_downsample": "down_temporal.{level}.downsample",
    "upsample": "up.{level}.upsample",
    "joint_upsample": "up.{level}.upsample",
    "temporal_upsample": "up_temporal.{level}.upsample",
}
# Plain 2-D convolutions, and 1-D ones over time, in the published code; all others are 3-D.
_FRAMES = re.compile(r"level_\d+/(block_\d+|downsample|upsample)/|mid/frame_block_\d+/")
_TIME = re.compile(r"(level_\d+|mid)/temporal_block_\d+/")


def torch_name(path: tuple[str, ...], norm: str = "layernorm", causality: str = "causal") -> str:
    """The published name of the parameter at `path`, e.g. ("encoder", "level_0", "block_1", "conv2", "kernel")."""
    half, *parts, leaf = path
    names = [half]
    if parts and (level := re.fullmatch(r"level_(\d+)", parts[0])):
        part, _, index = parts[1].rpartition("_") if parts[1][-1].isdigit() else (parts[1], "", "")
        side = "down" if half == "encoder" else "up"
        names.append(_LEVEL_PARTS[part].format(side=side, level=level[1], index=index))
        parts = parts[2:]
    names += parts
    if leaf == "mix_factor":
        return ".".join([*names, leaf])
    # The published causal convolutions and layer norms are wrappers around a torch layer; its plain 2-D convolutions are not.
    if parts and "norm" in parts[-1]:
        names += ["norm"] if norm == "layernorm" else []
    elif causality != "noncausal" and not _extends(_FRAMES, path):
        names.append("conv")
    return ".".join([*names, _LEAVES[leaf]])


def _extends(place: re.Pattern, path: tuple[str, ...]) -> bool:
    return place.match("/".join(path[1:])) is not None


def _torch_axes(path: tuple[str, ...]) -> tuple[int, ...]:
    """The kernel axes (of time, height, width) that the published kernel has."""
    if _extends(_FRAMES, path):
        return (1, 2)
    return (0,) if _extends(_TIME, path) else (0, 1, 2)


def _torch_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The published shape of a parameter of ours."""
    return (shape[4], shape[3], *(shape[axis] for axis in _torch_axes(path))) if path[-1] == "kernel" else tuple(shape)


def _pairs(params: Mapping[str, Any], norm: str, causality: str) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    for path, value in flax.traverse_util.flatten_dict(params).items():
        if path[0] not in ("encoder", "decoder"):
            raise ValueError(f"the published state dict has no place for {'/'.join(path)}: its models' quantizers learn nothing")
        yield path, value, torch_name(path, norm, causality)


def from_torch(
    state: Mapping[str, np.ndarray], template: Mapping[str, Any], norm: str = "layernorm", causality: str = "causal"
) -> dict[str, Any]:
    """Parameters shaped like `template` (arrays or shapes) from a published state dict.

    Raises:
      ValueError: a tensor is missing, is left over (names that begin with `loss.` are not ours), or has another shape.
    """
    flat, used = {}, set()
    for path, value, name in _pairs(template, norm, causality):
        if name not in state:
            raise ValueError(f"the checkpoint lacks the tensor {name}, which this model needs; is it of another configuration?")
        tensor, shape = np.asarray(state[name]), _torch_shape(path, value.shape)
        if tensor.shape != shape:
            raise ValueError(f"the tensor {name} has shape {tensor.shape}, but this model needs {shape}")
        if path[-1] == "kernel":
            tensor = np.moveaxis(tensor, (0, 1), (-1, -2))
        flat[path] = np.ascontiguousarray(tensor.reshape(value.shape))
        used.add(name)
    extra = sorted(name for name in state if name not in used and not name.startswith("loss."))
    if extra:
        raise ValueError(f"the checkpoint has {len(extra)} tensors that this model does not know, the first is {extra[0]}")
    return flax.traverse_util.unflatten_dict(flat)


def to_torch(params: Mapping[str, Any], norm: str = "layernorm", causality: str = "causal") -> dict[str, np.ndarray]:
    """The published state dict of our parameters; `from_torch` of it gives them back bit for bit."""
    state = {}
    for path, value, name in _pairs(params, norm, causality):
        value = np.asarray(value)
        if path[-1] == "kernel":
            kept = _torch_axes(path)
            value = value.reshape([value.shape[axis] for axis in kept] + list(value.shape[3:]))
            value = np.moveaxis(value, (-1, -2), (0, 1))
        state[name] = np.ascontiguousarray(value)
    return state
