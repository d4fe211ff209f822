"""Layers of a transformer over a grid of video tokens that look at one token or its neighbours (OmniTokenizer).

Tokens are [b,t,h,w,d], channels last, with d the width of the model.

`Style.mode` says whose arithmetic it is. "published" is that of the released weights, with two properties of the original code:
keys and values are projections of the residual stream itself, not of the normalised input as queries are; and in stacks along
time the position convolution reads the tokens, which lie in the order (h, w, t), as if they lay in the order (t, h, w):
distant places mix and early frames see late ones. "sound" normalises keys and values too and convolves along the true axes:
causal stacks are then causal. Parameters are the same in both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tokjax.models.channel_convolution import convolve_channels
from tokjax.models.mesh import exchange, whole


@dataclasses.dataclass(frozen=True)
class Style:
    """What the blocks of a model share.

    Attributes:
      heads, head_width: of `t` attention; windows use `heads` of the width they leave.
      window: side of a window in tokens.
      position: of stacks along space: "rope" rotates queries and keys, "relative" adds a bias learned from offsets.
      explicit: add the biases (relative ones in space, ALiBi in causal time); else they are left out, as a fused kernel did.
      causal, causal_convolution: whether attention, and the position convolution, look back in time only.
      mode: "published" or "sound".
      init: "published" is PyTorch's default, uniform in +-1/sqrt(fan_in); "vit" draws linear layers from N(0, 0.02), no biases.
      dtype: of the computation; parameters are float32, and so are norms and softmax.
      remat: recompute each block in the backward pass instead of storing it.
    """

    heads: int = 8
    head_width: int = 64
    window: int = 8
    position: Literal["rope", "relative"] = "rope"
    explicit: bool = False
    causal: bool = True
    causal_convolution: bool = True
    mode: Literal["published", "sound"] = "published"
    init: Literal["published", "vit"] = "published"
    dtype: str = "float32"
    remat: bool = False


def _uniform(fan_in: int) -> Callable:
    return lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0) * fan_in**-0.5


class Linear(nn.Module):
    """x [..., i] -> [..., features] in `dtype`; a kernel [i, features] and, if wanted, a bias.

    Attributes:
      split: the axis of the kernel that the mesh's tensor axis splits, None for none.
    """

    features: int
    bias: bool = True
    init: str = "published"
    dtype: str = "float32"
    split: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        vit, dtype = self.init == "vit", jnp.dtype(self.dtype)
        uniform = _uniform(x.shape[-1])
        kernel = self.param("kernel", nn.initializers.normal(0.02) if vit else uniform, (x.shape[-1], self.features))
        y = x.astype(dtype) @ whole(kernel.astype(dtype), self.split)
        if not self.bias:
            return y
        return y + self.param("bias", nn.initializers.zeros if vit else uniform, (self.features,)).astype(dtype)


class Norm(nn.Module):
    """LayerNorm over channels, eps 1e-5, in float32, with a learned gain.

    Attributes:
      bias: learn a bias too. Without it, weights may still bring a fixed one as `beta` in the collection "constants", as those
        of the original can; where they bring none it is zero and takes no part.
    """

    bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        y = x.astype(jnp.float32)
        y = y - y.mean(-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + 1e-5) * scale
        if self.bias:
            y = y + self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        elif self.has_variable("constants", "beta"):
            y = y + self.get_variable("constants", "beta")
        return y.astype(x.dtype)


class FeedForward(nn.Module):
    """linear(a * gelu(g)) of the normalised input, where [a, g] is twice 8/3 of the width."""

    style: Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        options = {"bias": False, "init": self.style.init, "dtype": self.style.dtype}
        inner = int(4 * (2 / 3) * x.shape[-1])
        y = Linear(2 * inner, **options, name="inner")(Norm(bias=True, name="norm")(x))
        value, gate = jnp.split(y, 2, axis=-1)
        return Linear(x.shape[-1], **options, name="outer")(value * nn.gelu(gate, approximate=False))


class PositionConvolution(nn.Module):
    """A 3x3x3 convolution of each channel, which tells a token its place among its neighbours; zeros lie around the video.

    Tokens are [b,t,h,w,d], or [b,h,w,t,d] for stacks along time. Where the height is split over devices, rows are exchanged for
    channels during the convolution.
    """

    style: Style
    along_time: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = whole(self.param("kernel", _uniform(27), (3, 3, 3, x.shape[-1]))).astype(x.dtype)
        bias = self.param("bias", _uniform(27), (x.shape[-1],)).astype(x.dtype)
        time, rows = (2, 0) if self.style.causal_convolution else (1, 1), 1 if self.along_time else 2
        b, h, w, t, d = x.shape if self.along_time else (x.shape[i] for i in (0, 2, 3, 1, 4))
        x = exchange(x, rows, 4)
        if self.along_time and self.style.mode == "sound":
            y = convolve_channels(x, jnp.moveaxis(kernel, 0, 2), ((1, 1), (1, 1), time))
        else:
            y = convolve_channels(x.reshape(b, t, h, w, d), kernel, (time, (1, 1), (1, 1))).reshape(x.shape)
        return exchange(y, 4, rows) + bias


class Resample(nn.Module):
    """Halves (`a`, `m`, `l`) or doubles (`n`, `r`) the grid of each frame. As published, `l` joins 4 tokens in a row."""

    kind: str
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        name = "linear" if self.kind == "r" else "join"
        linear = Linear(x.shape[-1], init=self.style.init, dtype=self.style.dtype, name=name)
        if self.kind in "nr":
            x = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
            return linear(x) if self.kind == "r" else x
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(f"a grid of {x.shape[2]}x{x.shape[3]} tokens cannot be halved; give frames of another size")
        if self.kind == "l" and self.style.mode == "published":
            return linear(x.reshape(*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2, -1))
        squares = rearrange(x, "b t (h i) (w j) d -> b t h w (i j) d", i=2, j=2)
        if self.kind == "l":
            return linear(squares.reshape(*squares.shape[:4], -1))
        return squares.mean(4) if self.kind == "a" else squares.max(4)
