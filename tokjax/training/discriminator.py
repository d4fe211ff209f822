"""The discriminators' side of a step: their loss on originals and reconstructions, and their update."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from tokjax.losses.adversarial import start_and_ramp
from tokjax.losses.objective import discriminators_loss
from tokjax.training.adversary import AdversaryState
from tokjax.training.forward import Forward
from tokjax.training.generator import look_keys
from tokjax.training.players import Metrics, Rules, Turn


def discriminator_side(
    rules: Rules, turn: Turn, done: Forward, judges: Any, batch_stats: Any, averages: dict[str, jax.Array]
) -> tuple[jax.Array, Metrics, tuple[Any, dict[str, jax.Array]]]:
    """Their loss on the clips of a turn and their reconstructions, its terms, and (running statistics, averages) after it.

    Args:
      judges: their parameters.
    """
    keys, look = look_keys(turn), rules.adversary.look
    reconstruction = jax.lax.stop_gradient(done.reconstruction)
    (real, _), batch_stats = look(judges, batch_stats, done.video, done.shown(done.video), keys[0])
    (fake, _), batch_stats = look(judges, batch_stats, reconstruction, done.shown(reconstruction), keys[1])
    loss, terms, averages = discriminators_loss(rules.config.loss, real, fake, averages)
    loss *= start_and_ramp(turn.step, rules.config.loss.discriminator_start)
    return loss, {"discriminator_loss": loss, **terms}, (batch_stats, averages)


def updated(
    rules: Rules, before: AdversaryState, gradients: Any, loss: jax.Array, step: jax.Array
) -> tuple[AdversaryState, Metrics]:
    """Parameters and optimizer after an update. Both rest before the discriminators' start, and where their loss is below
    `config.discriminator_optimizer.skip_below`.
    """
    config = rules.config
    updates, optimizer = rules.adversary.optimizer.update(gradients, before.optimizer, before.params)
    after = before.replace(params=optax.apply_updates(before.params, updates), optimizer=optimizer)
    learns = (step >= config.loss.discriminator_start) & (loss >= config.discriminator_optimizer.skip_below)
    after = jax.tree.map(lambda new, old: jnp.where(learns, new, old), after, before)
    told = {"discriminator_gradient_norm": optax.tree.norm(gradients), "discriminator_learns": learns.astype(jnp.float32)}
    return after, told
