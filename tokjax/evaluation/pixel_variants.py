"""PSNR and SSIM as others compute them, by name; and flicker. The protocols here report VidTok's (tokjax.evaluation.pixels).

All take floats in 0..1, [b,t,h,w,c], and return float32 by frame.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from tokjax.evaluation import pixels

LUMA = (0.2125, 0.7154, 0.0721)  # of scikit-image's and MAGVIT's grey
UNIFORM_SIDE = 7


def psnr_capped(x: jax.Array, y: jax.Array) -> jax.Array:
    """-10 log10(mse), and 100 dB below an error of 1e-10: the evaluation folder that accompanies OmniTokenizer."""
    error = jnp.mean(jnp.square(_difference(x, y)), axis=(2, 3, 4))
    return jnp.where(error < 1e-10, 100.0, -10.0 * jnp.log10(jnp.maximum(error, 1e-10)))


def ssim_unpooled(x: jax.Array, y: jax.Array) -> jax.Array:
    """VidTok's without the pooling of large frames: that folder's, and scikit-image's with gaussian_weights=True."""
    return pixels.ssim(x, y, pooled=False)


def ssim_luma(x: jax.Array, y: jax.Array) -> jax.Array:
    """`ssim_unpooled` of grey frames, as MAGVIT reports it."""
    grey = [(one.astype(jnp.float32) * jnp.array(LUMA)).sum(-1, keepdims=True) for one in (x, y)]
    return pixels.ssim(*grey, pooled=False)


def ssim_uniform(x: jax.Array, y: jax.Array) -> jax.Array:
    """scikit-image's default: windows of 7 x 7 pixels that all count alike, and sample covariances."""
    x, y = pixels.check_frames(x, y, UNIFORM_SIDE)
    centre = jnp.mean(x, axis=(2, 3), keepdims=True)  # taken away for the variances' sake, see pixels.ssim
    a, b = x - centre, y - centre
    mu_x, mu_y, xx, yy, xy = (_box(one) for one in (a, b, a * a, b * b, a * b))
    sample = UNIFORM_SIDE**2 / (UNIFORM_SIDE**2 - 1)
    variances = sample * (xx - mu_x**2), sample * (yy - mu_y**2), sample * (xy - mu_x * mu_y)
    return pixels.similarity(mu_x + centre, mu_y + centre, *variances)


def flicker(x: jax.Array, y: jax.Array) -> jax.Array:
    """How wrongly a reconstruction changes from frame to frame: mean |(x' - x) - (y' - y)|, float32 [b,t-1]."""
    difference = _difference(x, y)
    return jnp.mean(jnp.abs(difference[:, 1:] - difference[:, :-1]), axis=(2, 3, 4))


PSNR: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {"psnr": pixels.psnr, "psnr_capped": psnr_capped}
SSIM: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "ssim": pixels.ssim,
    "ssim_unpooled": ssim_unpooled,
    "ssim_luma": ssim_luma,
    "ssim_uniform": ssim_uniform,
}
BY_FRAME = PSNR | SSIM | {"flicker": flicker}


def _difference(x: jax.Array, y: jax.Array) -> jax.Array:
    x, y = pixels.floats(x, y)
    return x - y


def _box(x: jax.Array) -> jax.Array:
    """Means under the uniform window, [b,t,h-6,w-6,c]."""
    for axis in (2, 3):
        size = x.shape[axis] - UNIFORM_SIDE + 1
        x = sum(jax.lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(UNIFORM_SIDE)) / UNIFORM_SIDE
    return x
