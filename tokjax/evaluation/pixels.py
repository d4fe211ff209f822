"""PSNR and SSIM per frame, as VidTok defines them (its `compute_psnr` and `compute_ssim`, the latter after the piq library).

Values are floats in 0..1 with no rounding to uint8. A score of a set is the plain mean over all of its frames.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

WINDOW = 11  # pixels on a side of SSIM's Gaussian window
SIGMA = 1.5
POOLED_SIDE = 256  # SSIM first shrinks larger frames to about this many pixels on the shorter side
EPSILON = 1e-8  # inside PSNR's logarithm: equal frames have 80 dB


def psnr(x: jax.Array, y: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio of each frame in dB: -10 log10(mean squared error + 1e-8).

    Args:
      x, y: float [b,t,h,w,c] in 0..1.

    Returns:
      float32 [b,t].

    Raises:
      ValueError: shapes that differ or are not [b,t,h,w,c], or values that are not floats.
    """
    x, y = floats(x, y)
    return -10.0 * jnp.log10(jnp.mean(jnp.square(x - y), axis=(2, 3, 4)) + EPSILON)


def ssim(x: jax.Array, y: jax.Array, pooled: bool = True) -> jax.Array:
    """Structural similarity of each frame (Wang et al. 2004), mean over positions and then colour channels.

    Frames are average-pooled by f = max(1, round(shorter side / 256)), halves to even, rows and columns left over dropped. With
    `pooled` False they stay as they are.
    Each channel then meets an 11 x 11 Gaussian window of sigma 1.5 that stays inside the frame; constants 0.01 and 0.03, range 1.

    Args:
      x, y: float [b,t,h,w,c] in 0..1.

    Returns:
      float32 [b,t].

    Raises:
      ValueError: as `psnr`, or frames smaller than the window.
    """
    x, y = check_frames(x, y, WINDOW)
    if pooled:
        x, y = _pooled(x), _pooled(y)
    # Variances do not change when a constant is taken away, and lose fewer digits when it is the mean.
    mean_x, mean_y = jnp.mean(x, axis=(2, 3), keepdims=True), jnp.mean(y, axis=(2, 3), keepdims=True)
    x, y = x - mean_x, y - mean_y
    mu_x, mu_y, xx, yy, xy = _blurred(jnp.stack([x, y, x * x, y * y, x * y]))
    var_x, var_y, covariance = xx - mu_x**2, yy - mu_y**2, xy - mu_x * mu_y
    return similarity(mu_x + mean_x, mu_y + mean_y, var_x, var_y, covariance)


def similarity(mu_x: jax.Array, mu_y: jax.Array, var_x: jax.Array, var_y: jax.Array, covariance: jax.Array) -> jax.Array:
    """SSIM of each frame [b,t] from the moments [b,t,h,w,c] at all positions, for values in 0..1."""
    c1, c2 = 0.01**2, 0.03**2
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    luminance = (2 * mu_x * mu_y + c1) / (mu_x**2 + mu_y**2 + c1)
    return jnp.mean(luminance * structure, axis=(2, 3, 4))


def check_frames(x: jax.Array, y: jax.Array, window: int) -> tuple[jax.Array, jax.Array]:
    """As `floats`. Raises ValueError for frames smaller than a window of so many pixels too."""
    x, y = floats(x, y)
    h, w = x.shape[2:4]
    if min(h, w) < window:
        raise ValueError(f"SSIM needs frames of at least {window} x {window} pixels, and these have {h} x {w}")
    return x, y


def floats(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both as float32. Raises ValueError: see `psnr`."""
    if x.ndim != 5 or x.shape != y.shape:
        raise ValueError(f"two videos of one shape [b,t,h,w,c] are compared, not {tuple(x.shape)} and {tuple(y.shape)}")
    if not (jnp.issubdtype(x.dtype, jnp.floating) and jnp.issubdtype(y.dtype, jnp.floating)):
        raise ValueError(f"PSNR and SSIM take floats in 0..1, not {x.dtype} and {y.dtype}; divide uint8 by 255")
    return x.astype(jnp.float32), y.astype(jnp.float32)


def _pooled(x: jax.Array) -> jax.Array:
    b, t, h, w, c = x.shape
    f = max(1, round(min(h, w) / POOLED_SIDE))
    h, w = h // f, w // f
    return x[:, :, : h * f, : w * f].reshape(b, t, h, f, w, f, c).mean((3, 5))


def _blurred(x: jax.Array) -> jax.Array:
    """[n,b,t,h,w,c] -> [n,b,t,h-10,w-10,c]: the window along rows, then along columns, each one product with a banded matrix."""
    rows, columns = _band(x.shape[3]), _band(x.shape[4])
    return jnp.einsum("ih,nbthwc,jw->nbtijc", rows, x, columns, precision="highest")


def _band(side: int) -> np.ndarray:
    """The matrix [side-10, side] whose row i holds the Gaussian window at i."""
    weights = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    offsets = np.arange(side)[None] - np.arange(side - WINDOW + 1)[:, None]
    inside = (offsets >= 0) & (offsets < WINDOW)
    return np.where(inside, (weights / weights.sum())[offsets.clip(0, WINDOW - 1)], 0.0).astype(np.float32)
