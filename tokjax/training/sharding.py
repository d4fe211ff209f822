"""Where arrays live: one mesh with the axes data, fsdp and context, and the rules that lay parameters and batches on it.

`data` and `fsdp` both split the batch; `fsdp` also splits large parameters, optimizer state and averages; `context` splits the
height of the clips, for those that do not fit one device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "context")
SMALL = 2**14  # values; splitting fewer than these costs more in messages than it saves in memory


def make_mesh(mesh: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of `config.mesh`: devices per axis, -1 on at most one axis for all that remain.

    Raises:
      ValueError: sizes that do not use every device, or a context axis that reaches across processes.
    """
    devices = jax.devices() if devices is None else devices
    sizes = _mesh_shape([mesh[axis] for axis in AXES], len(devices))
    made = jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)
    for group in made.devices.reshape(-1, sizes[2]):
        if len({device.process_index for device in group}) > 1:
            raise ValueError(
                f"mesh context={sizes[2]} reaches across processes, which read different clips; "
                f"context must divide the {jax.local_device_count()} devices of a process"
            )
    return made


def _mesh_shape(sizes: list[int], count: int) -> tuple[int, ...]:
    text = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
    fixed = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise ValueError(f"the mesh {text} is not one: sizes are 1 or more, and at most one is -1 for all devices that remain")
    if (-1 in sizes and count % fixed) or (-1 not in sizes and fixed != count):
        divisors = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
        raise ValueError(
            f"the mesh {text} does not fit {count} devices: each size must be one of {divisors}, their product must be {count}, "
            "and -1 on one axis takes what remains"
        )
    return tuple(count // fixed if size == -1 else size for size in sizes)


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


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of clips [b,t,h,w,c]: the batch over data and fsdp, the height over context."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, "context"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


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
