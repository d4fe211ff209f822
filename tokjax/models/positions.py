"""Where a token lies, told to attention: rotations in two dimensions, and biases of the logits (OmniTokenizer).

All functions take grids of any height and width; tokens of a grid are counted row by row.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np


def rotation_angles(height: int, width: int, channels: int) -> np.ndarray:
    """Angles in radians for the channel pairs of each token, float32 [height*width, channels/2].

    Pair 2m turns with the column and pair 2m+1 with the row, both at frequency 10000^(-4m/channels) (rotary embedding of Su et
    al., arXiv 2104.09864, in two dimensions). `channels` is a multiple of 4.
    """
    frequency = np.float32(10000.0) ** (-np.arange(0, channels, 4, dtype=np.float32) / np.float32(channels))
    row, column = np.divmod(np.arange(height * width), width)
    angles = np.stack([np.outer(place, frequency) for place in (column, row)], axis=-1)
    return angles.reshape(height * width, -1).astype(np.float32)


def rotate(x: jax.Array, angles: np.ndarray) -> jax.Array:
    """x [n, s, heads, channels], whose channels 2j and 2j+1 are a complex number, turned by angles [s, channels/2]; float32."""
    pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2)
    cosine, sine = (f(angles)[:, None, :] for f in (np.cos, np.sin))
    real, imaginary = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack([real * cosine - imaginary * sine, real * sine + imaginary * cosine], axis=-1)
    return turned.reshape(x.shape)


def offset_index(height: int, width: int, reach: tuple[int, int]) -> jax.Array:
    """Which row of a table of offsets belongs to each pair of tokens, int32 [height*width, height*width].

    The table has (2*reach-1) rows and columns of offsets query - key, from -(reach-1) to reach-1, counted row by row.
    """
    row, column = jnp.divmod(jnp.arange(height * width), width)
    down = row[:, None] - row[None, :] + reach[0] - 1
    right = column[:, None] - column[None, :] + reach[1] - 1
    return down * (2 * reach[1] - 1) + right


def log_offsets(height: int, width: int) -> np.ndarray:
    """sign(r) ln(|r| + 1) of every offset (rows, columns) in a grid, float32 [(2*height-1)*(2*width-1), 2]."""
    rows, columns = np.arange(1 - height, height), np.arange(1 - width, width)
    offsets = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)
    return np.sign(offsets) * np.log(np.abs(offsets) + 1)


def distance_bias(length: int, heads: int) -> np.ndarray:
    """-slope * |i - j|, one slope a head, float32 [heads, length, length] (ALiBi, Press et al., arXiv 2108.12409)."""
    place = np.arange(length)
    distance = np.abs(place[:, None] - place[None, :]).astype(np.float32)
    return -distance_slopes(heads)[:, None, None] * distance


def distance_slopes(heads: int) -> np.ndarray:
    """Geometric slopes 2^(-8/n), 2^(-16/n), ... for n heads, a power of two; other counts also take every second slope of 2n."""
    below = 2 ** int(math.log2(heads))
    slopes = _geometric(below) + _geometric(2 * below)[::2]
    return np.array(slopes[:heads], np.float32)


def _geometric(heads: int) -> list[float]:
    ratio = 2.0 ** (-8.0 / heads)
    return [ratio ** (k + 1) for k in range(heads)]
