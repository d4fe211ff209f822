"""Scaled dot-product attention for all transformers, in the form that suits the device; every form gives the same numbers.

softmax(scale * q k^T + bias) v, the softmax in float32. On a GPU in half precision cuDNN's fused kernel never writes logits to
memory. On a CPU long sequences are taken one head at a time, so that a head's logits stay in the cache.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

FUSED_FROM = 64  # positions; a fused kernel works on tiles, which shorter sequences do not fill
HEAD_BY_HEAD_FROM = 256  # positions; below, the loop costs more than the cache saves


def attention(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None = None, causal: bool = False, scale: float = 1.0
) -> jax.Array:
    """Attention among the positions of each sequence.

    Args:
      query, key, value: [n, s, heads, c] of one dtype.
      bias: [heads, s, s] added to the logits of every sequence, or None.
      causal: position i sees positions 0..i only.
      scale: factor of the logits.

    Returns:
      [n, s, heads, c] of the same dtype.
    """
    if bias is None and _fused(query):
        return jax.nn.dot_product_attention(query, key, value, is_causal=causal, scale=scale, implementation="cudnn")
    if causal:
        mask = jnp.where(jnp.tri(query.shape[1], dtype=bool), 0.0, -jnp.inf)[None]
        bias = mask if bias is None else bias + mask
    if jax.default_backend() == "cpu" and query.shape[1] >= HEAD_BY_HEAD_FROM:
        return head_by_head(query, key, value, bias, scale)
    return all_heads_at_once(query, key, value, bias, scale)


def _fused(query: jax.Array) -> bool:
    """Whether cuDNN has a kernel for these shapes that is worth its start."""
    half = query.dtype in (jnp.bfloat16, jnp.float16)
    width = query.shape[-1]
    return jax.default_backend() == "gpu" and half and width % 8 == 0 and width <= 128 and query.shape[1] >= FUSED_FROM


def all_heads_at_once(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None = None, scale: float = 1.0
) -> jax.Array:
    """Shapes as for `attention`; bias may have one head for all."""
    logits = jnp.einsum("nqhc,nkhc->nhqk", query, key, preferred_element_type=jnp.float32) * scale
    weights = jax.nn.softmax(logits if bias is None else logits + bias)
    return jnp.einsum("nhqk,nkhc->nqhc", weights.astype(value.dtype), value)


def head_by_head(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None = None, scale: float = 1.0
) -> jax.Array:
    """Shapes as for `attention`; one product of matrices after the other, normalised after the sum over values."""
    n, s, heads, width = query.shape

    def one(inputs: tuple[jax.Array, ...]) -> jax.Array:
        q, k, v, head = inputs
        logits = jnp.matmul(q, k.T, preferred_element_type=jnp.float32) * scale
        if bias is not None:
            logits += bias[head]
        weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
        return jnp.matmul(weights.astype(v.dtype), v) / jnp.sum(weights, axis=-1, keepdims=True).astype(v.dtype)

    parts = [jnp.swapaxes(x, 1, 2).reshape(n * heads, s, width) for x in (query, key, value)]
    head = jnp.tile(jnp.arange(heads) if bias is None or bias.shape[0] > 1 else jnp.zeros(heads, jnp.int32), n)
    result = jax.lax.map(one, (*parts, head))
    return jnp.swapaxes(result.reshape(n, heads, s, width), 1, 2)
