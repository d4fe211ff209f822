"""Pixel values: users hold uint8 0..255 or float -1..1, models compute on float -1..1. Scaling happens on the device."""

import jax
import jax.numpy as jnp
import numpy as np


def to_float(video: jax.Array) -> jax.Array:
    """uint8 0..255 -> float32 -1..1; floats become float32."""
    return video.astype(jnp.float32) / 127.5 - 1.0 if video.dtype == jnp.uint8 else video.astype(jnp.float32)


def to_uint8(video: jax.Array) -> jax.Array:
    """Float -1..1 -> uint8 0..255, rounded to nearest; values outside are clipped."""
    return jnp.clip(jnp.round((video + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def from_float(video: jax.Array, dtype: np.dtype) -> np.ndarray:
    """Float -1..1 -> uint8 0..255, or floats of another precision."""
    return np.asarray(to_uint8(video) if dtype == np.uint8 else video).astype(dtype, copy=False)


def require_array(value: object, name: str) -> None:
    """Refuses lists, tensors of other libraries and the like.

    Raises:
      ValueError
    """
    if not isinstance(value, np.ndarray | jax.Array):
        raise ValueError(f"{name} must be a numpy or jax array, not {type(value).__module__}.{type(value).__qualname__}")


def check_video(video: np.ndarray | jax.Array) -> None:
    """Refuses what is no video.

    Raises:
      ValueError: no array, not [b,t,h,w,3], neither uint8 nor float, or a value that is not finite.
    """
    require_array(video, "a video")
    if video.ndim != 5 or video.shape[-1] != 3 or 0 in video.shape:
        raise ValueError(
            f"a video has the shape [batch, time, height, width, 3], an image has time 1; this array has {tuple(video.shape)}"
        )
    if video.dtype == np.uint8:
        return
    if not jnp.issubdtype(video.dtype, jnp.floating):
        raise ValueError(f"a video is uint8 in 0..255 or float in -1..1, not {video.dtype}")
    if not bool(jnp.isfinite(jnp.asarray(video)).all()):
        raise ValueError("the video holds values that are not finite (NaN or infinity)")
