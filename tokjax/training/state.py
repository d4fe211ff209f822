"""TrainState: everything of a run that must survive a restart. The data position and all randomness follow from `step`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.core import DenyList

from tokjax.generation.families import is_generator
from tokjax.training.adversary import Adversary, AdversaryState, make_adversary
from tokjax.training.optimizers import split
from tokjax.training.paths import matching

if TYPE_CHECKING:
    from ml_collections import ConfigDict


@flax.struct.dataclass
class TrainState:
    """Attributes:
    step: int32, steps taken.
    params: the model's parameters.
    model_state: the model's other collections, by name: what training changes without gradients. {} for most models.
    optimizer: the optimizer's state for the parameters that train.
    ema: moving average of the parameters, or None where the config keeps none.
    nonfinite: int32, steps in a row that were left out because their loss or gradient was not finite.
    loss: {"log_variance": scalar} where the loss learns one, which the same optimizer trains; else None.
    discriminator: the other player, or None where there is none.
    """

    step: jax.Array
    params: Any
    model_state: dict[str, Any]
    optimizer: optax.OptState
    ema: Any
    nonfinite: jax.Array
    loss: dict[str, jax.Array] | None = None
    discriminator: AdversaryState | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """What a model is judged and used with: the average of the parameters where there is one, and the model's state."""
        return {"params": self.params if self.ema is None else self.ema, **self.model_state}


def initial_state(
    model: Any,
    optimizer: optax.GradientTransformation,
    seed: int,
    ema: bool,
    freeze: Sequence[str] = (),
    log_variance: bool = False,
    adversary: Adversary | None = None,
) -> TrainState:
    """The state before the first step; a pure function of the seed.

    Args:
      freeze: patterns of the parameters that do not train, see tokjax.training.paths.
      log_variance: whether the loss learns one; it begins at 0.
      adversary: the discriminators of the run.
    """
    example = model.example() if is_generator(model) else _smallest_clip(model)
    variables = model.init(jax.random.key(seed), example, mutable=DenyList(("cache", "intermediates")))
    params = variables.pop("params")
    average = jax.tree.map(jnp.copy, params) if ema else None
    trained, _ = split(params, matching(params, freeze))
    loss = {"log_variance": jnp.zeros(())} if log_variance else None
    theirs = adversary and adversary.initial_state(jax.random.fold_in(jax.random.key(seed), 1))
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, params, variables, optimizer.init(for_optimizer(trained, loss)), average, zero, loss, theirs)


def state_of(model: Any, optimizer: optax.GradientTransformation, config: ConfigDict) -> TrainState:
    """The initial state of a config."""
    adversary, own = make_adversary(config), config.optimizer
    return initial_state(model, optimizer, config.seed, own.ema_decay > 0, own.freeze, config.loss.log_variance, adversary)


def for_optimizer(model: Any, loss: Any) -> Any:
    """What the tokenizer's optimizer works on: the model's parameters that train, and those of the loss where it has any."""
    return model if loss is None else {"model": model, "loss": loss}


def _smallest_clip(model: Any) -> jax.Array:
    """With a frame after the first, so that what only later frames use is there too."""
    frames, (height, width) = 1 + model.time_factor, model.pad_sides(1, 1)
    return jnp.zeros((1, frames + sum(model.pad_frames(frames)), height, width, 3))
