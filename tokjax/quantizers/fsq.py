"""Finite scalar quantization (Mentzer et al., arXiv 2309.15505), with VidTok's entropy and commitment losses (`FSQRegularizer`).

Each latent channel is bounded and rounded to one of a few levels; a code is the tuple of levels, its index the tuple read as a
number whose least significant digit is channel 0. No codebook is stored.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.quantizers.entropy import GridLosses
from tokjax.quantizers.quantized import Quantized


@dataclasses.dataclass(frozen=True)
class FSQ:
    """Attributes:
    levels: codes per channel; their number is the latent width.
    losses: entropy and commitment; weights of zero leave them out.
    """

    levels: tuple[int, ...]
    losses: GridLosses = dataclasses.field(default_factory=GridLosses)

    moments_per_latent = 1

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels)

    def __call__(self, z: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0) -> Quantized:
        """z [b,t,h,w,c] unbounded -> latents in -1..1, gradients straight through the rounding; no noise is drawn."""
        del rng
        z = z.astype(jnp.float32)
        bounded = self._bound(z)
        rounded = bounded + jax.lax.stop_gradient(jnp.round(bounded) - bounded)
        half = np.array(self.levels) // 2
        latents = rounded / half
        digits = jnp.round(jax.lax.stop_gradient(rounded)).astype(jnp.int32) + half
        indices = jnp.sum(digits * self._basis(), axis=-1, dtype=jnp.int32)
        return Quantized(latents, indices, self.losses(z, latents, self._values(), step) if train else {})

    def indices_to_latents(self, indices: jax.Array) -> jax.Array:
        """int32 [...] -> float32 [..., c]."""
        levels = np.array(self.levels)
        digits = indices[..., None] // self._basis() % levels
        return (digits - levels // 2) / (levels // 2).astype(np.float32)

    def _basis(self) -> np.ndarray:
        return np.cumprod([1, *self.levels[:-1]]).astype(np.int32)

    def _values(self) -> list[np.ndarray]:
        """For each channel, what a code can be there."""
        return [((np.arange(count) - count // 2) / (count // 2)).astype(np.float32) for count in self.levels]

    def _bound(self, z: jax.Array) -> jax.Array:
        levels = np.array(self.levels)
        half = (levels - 1) * (1 + 1e-3) / 2
        offset = np.where(levels % 2 == 0, 0.5, 0.0)
        shift = np.arctanh(offset / half).astype(np.float32)
        return jnp.tanh(z + shift) * half.astype(np.float32) - offset.astype(np.float32)
