"""OmniTokenizer's order of updates as published, with its defects, for comparison with the original. `step.py` has none of them.

- The discriminators learn from a second forward pass, after the tokenizer's update, with frames and noise drawn anew; so the
  codebook follows its vectors twice a step.
- The generator's loss reaches the discriminators' gradients, which are not cleared before their own is added.
- Where their loss on the last batch of an update is below `skip_below`, the gradients of all batches of the update are dropped. A
  batch that they do not judge has the loss 0, so that with images and clips in turn they may never learn.
- Augmentation is for the discriminators' update alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from tokjax.quantizers.usage import batch_statistics
from tokjax.training import forward
from tokjax.training.adversary import AdversaryState
from tokjax.training.discriminator import discriminator_side
from tokjax.training.generator import judged_loss
from tokjax.training.optimizers import merge, split
from tokjax.training.paths import matching
from tokjax.training.players import Learned, Metrics, Outcome, Rules, Turn
from tokjax.training.state import TrainState
from tokjax.training.updates import carried_by, generator_updated, kept_if_finite

if TYPE_CHECKING:
    from tokjax.losses.weight_files import Weights


def make_published_step(rules: Rules, optimizer: optax.GradientTransformation) -> Callable:
    """As tokjax.training.step.make_train_step; `rules` have an adversary."""
    config = rules.config

    def train_step(state: TrainState, video: jax.Array, perceptual: Weights | None = None) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        turn, second = (Turn(video, one, state.step, perceptual) for one in jax.random.split(key))
        frozen = matching(state.params, config.optimizer.freeze)
        trained, held = split(state.params, frozen)

        def heard(learned: Learned) -> tuple[jax.Array, Outcome]:
            carried = carried_by(state)
            done = forward.run(rules, turn, merge(learned.model, held, frozen), carried.model)
            scalar, metrics, stats = judged_loss(rules, turn, done, learned, carried)
            carried = carried._replace(model=done.model_state, batch_stats=stats)
            return scalar, Outcome(metrics | {"psnr": done.quality}, carried, done.quantized.indices)

        gradients, outcome = jax.grad(heard, has_aux=True)(Learned(trained, state.loss, state.discriminator.params))
        metrics = outcome.metrics | {"gradient_norm": optax.tree.norm((gradients.model, gradients.loss))}
        new = generator_updated(state, gradients, outcome.carried.model, optimizer, config)
        done = forward.run(rules, second, new.params, new.model_state)
        theirs = state.discriminator.replace(batch_stats=outcome.carried.batch_stats)
        theirs, more = _judges_updated(rules, second, done, theirs, gradients.adversary)
        new = new.replace(model_state=done.model_state, discriminator=theirs)
        new, metrics = kept_if_finite(new, state, metrics | more)
        codes = rules.model.quantizer.codebook_size
        return new, metrics if codes is None else metrics | batch_statistics(outcome.indices, codes)

    return train_step


def _judges_updated(
    rules: Rules, turn: Turn, done: forward.Forward, before: AdversaryState, left: Any
) -> tuple[AdversaryState, Metrics]:
    """The discriminators after their update, with the gradients that the generator's loss has left in theirs."""

    def loss(judges: Any) -> tuple[jax.Array, Any]:
        value, *rest = discriminator_side(rules, turn, done, judges, before.batch_stats, before.averages)
        return value, rest

    gradients, (metrics, (batch_stats, averages)) = jax.grad(loss, has_aux=True)(before.params)
    gradients = jax.tree.map(jnp.add, left, gradients)
    updates, optimizer = rules.adversary.optimizer.update(gradients, before.optimizer, before.params)
    rests, inner = metrics["discriminator_loss"] < rules.config.discriminator_optimizer.skip_below, None
    if rules.config.training.batches_per_update > 1:
        rests &= optimizer.mini_step == 0  # the update that is made of the batches so far
        inner = before.optimizer.inner_opt_state
    resting = before.optimizer if inner is None else optimizer._replace(inner_opt_state=inner)
    old = (before.params, resting)
    new = (optax.apply_updates(before.params, updates), optimizer)
    params, optimizer = jax.tree.map(lambda one, other: jnp.where(rests, one, other), old, new)
    norm = {"discriminator_gradient_norm": optax.tree.norm(gradients)}
    return AdversaryState(params, batch_stats, averages, optimizer), metrics | norm
