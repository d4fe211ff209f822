"""What a run has saved."""

from pathlib import Path

import jax
import numpy as np

from tokjax.training.checkpoints import Checkpoints, read
from tokjax.training.state import TrainState

PARTS = ("step", "params", "model_state", "optimizer", "ema", "nonfinite", "loss", "discriminator")


def bits(workdir: Path, step: int | None = None) -> dict[str, bytes]:
    """Every array of the state at a step, by default the last, by name."""
    found, parts, _ = read(workdir / "checkpoints", step, PARTS)
    assert int(parts["step"]) == found
    leaves = jax.tree_util.tree_leaves_with_path(parts)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf).tobytes() for path, leaf in leaves}


def through_a_checkpoint(state: TrainState, place: Path) -> TrainState:
    """The state as a checkpoint gives it back."""
    checkpoints = Checkpoints(place)
    checkpoints.save(1, state, {})
    checkpoints.close()
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), state)
    return Checkpoints(place).restore(abstract, 1).state
