"""One of two processes with 2 fake devices each, saving together: `on_two_processes.py DIRECTORY PORT INDEX`."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import sync_global_devices

from tokjax.training.checkpoints import CheckpointError, Checkpoints
from tokjax.training.sharding import global_batch, make_mesh, parameter_sharding

VALUES = 2**16


def make_state(step: int) -> dict:
    return {"params": {"a": jnp.arange(VALUES, dtype=jnp.float32) * step, "b": jnp.arange(3.0)}, "step": jnp.int32(step)}


def rows_of_the_batch(index: int) -> dict:
    """Process p reads the clips p*4 .. p*4+3; where do they come to lie?"""
    mesh = make_mesh({"data": 2, "fsdp": 2, "context": 1})
    local = np.full((4, 1, 2, 2, 3), 0, np.uint8) + (np.arange(4, dtype=np.uint8) + 4 * index)[:, None, None, None, None]
    placed = global_batch(mesh, local)
    right = all((np.asarray(s.data)[:, 0, 0, 0, 0] == np.arange(8)[s.index[0]]).all() for s in placed.addressable_shards)
    return {"shape": placed.shape, "rows_in_place": right, "sum": int(jax.jit(lambda x: x.astype(jnp.int32).sum())(placed))}


def save_restore_and_fall_back(directory: Path, index: int) -> dict:
    mesh = make_mesh({"data": 1, "fsdp": -1, "context": 1})
    shapes = jax.eval_shape(make_state, 0)
    places = parameter_sharding(shapes, mesh)
    abstract = jax.tree.map(lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes, places)
    checkpoints = Checkpoints(directory, keep=2)
    found = {"empty": checkpoints.newest() is None}
    for step in (1, 2, 3):
        checkpoints.save(step, jax.jit(make_state, static_argnums=0, out_shardings=places)(step), {"step": step})
    checkpoints.wait()
    found["steps"] = checkpoints.steps()
    if index == 1:  # the process that does not check the digests
        path = max((directory / "3").rglob("d/*"), key=lambda file: file.stat().st_size)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    sync_global_devices("damaged")
    restored = checkpoints.restore(abstract, checkpoints.newest())
    a = restored.state["params"]["a"]
    found |= {"step": restored.step, "record": restored.record, "shard": a.addressable_shards[0].data.shape}
    found["equal"] = all((np.asarray(s.data) == np.arange(VALUES)[s.index] * 2).all() for s in a.addressable_shards)
    checkpoints.save(3, restored.state, {})  # the same step a second time, where the damaged one was
    checkpoints.close()
    found["after"] = checkpoints.steps()
    sync_global_devices("listed")
    for step in found["after"]:
        if index == 0:
            (directory / str(step) / "record" / "metadata").write_text("")
    try:
        Checkpoints(directory).newest()
    except CheckpointError as error:
        found["error"] = str(error)
    return found


if __name__ == "__main__":
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    index = int(sys.argv[3])
    jax.distributed.initialize(f"localhost:{sys.argv[2]}", 2, index)
    try:
        make_mesh({"data": 1, "fsdp": 1, "context": 4})
        refused = ""
    except ValueError as error:
        refused = str(error)
    found = {"context": refused, "batch": rows_of_the_batch(index), "saved": save_restore_and_fall_back(Path(sys.argv[1]), index)}
    print(json.dumps(found), flush=True)
