"""Where arrays live: one mesh with the axes data, fsdp, context and tensor, and how clips are laid on it.

`data` and `fsdp` both split the batch. `context` splits the height of clips, and the sequences of models of tokens. `tensor`
splits the heads and hidden channels of these; tokenizers do not use it.

Layers need not know: the compiler finds out where their arrays lie. Where it would choose badly, a layer tells it, with `whole`
and `exchange`, in functions that `laid_on` has told of the mesh.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "context", "tensor")
_MESH: ContextVar[Mesh | None] = ContextVar("mesh", default=None)  # while a function that was `laid_on` one is traced


def make_mesh(mesh: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of `config.mesh`: devices per axis, -1 on at most one axis for all that remain; an axis left out is 1.

    Raises:
      ValueError: sizes that do not use every device, or devices that share a clip in several processes.
    """
    devices = jax.devices() if devices is None else devices
    sizes = _mesh_shape([mesh.get(axis, 1) for axis in AXES], len(devices))
    made = jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)
    sharing = [axis for axis in ("context", "tensor") if made.shape[axis] > 1]
    for group in made.devices.reshape(-1, sizes[2] * sizes[3]):
        if len({device.process_index for device in group}) > 1:
            raise ValueError(
                f"mesh {', '.join(f'{axis}={made.shape[axis]}' for axis in sharing)} reaches across processes, which read "
                f"different clips; {' × '.join(sharing)} must divide the {jax.local_device_count()} devices of a process"
            )
    return made


def _mesh_shape(sizes: list[int], count: int) -> tuple[int, ...]:
    named = [f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True)]
    text = ", ".join(named[:-1] if sizes[-1] == 1 else named)  # tokenizers have no tensor axis
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


def laid_on(mesh: Mesh, function: Callable) -> Callable:
    """The function, to be jitted by the caller, whose layers know that their arrays lie on the mesh."""

    @functools.wraps(function)
    def knowing(*args: object, **options: object) -> object:
        token = _MESH.set(mesh)
        try:
            return function(*args, **options)
        finally:
            _MESH.reset(token)

    return knowing


def context_parts() -> int:
    """Over how many devices a clip is split, as far as the function that is traced knows."""
    mesh = _MESH.get()
    return 1 if mesh is None else mesh.shape["context"]


def spread() -> bool:
    """Whether batches lie on several devices, as far as the function that is traced knows."""
    mesh = _MESH.get()
    return mesh is not None and mesh.size > 1


def whole(parameter: jax.Array, split: int | None = None) -> jax.Array:
    """A parameter that is used next, brought together from the devices that hold its parts over fsdp; its gradient too is whole.

    Without it the compiler may bring together the clips, which fsdp and context split too, and they are far larger.

    Args:
      split: the axis along which it stays split over tensor, where that divides it.
    """
    mesh = _MESH.get()
    if mesh is None or mesh.shape["fsdp"] * mesh.shape["context"] * mesh.shape["tensor"] == 1:
        return parameter
    stays = None if split is None or parameter.shape[split] % mesh.shape["tensor"] else split % parameter.ndim
    spec = PartitionSpec(*("tensor" if axis == stays else None for axis in range(parameter.ndim)))
    return jax.lax.with_sharding_constraint(parameter, NamedSharding(mesh, spec))


def exchange(x: jax.Array, *axes: int, tensor: int | None = None) -> jax.Array:
    """x, whose axis 0 is the batch, split over context along each of the axes in turn, and along the last of them in the end.

    Every device gives each other one a share of what it has (all-to-all). An axis that context does not divide is left out.

    Args:
      tensor: the axis that the tensor axis splits all the while; may be one of the others.
    """
    mesh = _MESH.get()
    if mesh is None or mesh.shape["context"] * mesh.shape["tensor"] == 1:
        return x
    x = jax.lax.optimization_barrier(x)  # else what follows is taken to hold for every later use of x
    for axis in axes:
        names = [tuple(name for name, at in (("tensor", tensor), ("context", axis)) if at == i) for i in range(1, x.ndim)]
        if all(size % math.prod(mesh.shape[name] for name in own) == 0 for size, own in zip(x.shape[1:], names, strict=True)):
            spec = PartitionSpec(("data", "fsdp"), *(own or None for own in names))
            x = jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))
    return x


def serving_mesh(mesh: Mapping[str, int]) -> Mesh:
    """The mesh of {"data": n, "context": m}; an axis left out is 1, -1 takes all devices that remain.

    Raises:
      ValueError: other axes, or sizes that do not use every device.
    """
    if unknown := sorted(set(mesh) - {"data", "context"}):
        raise ValueError(f"a tokenizer is laid on the mesh axes data (batch) and context (height); there is no {unknown[0]!r}")
    return make_mesh(mesh)


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
