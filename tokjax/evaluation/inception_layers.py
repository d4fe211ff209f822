"""What Inception-v3 and I3D are made of. Arrays are [b,t,h,w,c]; an image is a video of one frame.

Both networks only judge: statistics of their batch normalisation are stored, nothing in them is trained.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tokjax.models.convolution import Pads, convolve

FEW_CHANNELS = 4  # inputs up to this have the taps in time of their kernel as channels: one product in place of several thin ones


class Unit(nn.Module):
    """A convolution without bias, batch normalisation by stored statistics, ReLU.

    Attributes:
      kernel, strides, pads: in time, height and width.
      epsilon: added to the variance.
    """

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int]
    pads: Pads
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.he_normal(), (*self.kernel, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        mean = self.param("mean", nn.initializers.zeros, (self.features,))
        scale, variance = (self.param(name, nn.initializers.ones, (self.features,)) for name in ("scale", "variance"))
        if self.kernel[0] > 1 and x.shape[-1] <= FEW_CHANNELS:
            x, kernel = _time_as_channels(x, kernel, self.strides[0], self.pads[0])
            x = convolve(x, kernel, (1, *self.strides[1:]), ((0, 0), *self.pads[1:]))
        else:
            x = convolve(x, kernel, self.strides, self.pads)
        return nn.relu((x - mean) * (scale * jax.lax.rsqrt(variance + self.epsilon)) + bias)


def _time_as_channels(x: jax.Array, kernel: jax.Array, stride: int, pads: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """The frames under each position of the kernel beside one another, [b,t',h,w,taps*c], and the kernel for that."""
    taps, height, width, inputs, features = kernel.shape
    x = jnp.pad(x, ((0, 0), pads, (0, 0), (0, 0), (0, 0)))
    length = (x.shape[1] - taps) // stride + 1
    parts = [jax.lax.slice_in_dim(x, tap, tap + (length - 1) * stride + 1, stride, axis=1) for tap in range(taps)]
    flat = kernel.transpose(1, 2, 0, 3, 4).reshape(1, height, width, taps * inputs, features)
    return jnp.concatenate(parts, axis=-1), flat


def maxima(x: jax.Array, window: tuple[int, int, int], strides: tuple[int, int, int], pads: Pads) -> jax.Array:
    """The largest values under a window, axis after axis; pads are zeros, which are never larger than what ReLU gives."""
    for axis, (side, stride, pad) in enumerate(zip(window, strides, pads, strict=True), 1):
        if side > 1 or stride > 1:
            x = _shifted(x, axis, side, stride, pad, jnp.maximum)
    return x


def averages(x: jax.Array) -> jax.Array:
    """Means under a window of 3 x 3 pixels at every position, over those inside the frame."""
    for axis in (2, 3):
        place, last = np.arange(x.shape[axis]), x.shape[axis] - 1
        inside = np.minimum(place + 1, last) - np.maximum(place - 1, 0) + 1.0
        count = inside.astype(np.float32).reshape([-1 if i == axis else 1 for i in range(5)])
        x = _shifted(x, axis, 3, 1, (1, 1), jnp.add) / count
    return x


def _shifted(x: jax.Array, axis: int, side: int, stride: int, pad: tuple[int, int], combine) -> jax.Array:
    """Neighbours along one axis, combined in pairs. On a CPU this is many times as quick as XLA's windows."""
    x = jnp.pad(x, [pad if i == axis else (0, 0) for i in range(5)])
    span = (x.shape[axis] - side) // stride * stride + 1
    total = jax.lax.slice_in_dim(x, 0, span, stride, axis=axis)
    for start in range(1, side):
        total = combine(total, jax.lax.slice_in_dim(x, start, start + span, stride, axis=axis))
    return total
