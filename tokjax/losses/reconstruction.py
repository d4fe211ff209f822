"""Distance between a video and its reconstruction."""

import jax
import jax.numpy as jnp


def reconstruction_loss(video: jax.Array, reconstruction: jax.Array, kind: str) -> jax.Array:
    """Summed over the pixels and channels of a frame, averaged over frames, as published (VidTok's `nll_loss` at log-variance 0).

    Args:
      video, reconstruction: float32 [b,t,h,w,c] in -1..1.
      kind: "l1" (absolute) or "l2" (squared difference).
    """
    difference = video - reconstruction
    distance = jnp.abs(difference) if kind == "l1" else jnp.square(difference)
    return jnp.mean(jnp.sum(distance, axis=(2, 3, 4)))
