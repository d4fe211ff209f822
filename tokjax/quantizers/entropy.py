"""Losses of codes that are a grid, one value per channel: entropy and commitment, shared by FSQ and LFQ.

Source: MAGVIT-v2 (Yu et al., arXiv 2310.05737, section 3.1) defines the entropy terms for LFQ; the soft assignment with its
inverse temperature of 100 and its clamped logarithm is that of `vector-quantize-pytorch`, which VidTok takes over for FSQ.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

INVERSE_TEMPERATURE = 100.0
SMALLEST_PROBABILITY = 1e-5  # probabilities below it count as it inside the logarithm, as published


@dataclasses.dataclass(frozen=True)
class GridLosses:
    """Attributes:
    entropy_weight: of (entropy of a position's soft code) - diversity_gamma * (entropy of the mean code); 0 leaves it out.
    entropy_annealing_steps, entropy_annealing_factor: the weight falls linearly from factor x to 1 x over these steps.
    commitment_weight: of the squared distance between encoder output and code; 0 leaves it out.
    """

    entropy_weight: float = 0.1
    entropy_annealing_steps: int = 2000
    entropy_annealing_factor: float = 3.0
    commitment_weight: float = 0.25
    diversity_gamma: float = 1.0

    def __call__(
        self, z: jax.Array, codes: jax.Array, values: Sequence[np.ndarray], step: jax.Array | int
    ) -> dict[str, jax.Array]:
        """Scalars, `regularization` their weighted sum.

        Args:
          z: float32 [..., c], encoder output before any bounding.
          codes: float32 [..., c], the code of each position.
          values: for each channel the values that a code can have there, float32 [number of them].
          step: training step, for the annealing.
        """
        zero = jnp.zeros((), jnp.float32)
        commitment = jnp.mean((z - jax.lax.stop_gradient(codes)) ** 2) if self.commitment_weight else zero
        per_position, of_mean = code_entropies(z.reshape(-1, z.shape[-1]), values) if self.entropy_weight else (zero, zero)
        entropy = per_position - self.diversity_gamma * of_mean
        return {
            "per_sample_entropy": per_position,
            "codebook_entropy": of_mean,
            "commitment": commitment,
            "regularization": self._weight(step) * entropy + self.commitment_weight * commitment,
        }

    def _weight(self, step: jax.Array | int) -> jax.Array:
        progress = jnp.clip(jnp.asarray(step, jnp.float32) / max(1, self.entropy_annealing_steps), 0.0, 1.0)
        return self.entropy_weight * (self.entropy_annealing_factor - progress * (self.entropy_annealing_factor - 1.0))


def code_entropies(u: jax.Array, values: Sequence[np.ndarray]) -> tuple[jax.Array, jax.Array]:
    """Mean entropy of each position's soft code assignment, and entropy of the mean assignment, in nats.

    The assignment of u [n, c] to code C is softmax(2 * INVERSE_TEMPERATURE * <u, C>). It factorises over channels, so with the
    codebook split into two halves of channels, p = a_i * b_j, nothing of size [n, codebook] is ever formed: the mean assignment
    is one matrix product, and the entropy's sum over j has a closed form once b is sorted, the clamp of p included.

    Args:
      u: float32 [n, c].
      values: for each of the c channels the values that a code can have there.
    """
    split = (len(values) + 1) // 2
    log_a, log_b = _log_product(u[:, :split], values[:split]), _log_product(u[:, split:], values[split:])
    mean = jnp.matmul(jnp.exp(log_a).T, jnp.exp(log_b), precision="highest") / u.shape[0]
    of_mean = -jnp.sum(mean * jnp.log(jnp.maximum(mean, SMALLEST_PROBABILITY)))
    return jnp.mean(jax.vmap(_clamped_entropy)(log_a, log_b)), of_mean


def _log_product(u: jax.Array, values: Sequence[np.ndarray]) -> jax.Array:
    """Log-probabilities [n, number of codes] of the codes of some channels, channel 0 fastest."""
    total = jnp.zeros((u.shape[0], 1))
    for channel, levels in enumerate(values):
        logits = 2 * INVERSE_TEMPERATURE * u[:, channel, None] * levels
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
