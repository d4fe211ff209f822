"""Transformer stacks over a grid of video tokens [b,t,h,w,d], along space or along time (OmniTokenizer, arXiv 2406.09399).

A stack is a string, one letter a block: `t` attention, `w` attention within windows, `a` `m` `l` halve the grid (mean, maximum,
linear), `n` `r` double it (nearest, nearest and linear). Every block ends with a gated feed-forward part.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tokjax.models.attention import attention
from tokjax.models.mesh import context_parts, exchange
from tokjax.models.positions import distance_bias, log_offsets, offset_index, rotate, rotation_angles
from tokjax.models.token_layers import FeedForward, Linear, Norm, PositionConvolution, Resample, Style

LOGIT_SCALE = 8.0  # of the product of a unit query and a unit key


class RelativeBias(nn.Module):
    """Bias [heads, h*w, h*w] of the logits: a small network of the logarithm of the offset between two tokens (Swin v2)."""

    width: int
    style: Style

    @nn.compact
    def __call__(self, height: int, width: int) -> jax.Array:
        y = jnp.asarray(log_offsets(height, width))
        for layer in range(2):
            y = nn.leaky_relu(Linear(self.width, init=self.style.init, name=f"linear_{layer}")(y), 0.1)
        table = Linear(self.style.heads, init=self.style.init, name="linear_2")(y)
        return jnp.moveaxis(table[offset_index(height, width, (height, width))], -1, 0)


class Attention(nn.Module):
    """Attention among the tokens of each frame [b,t,h,w,d], or along the time of each place [b,h,w,t,d].

    Queries and keys are unit vectors with a learned gain a channel. Where the height is split over devices, tokens of a frame are
    exchanged for heads during the attention, and places keep their time to themselves.
    """

    style: Style
    along_time: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        style, inner = self.style, self.style.heads * self.style.head_width
        options = {"bias": False, "init": style.init, "dtype": style.dtype}
        normed = Norm(name="norm")(x)
        query = Linear(inner, **options, name="query")(normed)
        pair = Linear(2 * inner, **options, name="key_value")(normed if style.mode == "sound" else x)
        length = x.shape[3] if self.along_time else x.shape[2] * x.shape[3]
        split = (*(x.shape[:3] if self.along_time else x.shape[:2]), length, style.heads, style.head_width)
        query, key, value = (y.reshape(split) for y in (query, *jnp.split(pair, 2, axis=-1)))
        if style.position == "rope" and not self.along_time:
            angles = rotation_angles(x.shape[2], x.shape[3], style.head_width)
            query, key = rotate(query, angles), rotate(key, angles)
        gains = [self.param(name, nn.initializers.ones, (style.head_width,)) for name in ("query_scale", "key_scale")]
        query = (_unit(query) * (LOGIT_SCALE * gains[0] * gains[1])).astype(value.dtype)
        key = _unit(key).astype(value.dtype)
        bias, causal = self._bias(x), self.along_time and style.causal
        if self.along_time:
            y = attention(query, key, value, bias, causal)
        else:
            query, key, value = (exchange(y, 2, 3) for y in (query, key, value))
            y = exchange(attention(query, key, value, bias, causal), 3, 2)
        return Linear(x.shape[-1], **options, name="out")(y.reshape(*x.shape[:-1], inner))

    def _bias(self, x: jax.Array) -> jax.Array | None:
        if not self.style.explicit:
            return None
        if self.along_time:
            return jnp.asarray(distance_bias(x.shape[3], self.style.heads)) if self.style.causal else None
        return RelativeBias(x.shape[-1], self.style, name="bias")(*x.shape[2:4]) if self.style.position == "relative" else None


def _unit(x: jax.Array) -> jax.Array:
    """x / max(|x|, 1e-12) over the last axis, in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-24))


class WindowAttention(nn.Module):
    """Attention within windows of a frame's grid, without shift; a bias for each offset between two tokens is learned (Swin).

    A side shorter than the window is one window. Where the height is split over devices, each has windows of its own; where they
    are too few, tokens are exchanged for heads during the attention.
    """

    style: Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        (_, _, h, w, d), style = x.shape, self.style
        side = style.window
        rows, columns = min(side, h), min(side, w)
        if h % rows or w % columns:
            raise ValueError(f"a grid of {h}x{w} tokens is not made of windows of {side}x{side}; pad the frames to whole windows")
        options, window = {"init": style.init, "dtype": style.dtype}, {"h": rows, "w": columns}
        qkv = Linear(3 * d, bias=False, **options, name="qkv")(Norm(name="norm")(x)).reshape(*x.shape[:4], 3, style.heads, -1)
        qkv = exchange(qkv, 2, 5) if h // rows % context_parts() else qkv
        query, key, value = rearrange(qkv, "b t (i h) (j w) n k c -> n b t i j (h w) k c", **window)
        table = self.param("bias_table", nn.initializers.normal(0.02), ((2 * side - 1) ** 2, style.heads))
        bias = jnp.moveaxis(table[offset_index(rows, columns, (side, side))], -1, 0)
        y = attention(query, key, value, bias, scale=(d // style.heads) ** -0.5)
        y = rearrange(y, "b t i j (h w) k c -> b t (i h) (j w) (k c)", **window)
        return Linear(d, **options, name="projection")(exchange(y, 4, 2) if h // rows % context_parts() else y)


class Block(nn.Module):
    """One letter of a stack."""

    kind: str
    style: Style
    along_time: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind == "t":
            x = x + PositionConvolution(self.style, self.along_time, name="position")(x)
            x = x + Attention(self.style, self.along_time, name="attention")(x)
        elif self.kind == "w":
            x = x + WindowAttention(self.style, name="attention")(x)
        else:
            x = Resample(self.kind, self.style, name="resample")(x)
        return exchange(x + FeedForward(self.style, name="feedforward")(x), 1 if self.along_time else 2)


class Stack(nn.Module):
    """Blocks one after the other, then a norm: [b,t,h,w,d] -> [b,t,h',w',d].

    Attributes:
      blocks: the letters; along time only `t` makes sense.
      along_time: attention is along the time of each place, not among the tokens of each frame.
    """

    blocks: str
    style: Style
    along_time: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.along_time:
            x = jnp.moveaxis(x, 1, 3)
        block = nn.remat(Block) if self.style.remat else Block
        for i, kind in enumerate(self.blocks):
            x = block(kind, self.style, self.along_time, name=f"block_{i}")(x)
        x = Norm(name="norm_out")(x)
        return jnp.moveaxis(x, 3, 1) if self.along_time else x
