"""What a discriminator's verdicts cost: pure functions of its logits [samples, time, height, width] and activations.

A kind names a pair of losses, the generator's and the discriminator's:

  kind                    generator                                discriminator
  hinge                   -mean(fake)                              (mean relu(1 - real) + mean relu(1 + fake)) / 2
  vanilla                 -mean(fake)                              (mean softplus(-real) + mean softplus(fake)) / 2
  non_saturating          mean softplus(-fake)                     as vanilla
  hinge_cross_entropy     mean softplus(-mean of a sample's fake)  as hinge
  vanilla_cross_entropy   as above                                 as vanilla

OmniTokenizer has hinge (vanilla is its option), VidTok's recipes hinge_cross_entropy.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

KINDS = ("hinge", "vanilla", "non_saturating", "hinge_cross_entropy", "vanilla_cross_entropy")


def generator_loss(fake: jax.Array, kind: str) -> jax.Array:
    """How far the discriminator is from taking reconstructions for real: a scalar of their logits [samples, t, h, w]."""
    if kind == "non_saturating":
        return jnp.mean(jax.nn.softplus(-fake))
    if kind.endswith("_cross_entropy"):
        return jnp.mean(jax.nn.softplus(-jnp.mean(fake, axis=(1, 2, 3))))
    return -jnp.mean(fake)


def discriminator_loss(real: jax.Array, fake: jax.Array, kind: str) -> jax.Array:
    """How badly the discriminator tells real videos from reconstructions: a scalar of both their logits [samples, t, h, w]."""
    if kind.startswith("hinge"):
        return (jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))) / 2
    return (jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))) / 2


def accuracy(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Share of logits with the right sign, real and reconstructed ones counting alike; 0.5 is guessing, 1 is saturated."""
    return (jnp.mean(real > 0) + jnp.mean(fake < 0)) / 2


def update_averages(averages: jax.Array, real: jax.Array, fake: jax.Array, decay: float = 0.999) -> jax.Array:
    """LeCAM's moving averages (real, fake) of the mean logits, float32 [2], which start at 0, after one more batch."""
    now = jnp.stack([jnp.mean(real), jnp.mean(fake)])
    return decay * averages + (1 - decay) * jax.lax.stop_gradient(now)


def lecam(real: jax.Array, fake: jax.Array, averages: jax.Array) -> jax.Array:
    """LeCAM regularization (Tseng et al., arXiv 2104.03310): logits that run away from the other side's average cost.

    `averages` is what `update_averages` returned for this very batch, as in VidTok.
    """
    return jnp.mean(jax.nn.relu(real - averages[1]) ** 2) + jnp.mean(jax.nn.relu(averages[0] - fake) ** 2)


def feature_matching(real: Sequence[jax.Array], fake: Sequence[jax.Array]) -> jax.Array:
    """Sum over layers of the mean absolute difference of activations; no gradient flows to those of the real videos."""
    pairs = zip(real, fake, strict=True)
    return sum(jnp.mean(jnp.abs(f.astype(jnp.float32) - jax.lax.stop_gradient(r).astype(jnp.float32))) for r, f in pairs)


def adaptive_weight(
    reconstruction_gradient: jax.Array, adversarial_gradient: jax.Array, limit: float = 1e4, epsilon: float = 1e-4
) -> jax.Array:
    """The weight that makes the adversarial loss pull at the last layer as hard as the reconstruction loss does.

    The ratio of the norms of their gradients with respect to the last layer's kernel, at most `limit`; a constant to
    differentiation (VQGAN, arXiv 2012.09841, eq. 7).
    """
    norms = [jnp.sqrt(jnp.sum(jnp.square(g.astype(jnp.float32)))) for g in (reconstruction_gradient, adversarial_gradient)]
    return jax.lax.stop_gradient(jnp.clip(norms[0] / (norms[1] + epsilon), 0.0, limit))


def start_and_ramp(step: jax.Array, start: int, ramp: int = 0) -> jax.Array:
    """0 before step `start`; then 1, or growing to it in `ramp` equal steps, the first at `start`."""
    begun = jnp.asarray(step - start + 1, jnp.float32)
    return jnp.clip(begun / max(ramp, 1), 0.0, 1.0)
