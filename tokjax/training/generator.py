"""The tokenizer's side of a step: all of its losses, sent back through it once.

With discriminators, the losses are differentiated at the reconstruction first. That gives two cotangents: of the distance
(reconstruction and perceptual loss) and of what the discriminators say. What each asks of the last layer alone makes the adaptive
weight (VQGAN, arXiv 2012.09841, eq. 7). The reconstruction is then multiplied with their weighted sum: the gradient of that
product is the gradient of the loss, and the long way back through the model is taken once.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from tokjax.losses import objective
from tokjax.losses.adversarial import adaptive_weight, start_and_ramp
from tokjax.training.forward import Forward
from tokjax.training.players import Carried, Learned, Metrics, Rules, Turn


def plain_loss(rules: Rules, turn: Turn, done: Forward, learned: Learned) -> tuple[jax.Array, Metrics]:
    """Where nothing is judged: the loss and its terms."""
    far, terms = _distance(rules, turn, done, done.reconstruction, learned.loss)
    total = far + rules.config.loss.regularization_weight * done.quantized.losses["regularization"]
    return total, {"loss": total, **terms, **done.quantized.losses, **(learned.loss or {})}


def judged_loss(rules: Rules, turn: Turn, done: Forward, learned: Learned, carried: Carried) -> tuple[jax.Array, Metrics, Any]:
    """With discriminators: a scalar whose gradient is the loss's, the loss and its terms, and the running statistics after it.

    The gradient stops before the discriminators, except in the published mode.
    """
    loss, published = rules.config.loss, rules.config.training.mode == "published"
    reconstruction, own, judges = jax.lax.stop_gradient((done.reconstruction, learned.loss, learned.adversary))

    def distance(reconstruction: jax.Array, own: Any) -> tuple[jax.Array, Metrics]:
        return _distance(rules, turn, done, reconstruction, own)

    def heard(reconstruction: jax.Array, judges: Any) -> tuple[jax.Array, tuple[Metrics, Any]]:
        return _heard(rules, turn, done, reconstruction, judges, carried)

    (far, terms), (from_far, from_own) = jax.value_and_grad(distance, (0, 1), has_aux=True)(reconstruction, own)
    (said, (more, stats)), cotangents = jax.value_and_grad(heard, (0, 1) if published else (0,), has_aux=True)(
        reconstruction, judges
    )
    weight = start_and_ramp(turn.step, loss.adversarial_start, loss.adversarial_ramp)
    if loss.adaptive:
        # The ratio is that of the losses before their weights.
        pulls = done.last_layer(from_far), done.last_layer(cotangents[0]) / loss.adversarial_weight
        balance = adaptive_weight(*pulls, loss.adaptive_limit)
        more["adaptive_weight"], weight = loss.adversarial_weight * balance, weight * balance
    regularization = loss.regularization_weight * done.quantized.losses["regularization"]
    cotangents = jax.tree.map(lambda leaf: weight * leaf, cotangents)
    scalar = _product(done.reconstruction, from_far + cotangents[0]) + _product(learned.loss, from_own) + regularization
    if published:
        scalar += _product(learned.adversary, cotangents[1])
    total = far + weight * said + regularization
    return scalar, {"loss": total, **terms, **more, **done.quantized.losses, **(own or {})}, stats


def _distance(rules: Rules, turn: Turn, done: Forward, reconstruction: jax.Array, own: Any) -> tuple[jax.Array, Metrics]:
    log_variance = None if own is None else own["log_variance"]
    return objective.distance(rules.config.loss, done.video, reconstruction, turn.perceptual, done.frame, log_variance)


def _heard(
    rules: Rules, turn: Turn, done: Forward, reconstruction: jax.Array, judges: Any, carried: Carried
) -> tuple[jax.Array, tuple[Metrics, Any]]:
    """What the discriminators say to a reconstruction, with its weights; terms without them; running statistics after it."""
    loss, published = rules.config.loss, rules.config.training.mode == "published"
    keys, look = look_keys(turn), rules.adversary.look
    (fake, of_fake), stats = look(
        judges, carried.batch_stats, reconstruction, done.shown(reconstruction), keys[1], damage=not published
    )
    said, terms = objective.adversarial_loss(loss, fake)
    said *= loss.adversarial_weight
    if loss.feature_matching_weight:
        (_, of_real), stats = look(judges, stats, done.video, done.shown(done.video), keys[0], damage=not published)
        matching, more = objective.matching_loss(loss, of_real, of_fake)
        said, terms = said + loss.feature_matching_weight * matching, terms | more
    return said, (terms, stats)


def look_keys(turn: Turn) -> tuple[jax.Array, jax.Array]:
    """Keys of what is drawn when videos and when reconstructions are judged: the same for both players, who share the work."""
    return jax.random.fold_in(turn.key, 2), jax.random.fold_in(turn.key, 3)


def _product(tree: Any, cotangents: Any) -> jax.Array:
    """The scalar whose gradient with respect to a tree is these cotangents."""
    products = jax.tree.map(lambda leaf, pull: jnp.sum(leaf * jax.lax.stop_gradient(pull)), tree, cotangents)
    return sum(jax.tree.leaves(products), jnp.zeros(()))
