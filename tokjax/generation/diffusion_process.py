"""Losses of diffusion, and single steps back from noise to latents, as functions of what the network gives.

The network gives the noise, and with a learned range a second value v for each latent: a step's log-variance lies at (v + 1) / 2
between its smallest and its largest sensible one (2102.09672). With flow matching (arXiv 2210.02747) latents and noise are joined
by straight lines x = (1 - s) latents + s noise, and the network gives the direction noise - latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.generation.noise_schedule import Schedule

Network = Callable[[jax.Array, jax.Array], jax.Array]  # (noisy latents [b,t,h,w,c], levels [b]) -> [b,t,h,w,outputs]


def _at(values: np.ndarray, step: jax.Array, x: jax.Array) -> jax.Array:
    """Values of a schedule at steps [b] or [], ready to multiply x [b,...]."""
    found = jnp.asarray(values, jnp.float32)[step]
    return found.reshape(found.shape + (1,) * (x.ndim - found.ndim))


def noised(schedule: Schedule, latents: jax.Array, step: jax.Array, noise: jax.Array) -> jax.Array:
    """Latents after the noise of steps [b]."""
    return _at(np.sqrt(schedule.kept), step, latents) * latents + _at(np.sqrt(1 - schedule.kept), step, latents) * noise


def latents_from(schedule: Schedule, x: jax.Array, step: jax.Array, noise: jax.Array) -> jax.Array:
    """The latents that noisy ones come from, if this is their noise."""
    return _at(np.sqrt(1 / schedule.kept), step, x) * x - _at(np.sqrt(1 / schedule.kept - 1), step, x) * noise


def _known_mean(schedule: Schedule, latents: jax.Array, x: jax.Array, step: jax.Array) -> jax.Array:
    return _at(schedule.mean_of_latents, step, x) * latents + _at(schedule.mean_of_noisy, step, x) * x


def _log_variance(schedule: Schedule, between: jax.Array | None, step: jax.Array, x: jax.Array) -> jax.Array:
    """Of a step back; without a learned range the largest sensible one, but at step 0 that of step 1."""
    if between is None:
        return _at(np.append(schedule.log_variance[:1], np.log(schedule.betas[1:])), step, x)
    least, most = _at(schedule.log_variance, step, x), _at(np.log(schedule.betas), step, x)
    share = (between + 1) / 2
    return share * most + (1 - share) * least


def noise_losses(
    schedule: Schedule, network: Network, latents: jax.Array, step: jax.Array, noise: jax.Array
) -> dict[str, jax.Array]:
    """Of each sample [b]: `mse` of the noise, and with a learned range `vb`, the bound in bits, which teaches the variance."""
    x = noised(schedule, latents, step, noise)
    output = network(x, jnp.asarray(schedule.levels)[step])
    guess, between = _parts(output, latents.shape[-1])
    losses = {"mse": _mean(jnp.square(noise - guess))}
    if between is not None:
        losses["vb"] = _bound(schedule, latents, x, step, jax.lax.stop_gradient(guess), between)
    return losses


def flow_losses(network: Network, latents: jax.Array, time: jax.Array, noise: jax.Array) -> dict[str, jax.Array]:
    """`mse` of the direction of each sample [b], at times [b] in 0..1."""
    s = time.reshape(-1, *(1,) * (latents.ndim - 1))
    direction = network((1 - s) * latents + s * noise, 1000 * time)
    return {"mse": _mean(jnp.square(noise - latents - direction))}


def _parts(output: jax.Array, channels: int) -> tuple[jax.Array, jax.Array | None]:
    between = output[..., channels:]
    return output[..., :channels], between if between.shape[-1] else None


def _mean(x: jax.Array) -> jax.Array:
    return x.mean(tuple(range(1, x.ndim)))


def _bound(
    schedule: Schedule, latents: jax.Array, x: jax.Array, step: jax.Array, guess: jax.Array, between: jax.Array
) -> jax.Array:
    """The term of the variational bound in bits a value: the divergence from the known step back, at step 0 the likelihood."""
    log_variance = _log_variance(schedule, between, step, x)
    mean = _known_mean(schedule, latents_from(schedule, x, step, guess), x, step)
    true_mean, true_log = _known_mean(schedule, latents, x, step), _at(schedule.log_variance, step, x)
    apart = jnp.square(true_mean - mean) * jnp.exp(-log_variance)
    divergence = 0.5 * (-1 + log_variance - true_log + jnp.exp(true_log - log_variance) + apart)
    bits = jnp.where(step == 0, _mean(_surprise(latents, mean, 0.5 * log_variance)), _mean(divergence))
    return bits / math.log(2)


def _surprise(x: jax.Array, mean: jax.Array, log_deviation: jax.Array) -> jax.Array:
    """-log of the probability that a normal distribution gives to the bin of width 2/255 around x, open at -1 and 1, in nats."""

    def below(edge: float) -> jax.Array:
        z = (x - mean + edge) * jnp.exp(-log_deviation)
        return 0.5 * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))  # as published

    least = 1e-12
    high, low = below(1 / 255), below(-1 / 255)
    inside = jnp.log(jnp.maximum(high - low, least))
    upper = jnp.where(x > 0.999, jnp.log(jnp.maximum(1 - low, least)), inside)
    return -jnp.where(x < -0.999, jnp.log(jnp.maximum(high, least)), upper)


def ancestral_step(schedule: Schedule, output: jax.Array, x: jax.Array, step: jax.Array, noise: jax.Array) -> jax.Array:
    """DDPM: x at step [] -> x at the step before it."""
    guess, between = _parts(output, x.shape[-1])
    mean = _known_mean(schedule, latents_from(schedule, x, step, guess), x, step)
    return mean + (step > 0) * jnp.exp(0.5 * _log_variance(schedule, between, step, x)) * noise


def implicit_step(schedule: Schedule, output: jax.Array, x: jax.Array, step: jax.Array) -> jax.Array:
    """DDIM (arXiv 2010.02502) without noise: x at step [] -> x at the step before it."""
    guess, _ = _parts(output, x.shape[-1])
    latents = latents_from(schedule, x, step, guess)
    before = np.append(1.0, schedule.kept[:-1])
    return _at(np.sqrt(before), step, x) * latents + _at(np.sqrt(1 - before), step, x) * guess
