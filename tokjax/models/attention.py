"""Scaled dot-product attention for all transformers, in the form that suits the device; every form gives the same numbers.

softmax(scale * q k^T + bias) v, the softmax in float32. On a GPU in half precision cuDNN's fused kernel never writes logits to
memory. On one CPU long sequences are taken one head at a time, so that a head's logits stay in the cache.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tokjax.models.mesh import spread

FUSED_FROM = 64  # positions; a fused kernel works on tiles, which shorter sequences do not fill
HEAD_BY_HEAD_FROM = 256  # positions; below, the loop costs more than the cache saves


def attention(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None = None, causal: bool = False, scale: float = 1.0
) -> jax.Array:
    """Attention among the positions of each sequence.

    Args:
      query, key, value: [..., s, heads, c] of one dtype.
      bias: [heads, s, s] added to the logits of every sequence, or None.
      causal: position i sees positions 0..i only.
      scale: factor of the logits.

    Returns:
      [..., s, heads, c] of the same dtype.
    """
    length = query.shape[-3]
    if bias is None and _fused(query):
        flat = [x.reshape(-1, *x.shape[-3:]) for x in (query, key, value)]
        y = jax.nn.dot_product_attention(*flat, is_causal=causal, scale=scale, implementation="cudnn")
        return y.reshape(query.shape)
    if causal:
        mask = jnp.where(jnp.tri(length, dtype=bool), 0.0, -jnp.inf)[None]
        bias = mask if bias is None else bias + mask
    if jax.default_backend() == "cpu" and not spread() and length >= HEAD_BY_HEAD_FROM:
        return head_by_head(query, key, value, bias, scale)
    return all_heads_at_once(query, key, value, bias, scale)


def _fused(query: jax.Array) -> bool:
    """Whether cuDNN has a kernel for these shapes and this device (NVIDIA's, Ampere or later) that is worth its start."""
    half, width = query.dtype in (jnp.bfloat16, jnp.float16), query.shape[-1]
    if jax.default_backend() != "gpu" or not half or width % 8 or width > 128 or query.shape[-3] < FUSED_FROM:
        return False
    device = jax.devices()[0]
    return "cuda" in device.client.platform_version and float(device.compute_capability) >= 8


def all_heads_at_once(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None = None, scale: float = 1.0
) -> jax.Array:
    """Shapes as for `attention`; bias may have one head for all."""
    logits = jnp.einsum("...qhc,...khc->...hqk", query, key, preferred_element_type=jnp.float32) * scale
    weights = jax.nn.softmax(logits if bias is None else logits + bias)
    return jnp.einsum("...hqk,...khc->...qhc", weights.astype(value.dtype), value)


def head_by_head(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None = None, scale: float = 1.0
) -> jax.Array:
    """Shapes as for `attention`; one product of matrices after the other, normalised after the sum over values."""
    s, heads, width = query.shape[-3:]

    def one(inputs: tuple[jax.Array, ...]) -> jax.Array:
        q, k, v, head = inputs
        logits = jnp.matmul(q, k.T, preferred_element_type=jnp.float32) * scale
        if bias is not None:
            logits += bias[head]
        weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
        return jnp.matmul(weights.astype(v.dtype), v) / jnp.sum(weights, axis=-1, keepdims=True).astype(v.dtype)

    parts = [jnp.swapaxes(x, -3, -2).reshape(-1, s, width) for x in (query, key, value)]
    head = jnp.arange(heads) if bias is None or bias.shape[0] > 1 else jnp.zeros(heads, jnp.int32)
    result = jax.lax.map(one, (*parts, jnp.tile(head, len(parts[0]) // heads)))
    return jnp.swapaxes(result.reshape(*query.shape[:-3], heads, s, width), -3, -2)
