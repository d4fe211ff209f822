"""Names and layouts of the published discriminators and ours: one rule, used in both directions.

A convolution [out, in, (time,) height, width] is ours [time, height, width, in, out] with time 1 for frames. Counters of batches
are dropped on the way in and 0 on the way out: nothing reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from tokjax.models.discriminators import Discriminators, PatchDiscriminator

Path = tuple[str, ...]

# Where a published state dict keeps the discriminators of a family. VidTok has one, for frames or for clips.
PREFIXES = {
    "vidtok": {"image": "loss.discriminator.", "video": "loss.discriminator."},
    "omni": {"image": "image_discriminator.", "video": "video_discriminator."},
}
_COUNTER = "num_batches_tracked"
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def torch_name(judge: PatchDiscriminator, path: Path) -> str:
    """The published name of the value at `path` within one network, e.g. ("params", "conv_1", "kernel")."""
    if path[-1] == "noise":
        return "noise.weight"
    kind, number = path[1].split("_")
    layer, leaf, norm = int(number), _LEAVES[path[2]], kind == "norm"
    if judge.kind.startswith("vidtok"):
        return f"main.{3 * layer - (not norm) if layer else 0}.{leaf}"
    # Layers that halve the sides begin with one that does nothing, all but the first of them.
    return f"model{layer}.{norm + (0 < layer < judge.layers)}.{leaf}"


def from_torch(state: Mapping[str, np.ndarray], module: Discriminators) -> dict[str, Any]:
    """Variables of the discriminators (collections "params" and "batch_stats") from a published state dict.

    Other tensors of the state dict are left alone.

    Raises:
      ValueError: a tensor is missing, has another shape, or belongs to a discriminator that has more layers.
    """
    flat, used = {}, set()
    for path, shape, name in _pairs(module):
        if name not in state:
            raise ValueError(f"the checkpoint lacks the tensor {name}, which this discriminator needs; is it of another kind?")
        tensor, expected = np.asarray(state[name]), _torch_shape(module, path, shape)
        if tensor.shape != expected:
            raise ValueError(f"the tensor {name} has shape {tensor.shape}, but this discriminator needs {expected}")
        tensor = np.moveaxis(tensor, (0, 1), (-1, -2)) if path[-1] == "kernel" else tensor
        flat[path] = np.ascontiguousarray(tensor.reshape(shape), np.float32)
        used.add(name)
    known = tuple(_prefixes(module).values())
    extra = sorted(name for name in state if name.startswith(known) and name not in used and not name.endswith(_COUNTER))
    if extra:
        raise ValueError(f"the checkpoint has {len(extra)} tensors too many for this discriminator, the first is {extra[0]}")
    return flax.traverse_util.unflatten_dict(flat)


def to_torch(variables: Mapping[str, Any], module: Discriminators) -> dict[str, np.ndarray]:
    """The published state dict of our variables; `from_torch` of it gives them back bit for bit."""
    state, flat = {}, flax.traverse_util.flatten_dict(variables)
    for path, shape, name in _pairs(module):
        value = np.asarray(flat[path])
        if path[-1] == "kernel":
            value = np.moveaxis(value, (-1, -2), (0, 1)).reshape(_torch_shape(module, path, shape))
        if path[-1] == "mean":
            state[re.sub("running_mean$", _COUNTER, name)] = np.zeros((), np.int64)
        state[name] = np.ascontiguousarray(value)
    return state


def _prefixes(module: Discriminators) -> dict[str, str]:
    judges = {name: judge for name, judge in (("image", module.image), ("video", module.video)) if judge is not None}
    return {name: PREFIXES[judge.kind.split("_")[0]][name] for name, judge in judges.items()}


def _pairs(module: Discriminators) -> Iterator[tuple[Path, tuple[int, ...], str]]:
    """(path with its collection, our shape, published name) of every value."""
    side = module.smallest_side
    keys = dict.fromkeys(("params", "noise"), jax.random.key(0))
    shapes = jax.eval_shape(module.init, keys, jax.ShapeDtypeStruct((1, 2, side, side, 3), np.float32))
    prefixes = _prefixes(module)
    for path, leaf in flax.traverse_util.flatten_dict(shapes).items():
        collection, name, *rest = path
        yield path, leaf.shape, prefixes[name] + torch_name(getattr(module, name), (collection, *rest))


def _torch_shape(module: Discriminators, path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    if path[-1] != "kernel":
        return tuple(shape)
    extents = shape[1:3] if getattr(module, path[1]).judges_frames else shape[:3]
    return (shape[4], shape[3], *extents)
