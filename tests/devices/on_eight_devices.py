"""Runs with 8 fake devices and prints, as JSON, what test_sharding_on_devices.py asserts: `on_eight_devices.py DIRECTORY`."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tokjax.training.checkpoints import Checkpoints
from tokjax.training.sharding import batch_sharding, global_batch, make_mesh, parameter_sharding


def make_state() -> dict:
    params = {
        "kernel": jnp.arange(3 * 3 * 64 * 128, dtype=jnp.float32).reshape(3, 3, 64, 128) * np.float32(np.pi),
        "half": jnp.arange(256 * 96, dtype=jnp.float32).reshape(256, 96).astype(jnp.bfloat16),
        "bias": jnp.arange(128.0),
    }
    return {"params": params, "optimizer": optax.adam(1e-3).init(params), "step": jnp.int32(3)}


def bits(tree: dict) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def abstract_on(count: int) -> dict:
    mesh = make_mesh({"data": 1, "fsdp": -1, "context": 1}, jax.devices()[:count])
    shapes = jax.eval_shape(make_state)
    places = parameter_sharding(shapes, mesh)
    return jax.tree.map(lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes, places)


def save_and_restore(directory: Path) -> dict:
    """Saved from 8 devices, restored onto 8, 4 and 1: is every bit the same, on how many devices, in parts of which shape?"""
    abstract = abstract_on(8)
    state = jax.jit(make_state, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, abstract))()
    checkpoints = Checkpoints(directory)
    checkpoints.save(3, state, {})
    checkpoints.close()
    found = {}
    for count in (8, 4, 1):
        restored = Checkpoints(directory).restore(abstract_on(count), 3).state
        kernel, moment = restored["params"]["kernel"], restored["optimizer"][0].mu["kernel"]
        found[count] = {
            "equal": bits(restored) == bits(make_state()),
            "devices": len(kernel.sharding.device_set),
            "kernel": kernel.addressable_shards[0].data.shape,
            "moment": moment.addressable_shards[0].data.shape,
            "bias": restored["params"]["bias"].addressable_shards[0].data.shape,
        }
    return found


def lay_out_batch() -> dict:
    mesh = make_mesh({"data": 2, "fsdp": 2, "context": -1})
    video = np.random.default_rng(0).integers(0, 256, (8, 3, 16, 5, 3), np.uint8)
    placed = global_batch(mesh, video)
    found = {"mesh": dict(mesh.shape), "equal": bool((np.asarray(placed) == video).all())}
    found["parts"] = sorted({shard.data.shape for shard in placed.addressable_shards})
    found["same_rule"] = placed.sharding == batch_sharding(mesh)
    for name, shape in {"batch": (6, 1, 16, 4, 3), "height": (8, 1, 15, 4, 3)}.items():
        try:
            global_batch(mesh, np.zeros(shape, np.uint8))
        except ValueError as error:
            found[name] = str(error)
    return found


if __name__ == "__main__":
    print(json.dumps({"restored": save_and_restore(Path(sys.argv[1])), "batch": lay_out_batch()}))
