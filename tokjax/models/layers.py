"""Layers of the convolutional tokenizers: convolutions, norms, attention, resampling.

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


@dataclasses.dataclass(frozen=True)
class Style:
    """What all layers of a model share.

    Attributes:
      norm: "layernorm" or "groupnorm".
      init: how kernels and biases start. "published" is PyTorch's default, both uniform in +-1/sqrt(fan_in): every convolution
        damps the signal's variance threefold and covers it with biases. "he" keeps the variance (normal, 2/fan_in, no biases),
        starts every residual block as the identity, and trains far faster from scratch.
      dtype: of the computation; parameters are float32.
    """

    norm: str = "layernorm"
    init: str = "published"
    dtype: str = "float32"


def _initializer(kind: str, fan_in: int) -> Callable:
    if kind == "published":
        return lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0) * fan_in**-0.5
    return lambda key, shape: jax.random.normal(key, shape) * (2 / fan_in) ** 0.5 * (len(shape) > 1)


class Conv(nn.Module):
    """Convolution with bias. `pads` defaults to VidTok v1.0's causal rule: zeros, all in front in time, centred in space.

    Attributes:
      features: output channels.
      kernel: extent in (time, height, width).
      strides: in (time, height, width).
      pads: (before, after) for each axis, or None for the causal rule (spec: total (k-1)+(1-s)).
      zero_init: start from zero kernel and bias.
    """

    features: int
    kernel: tuple[int, int, int] = (3, 3, 3)
    strides: tuple[int, int, int] = (1, 1, 1)
    pads: Pads | None = None
    zero_init: bool = False
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel, x.shape[-1], self.features)
        fan_in = shape[0] * shape[1] * shape[2] * shape[3]
        init = nn.initializers.zeros if self.zero_init else _initializer(self.style.init, fan_in)
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", init, (self.features,))
        pads = causal_pads(self.kernel, self.strides) if self.pads is None else self.pads
        dtype = jnp.dtype(self.style.dtype)
        return convolve(x.astype(dtype), kernel.astype(dtype), self.strides, pads) + bias.astype(dtype)


def causal_pads(kernel: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Zeros before and after each axis: time all in front, space floor on the left and top (VidTok v1.0)."""
    totals = [k - s for k, s in zip(kernel, strides, strict=True)]
    return [(totals[0], 0)] + [(total // 2, total - total // 2) for total in totals[1:]]


class Norm(nn.Module):
    """Normalisation over channels, statistics in float32, eps 1e-6, gain and bias.

    Attributes:
      kind: "layernorm" normalises each position over its channels; "groupnorm" 32 groups of channels over `extent`.
      extent: what a group's statistics cover: "position" or "frame". Only groupnorm asks.
    """

    kind: str = "layernorm"
    extent: Literal["position", "frame"] = "frame"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        y = x.astype(jnp.float32)
        if self.kind == "groupnorm":
            y = rearrange(y, "b t h w (g c) -> b t h w g c", g=32)
            axes = (-1,) if self.extent == "position" else (2, 3, 5)
        else:
            axes = (-1,)
        y = y - y.mean(axes, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean(axes, keepdims=True) + 1e-6)
        return (y.reshape(x.shape) * scale + bias).astype(x.dtype)


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
        temporal = self.kernel == (3, 1, 1)
        extent = "position" if temporal else "frame"
        h = nn.silu(Norm(self.style.norm, extent, name="norm1")(x))
        h = Conv(self.features, self.kernel, style=self.style, name="conv1")(h)
        h = nn.silu(Norm(self.style.norm, extent, name="norm2")(h))
        h = Conv(self.features, self.kernel, zero_init=temporal or self.style.init == "he", style=self.style, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, (1, 1, 1), style=self.style, name="nin_shortcut")(x)
        return x + h


class FrameAttention(nn.Module):
    """x + attention of one head among the positions of each frame; softmax in float32."""

    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, t, h, w, c = x.shape
        y = Norm(self.style.norm, name="norm")(x)
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
        x = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
        return Conv(x.shape[-1], (1, 3, 3), style=self.style, name="conv")(x)


class TemporalDownsample(nn.Module):
    """Half the frames (floor): a blend of the mean of 3 frames and a strided 3x3x3 convolution, one zero frame in front."""

    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        before = jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
        stop = 2 * (x.shape[1] // 2)
        mean = (before[:, 0:stop:2] + before[:, 1 : stop + 1 : 2] + before[:, 2 : stop + 2 : 2]) / 3
        conv = Conv(x.shape[-1], (3, 3, 3), (2, 1, 1), style=self.style, name="conv")(x)
        return blend(self, mean, conv)


class TemporalUpsample(nn.Module):
    """Double the frames: a learned blend of the nearest neighbour and a causal 3x3x3 convolution of it."""

    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.repeat(x, 2, axis=1)
        return blend(self, x, Conv(x.shape[-1], style=self.style, name="conv")(x))


def blend(module: nn.Module, free: jax.Array, learned: jax.Array) -> jax.Array:
    """VidTok's AlphaBlender: sigmoid(mix_factor) of the parameter-free branch, the rest of the learned one."""
    alpha = nn.sigmoid(module.param("mix_factor", nn.initializers.constant(2.0), (1,))).astype(free.dtype)
    return alpha * free + (1 - alpha) * learned
