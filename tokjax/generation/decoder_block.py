"""A block of a decoder-only transformer, over a whole sequence or over its next tokens with what it remembers of those before.

"published" is that of minGPT, which OmniTokenizer's language model uses: LayerNorm, learned absolute positions, GELU. "modern"
has no biases, RMSNorm, rotary positions and SwiGLU (as LLaMA, arXiv 2302.13971).

On several devices, tensor splits heads and hidden channels, and context splits the sequence, which is exchanged for heads during
the attention.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.generation.rotation import rotated
from tokjax.models.attention import attention
from tokjax.models.mesh import exchange
from tokjax.models.token_layers import Linear, Norm


class Memory(NamedTuple):
    """Keys and values of the tokens so far, each [b,slots,heads,c]."""

    key: jax.Array
    value: jax.Array


class Turns(NamedTuple):
    """Angles [s, c/2] by which queries and keys are rotated."""

    query: jax.Array
    key: jax.Array


@dataclasses.dataclass(frozen=True)
class BlockStyle:
    """What the blocks of a model share; `dtype` is of the computation, parameters are float32."""

    width: int
    heads: int
    kind: Literal["published", "modern"] = "modern"
    dtype: str = "float32"

    @property
    def inner(self) -> int:
        """Channels in the middle of the MLP; SwiGLU has fewer, for about as many weights."""
        return 4 * self.width if self.kind == "published" else 64 * round(8 / 3 * self.width / 64) or 64


class RootNorm(nn.Module):
    """x / its root mean square over channels, with a learned gain, in float32 (Zhang and Sennrich, arXiv 1910.07467)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale, y = self.param("scale", nn.initializers.ones, (x.shape[-1],)), x.astype(jnp.float32)
        return (y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + 1e-6) * scale).astype(x.dtype)


def norm(style: BlockStyle, name: str | None = None) -> nn.Module:
    return RootNorm(name=name) if style.kind == "modern" else Norm(bias=True, name=name)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    style: BlockStyle

    def setup(self) -> None:
        style, modern = self.style, self.style.kind == "modern"

        def linear(features: int, split: int) -> Linear:
            return Linear(features, bias=not modern, init="vit", dtype=style.dtype, split=split)

        self.norm_attention, self.norm_mlp = norm(style), norm(style)
        self.query, self.key, self.value = (linear(style.width, split=1) for _ in range(3))
        self.projection, self.outer = (linear(style.width, split=0) for _ in range(2))
        self.inner, self.gate = linear(style.inner, split=1), linear(style.inner, split=1) if modern else None

    def __call__(self, x: jax.Array, turns: Turns | None) -> jax.Array:
        """x [b,s,width], each token seeing itself and those before."""
        query, key, value = (exchange(one, 1, 2, tensor=2) for one in self._projected(x, turns))
        attended = attention(query, key, value, causal=True, scale=query.shape[-1] ** -0.5)
        return self._completed(x, exchange(attended, 2, 1, tensor=2))

    def further(
        self, x: jax.Array, turns: Turns | None, memory: Memory, start: jax.Array | int, visible: jax.Array
    ) -> tuple[jax.Array, Memory]:
        """The next tokens x [b,n,width], which take the slots from `start` on.

        Args:
          visible: bool [b,slots], slots that may be seen when they are filled.
        """
        query, key, value = self._projected(x, turns)
        memory = Memory(*(jax.lax.dynamic_update_slice_in_dim(a, b, start, 1) for a, b in zip(memory, (key, value), strict=True)))
        return self._completed(x, _look_back(query, memory, start, visible)), memory

    def _projected(self, x: jax.Array, turns: Turns | None) -> list[jax.Array]:
        y, heads = self.norm_attention(x), self.style.heads
        query, key, value = (layer(y).reshape(*y.shape[:-1], heads, -1) for layer in (self.query, self.key, self.value))
        return [query, key, value] if turns is None else [rotated(query, turns.query), rotated(key, turns.key), value]

    def _completed(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        x = exchange(x + self.projection(attended.reshape(x.shape)), 1)
        y = self.norm_mlp(x)
        y = nn.gelu(self.inner(y), approximate=False) if self.gate is None else nn.silu(self.gate(y)) * self.inner(y)
        return exchange(x + self.outer(exchange(y, 1, tensor=2)), 1)


def _look_back(query: jax.Array, memory: Memory, start: jax.Array | int, visible: jax.Array) -> jax.Array:
    """Attention of the tokens at the slots from `start` on to the visible slots up to their own."""
    slot = jnp.arange(memory.key.shape[1])
    before = slot[None, :] <= start + jnp.arange(query.shape[1])[:, None]
    logits = jnp.einsum("bqhc,bkhc->bhqk", query, memory.key, preferred_element_type=jnp.float32) * query.shape[-1] ** -0.5
    weights = jax.nn.softmax(jnp.where(before & visible[:, None, None, :], logits, -jnp.inf))
    return jnp.einsum("bhqk,bkhc->bqhc", weights.astype(query.dtype), memory.value)
