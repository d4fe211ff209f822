"""TrainState: everything of a run that must survive a restart. The data position and all randomness follow from `step`."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """Attributes:
    step: int32, steps taken.
    params, optimizer: the model's parameters and the optimizer's state.
    ema: moving average of the parameters, or None where the config keeps none.
    nonfinite: int32, steps in a row that were left out because their loss or gradient was not finite.
    """

    step: jax.Array
    params: Any
    optimizer: optax.OptState
    ema: Any
    nonfinite: jax.Array


def initial_state(model: Any, optimizer: optax.GradientTransformation, seed: int, ema: bool) -> TrainState:
    """The state before the first step; a pure function of the seed."""
    side, key = model.space_factor, jax.random.key(seed)
    params = model.init(key, jnp.zeros((1, 1, side, side, 3)))["params"]
    average = jax.tree.map(jnp.copy, params) if ema else None
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, params, optimizer.init(params), average, zero)
