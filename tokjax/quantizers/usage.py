"""How a codebook is used: counts of codes, and what follows from them.

Counts add: over batches, over devices, over machines. Everything else is computed once, at the end, from the sum; only
`batch_statistics`, for the log of training, looks at one batch alone.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

LARGEST_HISTOGRAM = 2**18


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


def batch_statistics(indices: jax.Array, codebook_size: int) -> dict[str, jax.Array]:
    """How one batch uses the codebook, as float32 scalars; can be jitted, and is of the whole batch where it is sharded.

    A batch with fewer positions than there are codes cannot use them all: its usage says less than that of a whole evaluation.

    Args:
      indices: int32 [b,t,h,w], or [b,t,h,w,n] of n codebooks, over which the statistics are averaged.

    Returns:
      codebook_usage (share of codes that occur, 0..1), codebook_perplexity (as `perplexity`), dead_codes (how many do not occur).
    """
    if indices.ndim == 5:
        each = jax.vmap(lambda one: batch_statistics(one, codebook_size), in_axes=-1)(indices)
        return jax.tree.map(jnp.mean, each)
    counts = _occurrences(indices.ravel(), codebook_size)
    used = jnp.sum(counts > 0).astype(jnp.float32)
    p = counts / indices.size
    return {
        "codebook_usage": used / codebook_size,
        "codebook_perplexity": jnp.exp(-jnp.sum(p * jnp.log(p + 1e-10))),
        "dead_codes": codebook_size - used,
    }


def _occurrences(indices: jax.Array, codebook_size: int) -> jax.Array:
    """Counts of the codes among indices [n], in any order, codes that do not occur left out or 0.

    A large codebook gets the lengths of the runs of the sorted indices, so that memory follows the batch and not the codebook.
    """
    if codebook_size <= LARGEST_HISTOGRAM:
        return histogram(indices, codebook_size)
    ordered = jnp.sort(indices)
    run = jnp.cumsum(jnp.append(0, ordered[1:] != ordered[:-1]))
    return jnp.zeros(indices.shape, jnp.int32).at[run].add(1)


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
