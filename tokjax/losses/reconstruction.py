"""Distance between a video and its reconstruction, value by value."""

import math
from typing import Literal

import jax
import jax.numpy as jnp

Reduction = Literal["frame", "mean"]


def reconstruction_loss(video: jax.Array, reconstruction: jax.Array, kind: str, reduction: Reduction = "frame") -> jax.Array:
    """One number for a batch.

    Args:
      video, reconstruction: float32 [b,t,h,w,c] in -1..1.
      kind: "l1" (absolute difference), "l2" (squared difference), or "laplace", OmniTokenizer's `logitslaplace` term: the
        absolute difference of pixels mapped to 0.1..0.9.
      reduction: "frame" sums over the values of a frame and averages over frames, as VidTok does (its `nll_loss` at
        log-variance 0); "mean" averages over all values, as OmniTokenizer does.
    """
    difference = video - reconstruction
    if kind == "laplace":
        difference = 0.4 * difference
    distance = jnp.square(difference) if kind == "l2" else jnp.abs(difference)
    return jnp.mean(jnp.sum(distance, axis=(2, 3, 4))) if reduction == "frame" else jnp.mean(distance)


def summed_values(video: jax.Array, reduction: Reduction) -> int:
    """How many values [b,t,h,w,c] the reduction sums: those of a frame, or 1 of a mean."""
    return math.prod(video.shape[2:]) if reduction == "frame" else 1


def with_log_variance(distance: jax.Array, log_variance: jax.Array, values: int) -> jax.Array:
    """The likelihood form of a distance over `values` values, up to a constant: a learned scalar says how far they may be off."""
    return distance * jnp.exp(-log_variance) + values * log_variance
