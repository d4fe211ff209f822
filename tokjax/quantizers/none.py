"""No quantization: the latents of a plain autoencoder are what its encoder gives."""

import dataclasses

import jax
import jax.numpy as jnp

from tokjax.quantizers.quantized import Quantized


@dataclasses.dataclass(frozen=True)
class NoQuantizer:
    """Latents are the input, and nothing is asked of them."""

    moments_per_latent = 1
    codebook_size = None

    def __call__(self, z: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0) -> Quantized:
        """z [b,t,h,w,c] -> the same in float32; the loss is zero."""
        del rng, step
        return Quantized(z.astype(jnp.float32), None, {"regularization": jnp.zeros((), jnp.float32)} if train else {})
