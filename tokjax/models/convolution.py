"""One convolution for all models, in the form that suits the device. Every form gives the same numbers up to rounding.

Arrays are [batch, time, height, width, channel]. Kernels are [time, height, width, in, out] whatever their extent, so that one
function serves 1-D, 2-D and 3-D convolutions.

The forms:
  direct: what XLA does best on GPU and TPU: repeat, then one convolution.
  split: for one CPU, where XLA's 3-D convolution is slow. Convolutions of frames or of time series run as 2-D ones, 3-D ones as a
    sum over the taps in time. Where it pays, three taps along an axis become minimal filtering (Winograd, "Arithmetic complexity
    of computations", 1980): 4 products for 2 outputs rather than 6; 3 where the input is repeated, and on the input itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Literal

import jax
import jax.numpy as jnp

from tokjax.models.mesh import context_parts, whole

Pads = Sequence[tuple[int, int]]
Form = Literal["direct", "split"]

# The form to use in place of the device's own, for those who count or compare: `CONVOLUTION_FORM.set("direct")`.
CONVOLUTION_FORM: ContextVar[Form | None] = ContextVar("convolution_form", default=None)

# Narrower convolutions lose more by the sums around the products than they gain by fewer products (measured with AVX-512).
NARROWEST_IN_TIME, NARROWEST_IN_SPACE = 64, 256


def convolve(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads, repeat: Sequence[int] = (1, 1, 1)) -> jax.Array:
    """Zero-padded convolution of x [b,t,h,w,i] with kernel [kt,kh,kw,i,o].

    Args:
      strides, pads: in time, height and width, of the repeated input.
      repeat: how often each frame, row and column is repeated before (nearest-neighbour up-sampling): 1 or 2.
    """
    kernel = whole(kernel)
    form = CONVOLUTION_FORM.get() or ("split" if jax.default_backend() == "cpu" and context_parts() == 1 else "direct")
    if form == "split":
        return _split(x, kernel, tuple(strides), tuple(pads), tuple(repeat))
    return _direct(_repeated(x, repeat), kernel, strides, pads)


def _repeated(x: jax.Array, repeat: Sequence[int]) -> jax.Array:
    for axis, times in enumerate(repeat):
        if times > 1:
            x = jnp.repeat(x, times, axis=axis + 1)
    return x


def _direct(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads) -> jax.Array:
    if kernel.shape[:3] == (1, 1, 1) and tuple(strides) == (1, 1, 1):
        return x @ kernel[0, 0, 0]
    if kernel.shape[0] == 1 and strides[0] == 1:
        return _frames(x, kernel, strides, pads)
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


def _split(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads, repeat: Sequence[int]) -> jax.Array:
    axis = _axis_of_minimal_filtering(x, kernel, strides, pads, repeat)
    if axis is not None:
        filtering = _minimal if repeat[axis] == 1 else _minimal_repeated
        return filtering(axis, x, kernel, strides, pads, repeat)
    x = _repeated(x, repeat)
    kt, kh, kw = kernel.shape[:3]
    if (kt, kh, kw) == (1, 1, 1) and strides == (1, 1, 1):
        return x @ kernel[0, 0, 0]
    if kt == 1 and strides[0] == 1:
        return _frames(x, kernel, strides, pads)
    if (kh, kw) == (1, 1) and strides[1:] == (1, 1):
        return _time_series(x, kernel, strides, pads)
    return _taps_in_time(x, kernel, strides, pads)


def _frames(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads) -> jax.Array:
    """2-D convolution of every frame."""
    b, t, h, w, c = x.shape
    frames = x.reshape(b * t, h, w, c)
    y = jax.lax.conv_general_dilated(frames, kernel[0], strides[1:], pads[1:], dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y.reshape(b, t, *y.shape[1:])


def _time_series(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads) -> jax.Array:
    """1-D convolution in time of every pixel, all pixels as one long axis."""
    b, t, h, w, c = x.shape
    series, window = x.reshape(b, t, h * w, c), (strides[0], 1)
    y = jax.lax.conv_general_dilated(series, kernel[:, 0], window, (pads[0], (0, 0)), dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y.reshape(b, y.shape[1], h, w, y.shape[-1])


def _taps_in_time(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads) -> jax.Array:
    """The 3-D convolution as a sum over its taps in time, each a 2-D convolution of the frames that the tap meets."""
    length = _length(x, kernel, strides, pads)
    total = None
    for tap in range(kernel.shape[0]):
        met = _frames_met(tap, x.shape[1], length, strides[0], pads[0][0])
        if not met:
            continue
        offset, first = tap - pads[0][0], met[0]
        source = jax.lax.slice_in_dim(x, strides[0] * first + offset, strides[0] * met[-1] + offset + 1, strides[0], axis=1)
        y = _frames(source, kernel[tap : tap + 1], strides, pads)
        y = jnp.pad(y, ((0, 0), (first, length - 1 - met[-1]), (0, 0), (0, 0), (0, 0)))
        total = y if total is None else total + y
    return total


def _length(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads) -> int:
    return (x.shape[1] + sum(pads[0]) - kernel.shape[0]) // strides[0] + 1


def _frames_met(tap: int, frames: int, length: int, stride: int, front: int) -> range:
    """The output frames j for which a tap meets an input frame, not padding: 0 <= stride * j + tap - front < frames."""
    offset = tap - front
    first = max(0, -(offset // stride))
    return range(first, max(first, min(length - 1, (frames - 1 - offset) // stride) + 1))


def _axis_of_minimal_filtering(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads, repeat: Sequence[int]
) -> int | None:
    """Time (0), height (1) or width (2), or None where plain products are as quick."""
    width = min(kernel.shape[3:])
    for axis in (0, 1, 2):
        if kernel.shape[axis] != 3 or strides[axis] != 1:
            continue
        if repeat[axis] == 2 and sum(pads[axis]) % 2 == 0 and width >= NARROWEST_IN_TIME:
            return axis
        if repeat[axis] == 1 and axis == 1 and width >= NARROWEST_IN_SPACE and x.shape[2] >= 4:
            return axis
        if repeat[axis] == 1 and axis == 0 and width >= NARROWEST_IN_TIME and kernel.shape[1:3] != (1, 1):
            length = _length(x, kernel, strides, pads)
            plain = sum(len(_frames_met(tap, x.shape[1], length, 1, pads[0][0])) for tap in range(3))
            if 4 * ((length + 1) // 2) < 0.9 * plain:
                return axis
    return None


def _minimal(axis: int, x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads, repeat: Sequence[int]) -> jax.Array:
    """Two outputs along `axis` from four inputs d and four products."""
    length = x.shape[axis + 1] + sum(pads[axis]) - 2
    pairs = (length + 1) // 2
    x = _padded(x, axis, (pads[axis][0], pads[axis][1] + length % 2))
    d = [jax.lax.slice_in_dim(x, i, i + 2 * pairs - 1, 2, axis=axis + 1) for i in range(4)]
    k0, k1, k2 = jnp.split(kernel, 3, axis=axis)
    rest = _without(axis, pads)

    def product(source: jax.Array, taps: jax.Array) -> jax.Array:
        return _split(source, taps, strides, rest, repeat)

    m0, m1 = product(d[0] - d[2], k0), product(d[1] + d[2], (k0 + k1 + k2) / 2)
    m2, m3 = product(d[2] - d[1], (k0 - k1 + k2) / 2), product(d[1] - d[3], k2)
    return jax.lax.slice_in_dim(_interleaved(m0 + m1 + m2, m1 - m2 - m3, axis), 0, length, axis=axis + 1)


def _minimal_repeated(
    axis: int, x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Pads, repeat: Sequence[int]
) -> jax.Array:
    """Two outputs along `axis`, over which x is repeated, from three products.

    An even number of zeros in front makes pairs that see inputs (a, a, b, b), an odd one pairs that see (a, b, b, c).
    """
    k0, k1, k2 = jnp.split(kernel, 3, axis=axis)
    rest, repeat = _without(axis, pads), [1 if i == axis else times for i, times in enumerate(repeat)]
    before, after = pads[axis]
    x = _padded(x, axis, ((before + 1) // 2, (after + 1) // 2))
    a, b = (jax.lax.slice_in_dim(x, i, x.shape[axis + 1] - 1 + i, axis=axis + 1) for i in range(2))

    def product(source: jax.Array, taps: jax.Array) -> jax.Array:
        return _split(source, taps, strides, rest, tuple(repeat))

    if before % 2 == 0:
        shared = product(a + b, (k0 + k1 + k2) / 2)
        return _interleaved(shared + product(a - b, (k0 + k1 - k2) / 2), shared + product(a - b, (k0 - k1 - k2) / 2), axis)
    shared = product(jax.lax.slice_in_dim(x, 1, x.shape[axis + 1] - 1, axis=axis + 1), k0 + k1 + k2)
    falls = [jax.lax.slice_in_dim(a - b, i, a.shape[axis + 1] - 1 + i, axis=axis + 1) for i in range(2)]
    return _interleaved(shared + product(falls[0], k0), shared - product(falls[1], k2), axis)


def _padded(x: jax.Array, axis: int, pad: tuple[int, int]) -> jax.Array:
    return jnp.pad(x, [pad if i == axis + 1 else (0, 0) for i in range(5)]) if any(pad) else x


def _without(axis: int, pads: Pads) -> Pads:
    return tuple((0, 0) if i == axis else pad for i, pad in enumerate(pads))


def _interleaved(even: jax.Array, odd: jax.Array, axis: int) -> jax.Array:
    y = jnp.stack([even, odd], axis=axis + 2)
    return y.reshape(*even.shape[: axis + 1], 2 * even.shape[axis + 1], *even.shape[axis + 2 :])
