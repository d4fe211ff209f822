"""Where arrays live: one mesh with the axes data, fsdp and context, and how clips are laid on it.

`data` and `fsdp` both split the batch, `context` splits the height.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "context")


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


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of clips [b,t,h,w,c]: the batch over data and fsdp, the height over context."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, "context"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def serving_mesh(mesh: Mapping[str, int]) -> Mesh:
    """The mesh of {"data": n, "context": m}; an axis left out is 1, -1 takes all devices that remain.

    Raises:
      ValueError: other axes, or sizes that do not use every device.
    """
    if unknown := sorted(set(mesh) - {"data", "context"}):
        raise ValueError(f"a tokenizer is laid on the mesh axes data (batch) and context (height); there is no {unknown[0]!r}")
    return make_mesh({axis: mesh.get(axis, 1) for axis in AXES})


def lay(x: jax.Array, mesh: Mesh, unit: int) -> jax.Array:
    """Clips or latents [b,t,h,w,c] on a mesh.

    Args:
      unit: rows of x for one latent, which is not split.

    Raises:
      ValueError: the mesh does not divide the batch or the rows of latents.
    """
    batch, rows = x.shape[0], x.shape[2] // unit
    parts, context = mesh.shape["data"] * mesh.shape["fsdp"], mesh.shape["context"]
    if batch % parts:
        raise ValueError(f"a batch of {batch} does not split over {parts} devices (data); use a multiple of {parts}")
    if rows % context:
        raise ValueError(
            f"{rows} rows of latents do not split over {context} devices (context); use a height that gives a "
            f"multiple of {context}, or a smaller context"
        )
    return jax.device_put(x, batch_sharding(mesh))
