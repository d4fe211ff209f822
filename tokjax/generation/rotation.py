"""Rotary positions of tokens in a grid of frames, rows and columns (Su et al., arXiv 2104.09864, in three dimensions)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_SLOWEST = 100.0  # ratio of the fastest frequency to the slowest; grids are a few dozen tokens along a side


def angles(places: np.ndarray, channels: int) -> np.ndarray:
    """Angles in radians of the channel pairs of tokens, float32 [s, channels/2]: a quarter for time, the rest for space.

    Args:
      places: int [s,3], (t,h,w) of each token.
      channels: of a head; even, 8 or more.
    """
    pairs = channels // 2
    side = 3 * pairs // 8
    counts = (pairs - 2 * side, side, side)
    parts = [np.outer(places[:, axis], _SLOWEST ** (-np.arange(count) / count)) for axis, count in enumerate(counts)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def rotated(x: jax.Array, turn: jax.Array) -> jax.Array:
    """x [b,s,heads,channels], whose halves are the two parts of complex numbers, turned by angles [s, channels/2]."""
    cosine, sine = jnp.cos(turn)[:, None, :], jnp.sin(turn)[:, None, :]
    real, imaginary = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([real * cosine - imaginary * sine, real * sine + imaginary * cosine], axis=-1).astype(x.dtype)


def grid_places(grid: tuple[int, int, int]) -> np.ndarray:
    """(t,h,w) of every token of a grid, frame by frame and row by row, int [t*h*w, 3]."""
    return np.stack(np.unravel_index(np.arange(int(np.prod(grid))), grid), axis=-1)
