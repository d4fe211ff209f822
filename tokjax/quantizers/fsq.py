"""Finite scalar quantization with entropy and commitment losses (Mentzer et al., arXiv 2309.15505; VidTok's `FSQRegularizer`).

Each latent channel is bounded and rounded to one of a few levels; a code is the tuple of levels, its index the tuple read as a
number whose least significant digit is channel 0. No codebook is stored.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.quantizers.quantized import Quantized

INVERSE_TEMPERATURE = 100.0
SMALLEST_PROBABILITY = 1e-5  # probabilities below it count as it inside the logarithm, as published


@dataclasses.dataclass(frozen=True)
class FSQ:
    """Attributes:
    levels: codes per channel; their number is the latent width.
    entropy_weight: of (entropy of a position's soft code) - diversity_gamma * (entropy of the mean code); 0 leaves it out.
    entropy_annealing_steps, entropy_annealing_factor: the weight falls linearly from factor x to 1 x over these steps.
    commitment_weight: of the squared distance between encoder output and code.
    """

    levels: tuple[int, ...]
    entropy_weight: float = 0.1
    entropy_annealing_steps: int = 2000
    entropy_annealing_factor: float = 3.0
    commitment_weight: float = 0.25
    diversity_gamma: float = 1.0

    moments_per_latent = 1

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels)

    def __call__(self, z: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0) -> Quantized:
        """z [b,t,h,w,c] unbounded -> latents in -1..1, gradients straight through the rounding; no noise is drawn."""
        del rng
        bounded = self._bound(z)
        rounded = bounded + jax.lax.stop_gradient(jnp.round(bounded) - bounded)
        half = np.array(self.levels) // 2
        latents = rounded / half
        digits = jnp.round(jax.lax.stop_gradient(rounded)).astype(jnp.int32) + half
        indices = jnp.sum(digits * self._basis(), axis=-1, dtype=jnp.int32)
        return Quantized(latents, indices, self._losses(z, latents, step) if train else {})

    def indices_to_latents(self, indices: jax.Array) -> jax.Array:
        """int32 [...] -> float32 [..., c]."""
        levels = np.array(self.levels)
        digits = indices[..., None] // self._basis() % levels
        return (digits - levels // 2) / (levels // 2).astype(np.float32)

    def _basis(self) -> np.ndarray:
        return np.cumprod([1, *self.levels[:-1]]).astype(np.int32)

    def _bound(self, z: jax.Array) -> jax.Array:
        levels = np.array(self.levels)
        half = (levels - 1) * (1 + 1e-3) / 2
        offset = np.where(levels % 2 == 0, 0.5, 0.0)
        shift = np.arctanh(offset / half).astype(np.float32)
        return jnp.tanh(z + shift) * half.astype(np.float32) - offset.astype(np.float32)

    def _losses(self, z: jax.Array, latents: jax.Array, step: jax.Array | int) -> dict[str, jax.Array]:
        zero = jnp.zeros((), jnp.float32)
        commitment = jnp.mean((z - jax.lax.stop_gradient(latents)) ** 2) if self.commitment_weight else zero
        per_position, of_mean = code_entropies(z.reshape(-1, z.shape[-1]), self.levels) if self.entropy_weight else (zero, zero)
        progress = jnp.clip(jnp.asarray(step, jnp.float32) / max(1, self.entropy_annealing_steps), 0.0, 1.0)
        weight = self.entropy_weight * (self.entropy_annealing_factor - progress * (self.entropy_annealing_factor - 1.0))
        total = weight * (per_position - self.diversity_gamma * of_mean) + self.commitment_weight * commitment
        return {
            "per_sample_entropy": per_position,
            "codebook_entropy": of_mean,
            "commitment": commitment,
            "regularization": total,
        }


def code_entropies(u: jax.Array, levels: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Mean entropy of each position's soft code assignment, and entropy of the mean assignment, in nats.

    The assignment of u [n, c] to code C is softmax(2 * INVERSE_TEMPERATURE * <u, C>). It factorises over channels, so with the
    codebook split into two halves of channels, p = a_i * b_j, nothing of size [n, codebook] is ever formed: the mean assignment
    is one matrix product, and the entropy's sum over j has a closed form once b is sorted, the clamp of p included.
    """
    split = (len(levels) + 1) // 2
    log_a, log_b = _log_product(u[:, :split], levels[:split]), _log_product(u[:, split:], levels[split:])
    mean = jnp.matmul(jnp.exp(log_a).T, jnp.exp(log_b), precision="highest") / u.shape[0]
    of_mean = -jnp.sum(mean * jnp.log(jnp.maximum(mean, SMALLEST_PROBABILITY)))
    return jnp.mean(jax.vmap(_clamped_entropy)(log_a, log_b)), of_mean


def _log_product(u: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """Log-probabilities [n, prod(levels)] of the codes of some channels, channel 0 fastest."""
    total = jnp.zeros((u.shape[0], 1))
    for channel, count in enumerate(levels):
        values = (np.arange(count) - count // 2) / (count // 2)
        logits = 2 * INVERSE_TEMPERATURE * u[:, channel, None] * values.astype(np.float32)
        total = (jax.nn.log_softmax(logits)[:, :, None] + total[:, None, :]).reshape(u.shape[0], -1)
    return total


def _clamped_entropy(log_a: jax.Array, log_b: jax.Array) -> jax.Array:
    """-sum_ij a_i b_j max(log a_i + log b_j, floor): for each i, the j above the floor are a suffix of sorted b."""
    log_b = jnp.sort(log_b)
    a, b, floor = jnp.exp(log_a), jnp.exp(log_b), math.log(SMALLEST_PROBABILITY)
    above_mass = jnp.append(jnp.cumsum(b[::-1])[::-1], 0.0)
    above_plogp = jnp.append(jnp.cumsum((b * log_b)[::-1])[::-1], 0.0)
    below_mass = jnp.append(0.0, jnp.cumsum(b))
    first = jnp.searchsorted(log_b, floor - log_a)
    return -jnp.sum(a * (log_a * above_mass[first] + above_plogp[first] + floor * below_mass[first]))
