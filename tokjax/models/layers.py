"""Layers of the convolutional tokenizers: convolutions, norms, residual blocks, attention, resampling of space.

Arrays are [batch, time, height, width, channel].

Kernels are stored [time, height, width, in, out] whatever their extent, so one module serves 1-D, 2-D and 3-D convolutions. How a
convolution is carried out is decided in `tokjax.models.convolution` alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tokjax.models.convolution import Pads, convolve
from tokjax.models.memory import with_past

Causality = Literal["causal", "causal_v1_1", "noncausal"]


@dataclasses.dataclass(frozen=True)
class Style:
    """What all layers of a model share, or all of one level.

    Attributes:
      norm: "layernorm" or "groupnorm".
      init: how kernels and biases start. "published" is PyTorch's default, both uniform in +-1/sqrt(fan_in): every convolution
        damps the signal's variance threefold and covers it with biases. "he" keeps the variance (normal, 2/fan_in, no biases),
        starts every residual block as the identity, and trains far faster from scratch.
      dtype: of the computation; parameters are float32.
      causality: what a convolution finds outside of a video. "causal": zero frames in front; "causal_v1_1": copies of its first
        frame in front; "noncausal": zero frames on both sides. Space is padded with zeros always.
      chunks: how a video is cut when it does not come whole. "exact" gives what the whole video gives; "upstream" and
        "upstream_overlap" are the published code's, see tokjax.models.upstream_chunks.
      frames_per_latent: how many frames one latent has become at this depth of a decoder.
    """

    norm: str = "layernorm"
    init: str = "published"
    dtype: str = "float32"
    causality: Causality = "causal"
    chunks: Literal["exact", "upstream", "upstream_overlap"] = "exact"
    frames_per_latent: int = 1

    @property
    def replicates(self) -> bool:
        """Whether the frames before a video are copies of its first one."""
        return self.causality == "causal_v1_1"

    @property
    def forget(self) -> int:
        """Frames at the end of a chunk that come again with the next."""
        return self.frames_per_latent if self.chunks == "upstream_overlap" else 0


def _initializer(kind: str, fan_in: int) -> Callable:
    if kind == "published":
        return lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0) * fan_in**-0.5
    return lambda key, shape: jax.random.normal(key, shape) * (2 / fan_in) ** 0.5 * (len(shape) > 1)


class Conv(nn.Module):
    """Convolution with bias, which keeps sides and pads time as the style says, unless told otherwise.

    Attributes:
      features: output channels.
      kernel: extent in (time, height, width).
      strides: in (time, height, width).
      pads: (before, after) for each axis, or None for those of `default_pads`.
      repeat: how often frames, rows and columns are repeated before, 1 or 2 times; strides and pads are those of the result.
      zero_init: start from zero kernel and bias.
    """

    features: int
    kernel: tuple[int, int, int] = (3, 3, 3)
    strides: tuple[int, int, int] = (1, 1, 1)
    pads: Pads | None = None
    repeat: tuple[int, int, int] = (1, 1, 1)
    zero_init: bool = False
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel, x.shape[-1], self.features)
        fan_in = shape[0] * shape[1] * shape[2] * shape[3]
        init = nn.initializers.zeros if self.zero_init else _initializer(self.style.init, fan_in)
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", init, (self.features,))
        dtype = jnp.dtype(self.style.dtype)
        x = x.astype(dtype)
        (front, back), *sides = self.pads or default_pads(self.kernel, self.strides, self.style.causality)
        if front and self.style.causality != "noncausal":
            x, missing = with_past(self, x, front // self.repeat[0], self.style.replicates, self.style.forget)
            front = missing * self.repeat[0]
        return convolve(x, kernel.astype(dtype), self.strides, ((front, back), *sides), self.repeat) + bias.astype(dtype)


def default_pads(kernel: Sequence[int], strides: Sequence[int], causality: Causality = "causal") -> list[tuple[int, int]]:
    """(before, after) for each axis: kernel - stride in all, centred, an odd one after; in causal time all before."""
    totals = [k - s for k, s in zip(kernel, strides, strict=True)]
    centred = [(total // 2, total - total // 2) for total in totals]
    return centred if causality == "noncausal" else [(totals[0], 0), *centred[1:]]


class Norm(nn.Module):
    """Normalisation over channels, statistics in float32, eps 1e-6, gain and bias.

    Attributes:
      kind: "layernorm" normalises each position over its channels; "groupnorm" 32 groups of channels over `extent`.
      extent: what a group's statistics cover: a position, the time series of a pixel, a frame or the clip. Only groupnorm asks.
    """

    kind: str = "layernorm"
    extent: Literal["position", "pixel", "frame", "clip"] = "frame"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        y = x.astype(jnp.float32)
        axes = (-1,)
        if self.kind == "groupnorm":
            y = rearrange(y, "b t h w (g c) -> b t h w g c", g=32)
            axes = {"position": (5,), "pixel": (1, 5), "frame": (2, 3, 5), "clip": (1, 2, 3, 5)}[self.extent]
        y = y - y.mean(axes, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean(axes, keepdims=True) + 1e-6)
        return (y.reshape(x.shape) * scale + bias).astype(x.dtype)


def norm_like(style: Style, kernel: Sequence[int] = (3, 3, 3), name: str | None = None) -> Norm:
    """The norm before a convolution. A group's statistics cover what the published code saw at once, which differs by family."""
    causal = style.causality != "noncausal"
    if kernel[0] == 1:
        return Norm(style.norm, "frame", name=name)
    if kernel[1] == 1:
        return Norm(style.norm, "position" if causal else "pixel", name=name)
    return Norm(style.norm, "frame" if causal else "clip", name=name)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))); a 1x1 convolution carries x where the width changes.

    Attributes:
      features: output channels.
      kernel: (1,3,3) for frames, (3,1,1) for the time series of each pixel (last convolution starts at zero), (3,3,3) for both.
    """

    features: int
    kernel: tuple[int, int, int]
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        zero = self.kernel == (3, 1, 1) or self.style.init == "he"
        h = nn.silu(norm_like(self.style, self.kernel, "norm1")(x))
        h = Conv(self.features, self.kernel, style=self.style, name="conv1")(h)
        h = nn.silu(norm_like(self.style, self.kernel, "norm2")(h))
        h = Conv(self.features, self.kernel, zero_init=zero, style=self.style, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, (1, 1, 1), style=self.style, name="nin_shortcut")(x)
        return x + h


class FrameAttention(nn.Module):
    """x + attention of one head among the positions of each frame; softmax in float32."""

    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, t, h, w, c = x.shape
        y = norm_like(self.style, name="norm")(x)
        q, k, v = (Conv(c, (1, 1, 1), style=self.style, name=name)(y).reshape(b, t, h * w, c) for name in "qkv")
        logits = jnp.einsum("btqc,btkc->btqk", q, k, preferred_element_type=jnp.float32) * c**-0.5
        y = jnp.einsum("btqk,btkc->btqc", nn.softmax(logits).astype(v.dtype), v).reshape(x.shape)
        return x + Conv(c, (1, 1, 1), style=self.style, name="proj_out")(y)


class SpatialDownsample(nn.Module):
    """Half the height and width (floor): zeros on the right and bottom, 3x3 convolution of stride 2."""

    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        pads = ((0, 0), (0, 1), (0, 1))
        return Conv(x.shape[-1], (1, 3, 3), (1, 2, 2), pads, style=self.style, name="conv")(x)


class SpatialUpsample(nn.Module):
    """Double the height and width: nearest neighbour, then a 3x3 convolution."""

    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Conv(x.shape[-1], (1, 3, 3), repeat=(1, 2, 2), style=self.style, name="conv")(x)
