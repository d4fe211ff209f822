"""Layers of the discriminators: convolutions and norms as PyTorch has them. Arrays are [batch, time, height, width, channel].

Batch statistics are over the whole batch (under jit with a sharded batch that is the batch of all devices) and are kept in the
collection "batch_stats". PyTorch's rules: the biased variance normalises, the running one is unbiased, with momentum 0.1.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.models.convolution import convolve


class BatchNorm(nn.Module):
    """Each channel to mean 0 and variance 1 over everything else, then a gain and a bias; statistics in float32, eps 1e-5.

    Attributes:
      spread: standard deviation of the gain around 1 at the start.
    """

    spread: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = (x.shape[-1],)
        scale = self.param("scale", lambda key: 1 + self.spread * jax.random.normal(key, channels))
        bias = self.param("bias", nn.initializers.zeros, channels)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        var = self.variable("batch_stats", "var", jnp.ones, channels)
        y = x.astype(jnp.float32)
        if train:
            axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
            now = y.mean(axes)
            biased = jnp.square(y - now).mean(axes)
            if not self.is_initializing():
                mean.value = 0.9 * mean.value + 0.1 * now
                var.value = 0.9 * var.value + 0.1 * biased * (count / max(count - 1, 1))
        else:
            now, biased = mean.value, var.value
        return ((y - now) * (scale * jax.lax.rsqrt(biased + 1e-5)) + bias).astype(x.dtype)


class GroupNorm(nn.Module):
    """32 groups of channels, each over a frame; statistics in float32, eps 1e-6."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        y = x.astype(jnp.float32).reshape(*x.shape[:-1], 32, -1)
        y = y - y.mean((2, 3, 5), keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean((2, 3, 5), keepdims=True) + 1e-6)
        return (y.reshape(x.shape) * scale + bias).astype(x.dtype)


class Conv(nn.Module):
    """Zero-padded convolution.

    Attributes:
      kernel, strides: in (time, height, width).
      pad: on each side of every axis along which the kernel extends.
      spread: standard deviation of the kernel at the start; 0 is PyTorch's default, uniform in +-1/sqrt(fan_in), as are biases.
    """

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int]
    pad: int
    bias: bool = True
    spread: float = 0.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        bound = (math.prod(self.kernel) * x.shape[-1]) ** -0.5

        def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

        start = nn.initializers.normal(self.spread) if self.spread else uniform
        kernel = self.param("kernel", start, (*self.kernel, x.shape[-1], self.features))
        dtype = jnp.dtype(self.dtype)
        pads = [(self.pad, self.pad) if extent > 1 else (0, 0) for extent in self.kernel]
        y = convolve(x.astype(dtype), kernel.astype(dtype), self.strides, pads)
        return y + self.param("bias", uniform, (self.features,)).astype(dtype) if self.bias else y
