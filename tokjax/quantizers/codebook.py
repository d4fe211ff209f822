"""The arithmetic of a stored codebook: which code is nearest, and how a codebook follows the vectors that it is given.

Source: OmniTokenizer's `Codebook` (arXiv 2406.09399), itself the moving-average codebook of VQ-VAE (van den Oord et al.,
arXiv 1711.00937, appendix A.1). Under a sharded jit all sums run over the whole batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tokjax.quantizers.usage import histogram

DISTANCES_AT_ONCE = 2**25  # 128 MiB in float32
SMALLEST_COUNT = 1e-7
FILL_NOISE = 0.01
USAGE_DECAY = 0.99


class CodebookState(NamedTuple):
    """A codebook that follows its vectors; all float32.

    Attributes:
      embeddings: [k, c], the codes.
      counts: [k], moving average of how many vectors a batch has for each code.
      sums: [k, c], moving average of the sum of these vectors.
      usage: [k], moving average of each code's share of a batch; all zero until the first batch, which sets it.
      initialized: bool [], whether the codes have been taken from data, where that is wanted.
    """

    embeddings: jax.Array
    counts: jax.Array
    sums: jax.Array
    usage: jax.Array
    initialized: jax.Array


def start(embeddings: jax.Array, usage: jax.Array | None = None, initialized: bool = False) -> CodebookState:
    """The state whose codes are these, each as if one vector had been counted for it."""
    ones, zeros = jnp.ones(len(embeddings)), jnp.zeros(len(embeddings))
    return CodebookState(embeddings, ones, embeddings, zeros if usage is None else usage, jnp.asarray(initialized))


def nearest_codes(z: jax.Array, embeddings: jax.Array) -> jax.Array:
    """int32 [n]: for each z [n, c] the nearest of embeddings [k, c] by Euclidean distance, the first where several are equal.

    At most DISTANCES_AT_ONCE of the n x k distances live at a time. The codes are taken in turns, not the vectors, so that
    vectors spread over devices stay where they are.
    """
    z, embeddings = jax.lax.stop_gradient((z, embeddings))
    codes, width = embeddings.shape
    together = min(codes, max(1, DISTANCES_AT_ONCE // len(z)))
    missing = -codes % together
    squares = jnp.pad(jnp.sum(embeddings**2, axis=1), (0, missing), constant_values=jnp.inf).reshape(-1, together)
    turns = jnp.pad(embeddings, ((0, missing), (0, 0))).reshape(-1, together, width)
    own = jnp.sum(z**2, axis=1, keepdims=True)

    def best(turn: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        distances = own - 2 * jnp.matmul(z, turn[0].T, precision="highest") + turn[1]
        return jnp.min(distances, axis=1), jnp.argmin(distances, axis=1)

    distances, places = jax.lax.map(best, (turns, squares))
    first = jnp.argmin(distances, axis=0)
    return (first * together + jnp.take_along_axis(places, first[None], axis=0)[0]).astype(jnp.int32)


def ema_update(
    state: CodebookState,
    z: jax.Array,
    indices: jax.Array,
    decay: float,
    restart_threshold: float = 0.0,
    candidates: jax.Array | None = None,
) -> CodebookState:
    """The codebook after a batch of vectors z [n, c], found nearest to the codes `indices` [n].

    Args:
      decay: of the moving averages.
      restart_threshold: codes with a smaller moving count are replaced; 0 replaces none.
      candidates: [k, c], what replaces each code (`take_from` or `draw_from`); needed where the threshold is not 0.
    """
    size = len(state.embeddings)
    n = histogram(indices, size).astype(jnp.float32)
    counts = decay * state.counts + (1 - decay) * n
    sums = decay * state.sums + (1 - decay) * jnp.zeros_like(state.sums).at[indices].add(z)
    total = jnp.sum(counts)
    weights = (counts + SMALLEST_COUNT) / (total + size * SMALLEST_COUNT) * total
    embeddings = sums / weights[:, None]
    if restart_threshold:
        embeddings = jnp.where((counts < restart_threshold)[:, None], candidates, embeddings)
    share = n / len(z)
    usage = jnp.where(jnp.any(state.usage > 0), USAGE_DECAY * state.usage + (1 - USAGE_DECAY) * share, share)
    return state._replace(embeddings=embeddings, counts=counts, sums=sums, usage=usage)


def take_from(z: jax.Array, size: int, permutation: jax.Array, noise: jax.Array | None = None) -> jax.Array:
    """[size, c]: vectors z [n, c] in the order of a permutation.

    Where n < size they are repeated m = ceil(size / n) times first, and noise [m * n, c] of unit variance, scaled to a hundredth
    of a unit vector, tells the copies apart; the permutation is then of m * n rows.
    """
    count, width = z.shape
    if count < size:
        z = jnp.tile(z, (-(-size // count), 1)) + noise * (FILL_NOISE / math.sqrt(width))
    return z[permutation[:size]]


def draw_from(z: jax.Array, size: int, rng: jax.Array) -> jax.Array:
    """[size, c]: `take_from` with a permutation and noise of this key."""
    for_order, for_noise = jax.random.split(rng)
    rows = len(z) * max(1, -(-size // len(z)))
    noise = jax.random.normal(for_noise, (rows, z.shape[1])) if len(z) < size else None
    return take_from(z, size, jax.random.permutation(for_order, rows), noise)
