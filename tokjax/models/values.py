"""Pixel values: users hold uint8 0..255 or float -1..1, models compute on float -1..1. Scaling happens on the device."""

import jax
import jax.numpy as jnp


def to_float(video: jax.Array) -> jax.Array:
    """uint8 0..255 -> float32 -1..1; floats become float32."""
    return video.astype(jnp.float32) / 127.5 - 1.0 if video.dtype == jnp.uint8 else video.astype(jnp.float32)


def to_uint8(video: jax.Array) -> jax.Array:
    """Float -1..1 -> uint8 0..255, rounded to nearest; values outside are clipped."""
    return jnp.clip(jnp.round((video + 1.0) * 127.5), 0, 255).astype(jnp.uint8)
