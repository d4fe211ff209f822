"""What a step makes of gradients: the tokenizer's new parameters and averages, and whether anything of it may be kept."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from tokjax.training.optimizers import merge, split, update_average
from tokjax.training.paths import matching
from tokjax.training.players import Carried, Learned, Metrics
from tokjax.training.state import TrainState, for_optimizer

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_MUST_BE_FINITE = ("loss", "gradient_norm", "discriminator_loss", "discriminator_gradient_norm")


def carried_by(state: TrainState) -> Carried:
    """What of a state changes without gradients."""
    theirs = state.discriminator
    return Carried(state.model_state, theirs.batch_stats if theirs else {}, theirs.averages if theirs else {})


def generator_updated(
    state: TrainState,
    gradients: Learned,
    model_state: dict[str, Any],
    optimizer: optax.GradientTransformation,
    config: ConfigDict,
) -> TrainState:
    """The state with the tokenizer's parameters after an update, the moving average that follows, and its new collections."""
    frozen, frozen_state = (matching(tree, config.optimizer.freeze) for tree in (state.params, state.model_state))
    trained, held = split(state.params, frozen)
    before = for_optimizer(trained, state.loss)
    updates, optimizer_state = optimizer.update(for_optimizer(gradients.model, gradients.loss), state.optimizer, before)
    after = optax.apply_updates(before, updates)
    trained, loss = (after, None) if state.loss is None else (after["model"], after["loss"])
    params = merge(trained, held, frozen)
    return state.replace(
        params=params,
        model_state=merge(model_state, state.model_state, frozen_state),
        optimizer=optimizer_state,
        ema=_average(state, params, config),
        loss=loss,
    )


def _average(state: TrainState, params: Any, config: ConfigDict) -> Any:
    if state.ema is None:
        return None
    batches, batch = config.training.batches_per_update, state.step + 1
    if batches == 1:
        return update_average(state.ema, params, config.optimizer.ema_decay, batch)
    after = update_average(state.ema, params, config.optimizer.ema_decay, batch // batches)
    return jax.tree.map(lambda new, old: jnp.where(batch % batches == 0, new, old), after, state.ema)


def kept_if_finite(new: TrainState, before: TrainState, metrics: Metrics) -> tuple[TrainState, Metrics]:
    """The new state, or the one before it where a loss or gradient is not finite; the step is counted in both."""
    finite = functools.reduce(operator.and_, [jnp.isfinite(metrics[name]) for name in _MUST_BE_FINITE if name in metrics])
    kept = jax.tree.map(lambda after, old: jnp.where(finite, after, old), new, before)
    nonfinite = jnp.where(finite, 0, before.nonfinite + 1)
    return kept.replace(step=before.step + 1, nonfinite=nonfinite), metrics | {"nonfinite": nonfinite}
