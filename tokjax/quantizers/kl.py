"""Diagonal Gaussian latents with a Kullback-Leibler loss (VidTok's `DiagonalGaussianRegularizer`)."""

import dataclasses

import jax
import jax.numpy as jnp

from tokjax.quantizers.quantized import Quantized


@dataclasses.dataclass(frozen=True)
class KL:
    """Latents are the mean, or a sample around it where a key is given; the loss is the divergence from a unit Gaussian."""

    moments_per_latent = 2
    codebook_size = None

    def __call__(self, z: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0) -> Quantized:
        """z [b,t,h,w,2c], means then log-variances. The loss is summed over a clip and averaged over clips."""
        del step
        mean, log_variance = _moments(z)
        latents = mean if rng is None else sample(z, jax.random.normal(rng, mean.shape))
        losses = {}
        if train:
            kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1.0 - log_variance) / z.shape[0]
            losses = {"kl": kl, "regularization": kl}
        return Quantized(latents, None, losses)


def sample(z: jax.Array, noise: jax.Array) -> jax.Array:
    """Latents for unit Gaussian noise of their shape."""
    mean, log_variance = _moments(z)
    return mean + jnp.exp(0.5 * log_variance) * noise


def _moments(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_variance = jnp.split(z.astype(jnp.float32), 2, axis=-1)
    return mean, jnp.clip(log_variance, -30.0, 20.0)
