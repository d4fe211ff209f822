"""One convolution for all models, in the form that suits the device. Every form gives the same numbers up to rounding.

Arrays are [batch, time, height, width, channel]. Kernels are [time, height, width, in, out] whatever their extent, so that one
function serves 1-D, 2-D and 3-D convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Literal

import jax
import jax.numpy as jnp
from einops import rearrange

Pads = Sequence[tuple[int, int]]
Form = Literal["direct", "shifted"]

# The form to use in place of the device's own, for those who count or compare: `CONVOLUTION_FORM.set("direct")`.
CONVOLUTION_FORM: ContextVar[Form | None] = ContextVar("convolution_form", default=None)


def convolve(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads) -> jax.Array:
    """Zero-padded convolution of x [b,t,h,w,i] with kernel [kt,kh,kw,i,o], in the form that suits the device.

    "direct" is XLA's 3-D convolution. "shifted" sums one 2-D convolution per tap in time: for CPU, where XLA's 3-D
    convolution is slow; it also skips the frames that are padding. Without extent in time both are one 2-D convolution.
    """
    kt, kh, kw = kernel.shape[:3]
    if (kt, kh, kw) == (1, 1, 1) and tuple(strides) == (1, 1, 1):
        return x @ kernel[0, 0, 0]
    if kt == 1 and strides[0] == 1:
        return _convolve_frames(x, kernel[0], strides[1:], pads[1:])
    form = CONVOLUTION_FORM.get() or ("shifted" if jax.default_backend() == "cpu" else "direct")
    if form == "shifted":
        return _convolve_shifted(x, kernel, strides, pads)
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


def _convolve_frames(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads) -> jax.Array:
    """2-D convolution of every frame: x [b,t,h,w,i], kernel [kh,kw,i,o]."""
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    frames = rearrange(x, "b t h w c -> (b t) h w c")
    y = jax.lax.conv_general_dilated(frames, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return rearrange(y, "(b t) h w c -> b t h w c", t=x.shape[1])


def _convolve_shifted(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads) -> jax.Array:
    """The 3-D convolution as a sum over its taps in time, each a 2-D convolution of the frames that the tap meets."""
    stride, (front, back), frames = strides[0], pads[0], x.shape[1]
    length = (frames + front + back - kernel.shape[0]) // stride + 1
    total = None
    for tap in range(kernel.shape[0]):
        offset = tap - front  # output frame j meets input frame stride * j + offset
        first = max(0, -(offset // stride))
        last = min(length - 1, (frames - 1 - offset) // stride)
        if first > last:
            continue
        met = jax.lax.slice_in_dim(x, stride * first + offset, stride * last + offset + 1, stride, axis=1)
        y = _convolve_frames(met, kernel[tap], strides[1:], pads[1:])
        y = jnp.pad(y, ((0, 0), (first, length - 1 - last), (0, 0), (0, 0), (0, 0)))
        total = y if total is None else total + y
    return total
