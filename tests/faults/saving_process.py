"""A process that saves checkpoints, for tests that do something bad to it: `saving_process.py forever|full_disk DIRECTORY`."""

import resource
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from tokjax.training.checkpoints import CheckpointError, Checkpoints

VALUES = 200_000


def make_state(step: int) -> dict:
    return {"params": {"a": jnp.arange(VALUES) * step, "b": jnp.full((3,), step, jnp.bfloat16)}, "step": jnp.int32(step)}


def save_forever(checkpoints: Checkpoints) -> None:
    """Prints each step once it is safe."""
    step = max(checkpoints.steps(), default=0)
    while True:
        step += 1
        checkpoints.save(step, make_state(step), {"step": step})
        checkpoints.wait()
        print(step, flush=True)


def save_on_a_full_disk(checkpoints: Checkpoints) -> None:
    """A limit on the size of a file stands in for the full disk: the write fails in the same place, within a file."""
    checkpoints.save(1, make_state(1), {})
    checkpoints.wait()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    noise = jax.random.normal(jax.random.key(0), (VALUES,))  # does not compress
    checkpoints.save(2, {"params": {"a": noise}}, {})
    for _ in range(200):
        try:
            checkpoints.check()
        except CheckpointError as error:
            print("check:", error, flush=True)
            break
        time.sleep(0.05)
    try:
        checkpoints.wait()
    except CheckpointError as error:
        print("wait:", error, flush=True)
    print(checkpoints.steps(), flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    checkpoints.save(2, make_state(2), {})
    checkpoints.close()
    print(checkpoints.steps(), flush=True)


if __name__ == "__main__":
    {"forever": save_forever, "full_disk": save_on_a_full_disk}[sys.argv[1]](Checkpoints(Path(sys.argv[2]), keep=2))
