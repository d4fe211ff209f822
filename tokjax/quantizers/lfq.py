"""Lookup-free quantization: the signs of the channels are the code (MAGVIT-v2, Yu et al., arXiv 2310.05737, section 3.1).

c channels make 2**c codes of -1 and 1; the index reads the positive channels as the bits of a number, channel 0 the lowest, as in
the paper. Entropy and commitment losses are those that VidTok puts on FSQ (tokjax.quantizers.entropy says whose they are).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.quantizers.entropy import GridLosses
from tokjax.quantizers.quantized import Quantized


@dataclasses.dataclass(frozen=True)
class LFQ:
    """Attributes:
    codebook_size: a power of 2; its logarithm is the latent width.
    losses: entropy and commitment; weights of zero leave them out.
    """

    codebook_size: int
    losses: GridLosses = dataclasses.field(default_factory=GridLosses)

    moments_per_latent = 1

    @property
    def code_width(self) -> int:
        return self.codebook_size.bit_length() - 1

    def __call__(self, z: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0) -> Quantized:
        """z [b,t,h,w,c] unbounded -> latents of -1 and 1 (zero counts as -1), gradients straight through; no noise is drawn."""
        del rng
        z = z.astype(jnp.float32)
        positive = z > 0
        codes = jnp.where(positive, 1.0, -1.0)
        indices = jnp.sum(positive << np.arange(self.code_width), axis=-1, dtype=jnp.int32)
        values = [np.array([-1, 1], np.float32)] * self.code_width
        losses = self.losses(z, codes, values, step) if train else {}
        return Quantized(jax.lax.stop_gradient(codes - z) + z, indices, losses)

    def indices_to_latents(self, indices: jax.Array) -> jax.Array:
        """int32 [...] -> float32 [..., c]."""
        bits = indices[..., None] >> np.arange(self.code_width) & 1
        return (2 * bits - 1).astype(jnp.float32)
