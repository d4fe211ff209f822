"""The two ways in which the networks behind FID and FVD were fed with frames of another size. Neither smooths when shrinking.

"half_pixel": PyTorch's bilinear interpolation, pixel centres on pixel centres. "corner": that of TensorFlow 1, which lays the
first pixels' centres on one another and is off by up to a pixel at the other end. Positions are computed in float32, as there.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np


def stretched(x: jax.Array, side: int, rule: str) -> jax.Array:
    """float [...,h,w,c] -> [...,side,side,c], whatever the proportions."""
    return resized(x, side, side, rule)


def cropped(x: jax.Array, side: int, rule: str) -> jax.Array:
    """float [...,h,w,c] -> the middle [...,side,side,c] after the shorter side is resized to `side`."""
    h, w = x.shape[-3:-1]
    height, width = (side if one == min(h, w) else math.ceil(one * side / min(h, w)) for one in (h, w))
    top, left = (height - side) // 2, (width - side) // 2
    return resized(x, height, width, rule)[..., top : top + side, left : left + side, :]


def resized(x: jax.Array, height: int, width: int, rule: str) -> jax.Array:
    """Bilinear interpolation of float [...,h,w,c]; `rule` is "half_pixel" or "corner"."""
    for axis, size in ((x.ndim - 2, width), (x.ndim - 3, height)):
        low, high, share = _positions(x.shape[axis], size, rule)
        share = share.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        first, second = jnp.take(x, low, axis=axis), jnp.take(x, high, axis=axis)
        x = first + (second - first) * share
    return x


def _positions(old: int, new: int, rule: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new pixel, the old ones before and after it, and how far it is from the first to the second."""
    scale = np.float32(old) / np.float32(new)
    places = np.arange(new, dtype=np.float32)
    if rule == "half_pixel":
        at = np.maximum((places + np.float32(0.5)) * scale - np.float32(0.5), np.float32(0))
    elif rule == "corner":
        at = places * scale
    else:
        raise ValueError(f"frames are resized by the rule half_pixel or corner, not {rule!r}")
    low = np.minimum(np.floor(at).astype(np.int64), old - 1)
    return low, np.minimum(low + 1, old - 1), (at - low).astype(np.float32)
