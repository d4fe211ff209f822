"""How a codebook is used: counts of codes, and what follows from them.

Counts add: over batches, over devices, over machines. Everything else is computed once, at the end, from the sum.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def histogram(indices: jax.Array, codebook_size: int, valid: jax.Array | None = None) -> jax.Array:
    """How often each code occurs, int32 [codebook_size]; can be jitted, exact on sharded arrays.

    An index outside 0..codebook_size-1 is counted nowhere, so it shows as a sum that is too small. Add the counts of several
    batches in int64 on the host: int32 holds those of one batch, float32 would lose integers above 2**24.

    Args:
      indices: int [b,...].
      valid: bool [b], the rows that count; None counts all.
    """
    ones = jnp.ones(indices.shape, jnp.int32)
    if valid is not None:
        ones *= valid.reshape((-1,) + (1,) * (indices.ndim - 1))
    zeros = jnp.zeros(codebook_size, jnp.int32)
    return zeros.at[indices].add(ones, mode="drop", wrap_negative_indices=False)


def usage(counts: np.ndarray) -> float:
    """Share of the codebook that occurs at least once, 0..1."""
    return float(np.mean(_counted(counts) > 0))


def dead_codes(counts: np.ndarray) -> int:
    """Number of codes that never occur."""
    return int(np.sum(_counted(counts) == 0))


def perplexity(counts: np.ndarray) -> float:
    """exp(-sum p ln(p + 1e-10)), as in VQGAN and OmniTokenizer: how many equally likely codes would be as varied."""
    p = _shares(counts)
    return float(np.exp(-np.sum(p * np.log(p + 1e-10))))


def entropy_bits(counts: np.ndarray) -> float:
    """-sum p log2(p + 1e-8) in bits a code, as TiTok defines it."""
    p = _shares(counts)
    return float(-np.sum(p * np.log2(p + 1e-8)))


def _counted(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts)
    if not counts.sum() > 0:
        raise ValueError("no code has been counted, so the use of the codebook is not defined; count at least one batch")
    return counts


def _shares(counts: np.ndarray) -> np.ndarray:
    counts = _counted(counts).astype(np.float64)
    return counts / counts.sum()
