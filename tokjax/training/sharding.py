"""Where arrays live in training: the rules that lay parameters and batches on the mesh of tokjax.models.mesh.

`data` and `fsdp` both split the batch; `fsdp` also splits large parameters, optimizer state and averages; `context` splits the
height of the clips, for those that do not fit one device. `tensor` splits the layers of models of tokens as Megatron-LM does
(arXiv 1909.08053, section 3): first by their outputs, heads and hidden channels, then by their inputs.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tokjax.models.mesh import AXES, batch_sharding, make_mesh, replicated

__all__ = ["AXES", "batch_sharding", "global_batch", "make_mesh", "parameter_sharding", "replicated"]

SMALL = 2**14  # values; splitting fewer than these costs more in messages than it saves in memory
_BY_OUTPUTS = ("query", "key", "value", "gate", "inner", "head", "heads")  # layers; the axis 1 of their kernels
_BY_INPUTS = ("projection", "outer", "qkv", "modulation")  # the axis 0
_TENSOR = dict.fromkeys(_BY_OUTPUTS, 1) | dict.fromkeys(_BY_INPUTS, 0)


def parameter_sharding(tree: Any, mesh: Mesh) -> Any:
    """A sharding for each array of a tree of arrays or their shapes (parameters, optimizer state and averages alike).

    The axis that tensor splits follows from the name of the layer. Of the others the largest that the fsdp axis divides is split;
    arrays that are small or have no such axis are whole on every device.
    """

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        axis = _tensor_axis(path) if mesh.shape["tensor"] > 1 else None
        return NamedSharding(mesh, _spec(leaf.shape, mesh.shape["fsdp"], axis, mesh.shape["tensor"]))

    return jax.tree_util.tree_map_with_path(place, tree)


def _tensor_axis(path: tuple[Any, ...]) -> int | None:
    """Of a kernel, by the name of its layer without the number that layers in lists have."""
    layer, name = ["", "", *(str(getattr(key, "key", "")) for key in path)][-2:]
    return _TENSOR.get(layer.rstrip("_0123456789")) if name == "kernel" else None


def _spec(shape: tuple[int, ...], parts: int, tensor: int | None = None, tensor_parts: int = 1) -> PartitionSpec:
    """Of an array over `parts` devices of fsdp and, along the axis `tensor`, so many of tensor."""
    if math.prod(shape) < SMALL:
        return PartitionSpec()
    names: list[str | None] = [None] * len(shape)
    if tensor is not None and shape[tensor] % tensor_parts == 0:
        names[tensor] = "tensor"
    divisible = [axis for axis, size in enumerate(shape) if size % parts == 0 and not names[axis]] if parts > 1 else []
    if divisible:
        # Among equals the last, which holds a kernel's output channels.
        names[max(divisible, key=lambda axis: (shape[axis], axis))] = "fsdp"
    return PartitionSpec(*names) if any(names) else PartitionSpec()


def global_batch(mesh: Mesh, local_video: np.ndarray) -> jax.Array:
    """The clips [b,t,h,w,c] of this process, laid on the mesh with those of all others: [b * processes,t,h,w,c].

    Raises:
      ValueError: the mesh does not divide the batch or the height.
    """
    batch, frames, height, *rest = local_video.shape
    shape = (batch * jax.process_count(), frames, height, *rest)
    parts, context = mesh.shape["data"] * mesh.shape["fsdp"], mesh.shape["context"]
    if shape[0] % parts:
        raise ValueError(
            f"a batch of {shape[0]} clips does not split over {parts} devices (data × fsdp); use a multiple of {parts}"
        )
    if height % context:
        raise ValueError(f"clips {height} high do not split over {context} devices (context); use a multiple of {context}")
    return jax.make_array_from_process_local_data(batch_sharding(mesh), local_video, shape)
