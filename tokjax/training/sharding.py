"""Where arrays live in training: the rules that lay parameters and batches on the mesh of tokjax.models.mesh.

`data` and `fsdp` both split the batch; `fsdp` also splits large parameters, optimizer state and averages; `context` splits the
height of the clips, for those that do not fit one device.
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


def parameter_sharding(tree: Any, mesh: Mesh) -> Any:
    """A sharding for each array of a tree of arrays or their shapes (parameters, optimizer state and averages alike).

    The largest axis that the fsdp axis divides is split; arrays that are small or have no such axis are whole on every device.
    """
    return jax.tree.map(lambda leaf: NamedSharding(mesh, _spec(leaf.shape, mesh.shape["fsdp"])), tree)


def _spec(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    divisible = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or math.prod(shape) < SMALL or not divisible:
        return PartitionSpec()
    # Among equals the last, which holds a kernel's output channels.
    split = max(divisible, key=lambda axis: (shape[axis], axis))
    return PartitionSpec(*("fsdp" if axis == split else None for axis in range(len(shape))))


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
