"""What a throughput measurement runs: encoding, decoding, both, or a training step, as a function and its inputs on a mesh."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax.core import DenyList

from tokjax.losses.perceptual import shapes
from tokjax.models.mesh import laid_on
from tokjax.models.values import to_float
from tokjax.training.optimizers import make_optimizer
from tokjax.training.sharding import batch_sharding, parameter_sharding, replicated
from tokjax.training.state import state_of
from tokjax.training.step import make_train_step

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from ml_collections import ConfigDict

WORKS = ("encode", "decode", "reconstruct", "train")


@dataclasses.dataclass(frozen=True)
class Clips:
    """`batch` clips, over all devices, of `frames` x `size` x `size` pixels."""

    batch: int
    frames: int
    size: int


@dataclasses.dataclass(frozen=True)
class Workload:
    """Attributes:
    function: (variables or state, clips or latents) -> results.
    shapes: of the two arguments, with their places on the mesh.
    make: () -> the two arguments; nothing is allocated before.
    trains: the first result is the next call's first argument, which may overwrite it.
    out_shardings: where results go; None leaves it to the compiler.
    """

    function: Callable[[Any, jax.Array], Any]
    shapes: tuple[Any, jax.ShapeDtypeStruct]
    make: Callable[[], tuple[Any, jax.Array]]
    trains: bool = False
    out_shardings: Any = None


def random_variables(module: Any, mesh: Mesh) -> Any:
    """New weights, and whatever else the model keeps, on the mesh."""
    frames, (height, width) = 1 + sum(module.pad_frames(1)), module.pad_sides(1, 1)
    video = jnp.zeros((1, frames, height, width, 3))
    draw = partial(module.init, jax.random.key(0), video, mutable=DenyList(("cache", "intermediates")))
    return jax.jit(draw, out_shardings=parameter_sharding(jax.eval_shape(draw), mesh))()


def random_weights(network: str) -> Any:
    """Weights of a perceptual network that nothing was learned with."""
    leaves, tree = jax.tree.flatten(shapes(network), is_leaf=lambda node: isinstance(node, tuple))
    keys = jax.random.split(jax.random.key(0), len(leaves))
    scaled = [jax.random.normal(key, shape) * math.prod(shape[:-1]) ** -0.5 for key, shape in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, scaled)


def make_workload(work: str, module: Any, variables: Any, clips: Clips, config: ConfigDict | None, mesh: Mesh) -> Workload:
    """One of `WORKS`; arguments as in `tokjax.training.throughput.measure`, checked there."""
    if work == "train":
        return _training(module, clips, config, mesh)
    front, _ = module.pad_frames(clips.frames)
    video = jax.ShapeDtypeStruct((clips.batch, clips.frames, clips.size, clips.size, 3), jnp.uint8)

    def encode(variables: Any, video: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        video = to_float(video)
        video = jnp.concatenate([jnp.repeat(video[:, :1], front, axis=1), video], axis=1)
        quantized = module.apply(variables, video, method="encode")
        return quantized.latents, quantized.indices

    def decode(variables: Any, latents: jax.Array) -> jax.Array:
        return module.apply(variables, latents, method="decode")[:, front : front + clips.frames]

    def reconstruct(variables: Any, video: jax.Array) -> jax.Array:
        return decode(variables, encode(variables, video)[0])

    weights = _placed(variables, mesh)
    data = jax.eval_shape(encode, weights, video)[0] if work == "decode" else video
    data = jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=batch_sharding(mesh))

    def make() -> tuple[Any, jax.Array]:
        return jax.device_put(variables, parameter_sharding(variables, mesh)), _synthetic(data)

    function = {"encode": encode, "decode": decode, "reconstruct": reconstruct}[work]
    return Workload(laid_on(mesh, function), (weights, data), make)


def _training(module: Any, clips: Clips, config: ConfigDict, mesh: Mesh) -> Workload:
    """A step from a new state, as the loop takes it: state donated and laid out by the same rules, and with everything that the
    config says, its discriminators and perceptual loss too; the weights of that are random, which costs the same.

    The first argument is (state, weights of the perceptual network or None).
    """
    training, loss = config.training, config.loss
    optimizer = make_optimizer(config.optimizer, training.steps, training.batches_per_update)
    new = partial(state_of, module, optimizer, config)
    draw = partial(random_weights, loss.perceptual_network) if loss.perceptual_weight else lambda: None
    state, weights = _placed(jax.eval_shape(new), mesh), jax.eval_shape(draw)
    weights = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)), weights)
    places = jax.tree.map(lambda leaf: leaf.sharding, (state, weights))
    shape = (clips.batch, clips.frames, clips.size, clips.size, 3)
    video = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=batch_sharding(mesh))
    step = make_train_step(module, optimizer, config)

    def make() -> tuple[Any, jax.Array]:
        return jax.jit(lambda: (new(), draw()), out_shardings=places)(), _synthetic(video)

    def train(both: tuple[Any, Any], video: jax.Array) -> tuple[tuple[Any, Any], Any]:
        state, metrics = step(both[0], video, both[1])
        return (state, both[1]), metrics

    return Workload(laid_on(mesh, train), ((state, weights), video), make, trains=True, out_shardings=(places, replicated(mesh)))


def _placed(tree: Any, mesh: Mesh) -> Any:
    """Shapes of a tree of parameters or state, with their places on the mesh."""
    places = parameter_sharding(tree, mesh)
    return jax.tree.map(lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree, places)


def _synthetic(shape: jax.ShapeDtypeStruct) -> jax.Array:
    """Noise, the same for each item of the batch: uint8 over its whole range, floats normal."""

    def noise() -> jax.Array:
        draw = jax.random.bits if shape.dtype == jnp.uint8 else jax.random.normal
        return jnp.broadcast_to(draw(jax.random.key(0), (1, *shape.shape[1:]), shape.dtype), shape.shape)

    return jax.jit(noise, out_shardings=shape.sharding)()
